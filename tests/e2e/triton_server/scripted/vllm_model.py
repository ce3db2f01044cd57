"""Stands in for Triton's vLLM backend, which needs a GPU: its inputs and outputs, deltas, cancels.

Runs in Triton's python backend. It reads the entry's own model.json and multi_lora.json, as that backend does.
"""

import json
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

_INPUTS = {
    "text_input": "TYPE_STRING",
    "stream": "TYPE_BOOL",
    "sampling_parameters": "TYPE_STRING",
    "exclude_input_in_output": "TYPE_BOOL",
    "return_finish_reason": "TYPE_BOOL",
    "return_num_input_tokens": "TYPE_BOOL",
    "return_num_output_tokens": "TYPE_BOOL",
}
_OUTPUTS = {
    "text_output": "TYPE_STRING",
    "finish_reason": "TYPE_STRING",
    "num_input_tokens": "TYPE_UINT32",
    "num_output_tokens": "TYPE_UINT32",
}


class TritonPythonModel:
    @classmethod
    def auto_complete_config(cls, config):
        for name, kind in _INPUTS.items():
            config.add_input({"name": name, "data_type": kind, "dims": [1], "optional": name != "text_input"})
        for name, kind in _OUTPUTS.items():
            config.add_output({"name": name, "data_type": kind, "dims": [-1]})
        config.set_model_transaction_policy({"decoupled": True})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args):
        folder = Path(args["model_repository"], args["model_version"])
        arguments = json.loads((folder / "model.json").read_text())
        assert Path(arguments["model"], "config.json").is_file(), "the checkpoint is not there"
        self.most = arguments["max_model_len"]
        self.adapters = {}
        if arguments.get("enable_lora"):
            self.adapters = json.loads((folder / "multi_lora.json").read_text())
        for path in self.adapters.values():
            assert Path(path, "adapter_config.json").is_file(), path

    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()

    def answer(self, request, sender):
        text = pb.get_input_tensor_by_name(request, "text_input").as_numpy()[0].decode()
        sampling = json.loads(pb.get_input_tensor_by_name(request, "sampling_parameters").as_numpy()[0])
        adapter = sampling.pop("lora_name", None)
        if adapter is not None and adapter not in self.adapters:
            error = pb.TritonError(f"LoRA {adapter} is not supported, we currently support {list(self.adapters)}")
            sender.send(pb.InferenceResponse(error=error), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        count = sampling["max_tokens"]
        for number in range(count):
            if sender.is_cancelled():
                error = pb.TritonError("Request was cancelled", pb.TritonError.CANCELLED)
                sender.send(pb.InferenceResponse(error=error), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                return
            is_last = number == count - 1
            outputs = {
                "text_output": f"{adapter or '字'}{number} ".encode(),
                "finish_reason": b"length" if is_last else b"None",
                "num_input_tokens": len(text.split()),
                "num_output_tokens": 1,
            }
            flags = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if is_last else 0
            sender.send(pb.InferenceResponse([tensor(*output) for output in outputs.items()]), flags=flags)
            time.sleep(0.005)


def tensor(name, value):
    kind = np.object_ if isinstance(value, bytes) else np.uint32
    return pb.Tensor(name, np.array([value], dtype=kind))
