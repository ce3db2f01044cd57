"""Stands in for TensorRT-LLM's LLM API model, which needs a GPU: its inputs and outputs, cumulative text, cancels.

Runs in Triton's python backend. It reads the entry's own model.yaml, as that model does, and writes what it was asked
into seen.json beside it.
"""

import json
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb
import yaml

_SCALARS = ("temperature", "top_k", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")


class TritonPythonModel:
    @classmethod
    def auto_complete_config(cls, config):
        triton = yaml.safe_load(Path(pb.get_model_dir(), "model.yaml").read_text())["triton_config"]
        config.set_model_transaction_policy({"decoupled": bool(triton["decoupled"])})
        config.set_max_batch_size(int(triton["max_batch_size"]))
        return config

    def initialize(self, args):
        self.folder = Path(pb.get_model_dir())
        arguments = yaml.safe_load((self.folder / "model.yaml").read_text())
        assert Path(arguments["model"], "config.json").is_file(), "the checkpoint is not there"
        self.period = arguments["triton_config"]["cancellation_check_period_ms"] / 1e3

    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request, request.get_response_sender())).start()

    def answer(self, request, sender):
        asked = {name: scalar(request, f"sampling_param_{name}") for name in _SCALARS}
        given = pb.get_input_tensor_by_name(request, "sampling_param_stop")
        asked["stop"] = None if given is None else "bytes"  # the real one hands them to its tokenizer as they are
        asked["cancelled_after"] = None
        assert scalar(request, "streaming")
        assert scalar(request, "sampling_param_exclude_input_from_output")
        text = scalar(request, "text_input").decode()
        said, count = "", asked["max_tokens"]
        for number in range(count):
            if sender.is_cancelled():
                asked["cancelled_after"] = number
                error = pb.TritonError("Request cancelled by client", pb.TritonError.CANCELLED)
                sender.send(pb.InferenceResponse(error=error), flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                break
            said += f"字{number} "
            is_last = number == count - 1
            half = "\ufffd" if "half" in text and not is_last else ""  # a character of which some bytes are missing
            self.send(sender, said + half, "length" if is_last else "None", is_last=is_last)
            time.sleep(0.005)
        (self.folder / "seen.tmp").write_text(json.dumps(asked))
        (self.folder / "seen.tmp").replace(self.folder / "seen.json")

    def send(self, sender, text, reason, *, is_last):
        outputs = [
            pb.Tensor("text_output", np.array([text.encode()], dtype=np.object_)),
            pb.Tensor("finish_reason", np.array([reason], dtype=np.object_)),
        ]
        flags = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if is_last else 0
        sender.send(pb.InferenceResponse(outputs), flags=flags)


def scalar(request, name):
    tensor = pb.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().item(0)
