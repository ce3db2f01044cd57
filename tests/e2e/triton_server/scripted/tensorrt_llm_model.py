"""Stands in for TensorRT-LLM's LLM API model, which needs a GPU: its inputs and outputs, cumulative text, cancels.

Runs in Triton's python backend. It reads the entry's own model.yaml, as that model does, and writes what it was asked
into seen.json beside it.
"""

import json
import os
import threading
import time

import numpy as np
import triton_python_backend_utils as pb
import yaml

_SCALARS = ("temperature", "top_k", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")


class TritonPythonModel:
    @classmethod
    def auto_complete_config(cls, config):
        with open(os.path.join(pb.get_model_dir(), "model.yaml")) as file:
            triton = yaml.safe_load(file)["triton_config"]
        config.set_model_transaction_policy({"decoupled": bool(triton["decoupled"])})
        config.set_max_batch_size(int(triton["max_batch_size"]))
        return config

    def initialize(self, args):
        self.folder = pb.get_model_dir()
        with open(os.path.join(self.folder, "model.yaml")) as file:
            arguments = yaml.safe_load(file)
        assert os.path.isfile(os.path.join(arguments["model"], "config.json")), "the checkpoint is not there"
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
        with open(os.path.join(self.folder, "seen.tmp"), "w") as file:
            json.dump(asked, file)
        os.replace(os.path.join(self.folder, "seen.tmp"), os.path.join(self.folder, "seen.json"))

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
