"""A `model.py` for a real Triton server that plays a script, with the inputs and outputs of Triton's vLLM backend.

The file that the parameter `script` of `config.pbtxt` names holds a JSON list of steps, read anew for every request:
`{"text", "count"}`, `{"wait": seconds}`, `{"error": words}` and `{"finish": reason, "prompt": tokens}`. Without the
file it counts up to `max_tokens`, 5 ms a token. What is not streamed comes as one response.
"""

import json
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

_TICK_S = 0.005
_LOOK_S = 0.02


class TritonPythonModel:
    def initialize(self, args):
        self._script = Path(json.loads(args["model_config"])["parameters"]["script"]["string_value"])
        self._family = pb.MetricFamily("played_cancelled_total", "Requests given up.", pb.MetricFamily.COUNTER)
        self._cancelled = self._family.Metric(labels={"model": "played"})

    def execute(self, requests):
        for request in requests:
            sampling = pb.get_input_tensor_by_name(request, "sampling_parameters").as_numpy().reshape(-1)[0]
            limit = json.loads(sampling)["max_tokens"]
            gives_tokens = bool(json.loads(request.parameters() or "{}").get("return_tokens"))
            player = Player(request.get_response_sender(), self._cancelled, gives_tokens)
            threading.Thread(target=player.play, args=(self._steps(limit),), daemon=True).start()

    def _steps(self, limit):
        if self._script.is_file():
            return json.loads(self._script.read_text())
        steps = [{"text": f"字{i} ", "count": 1} for i in range(limit)]
        return [*(part for step in steps for part in (step, {"wait": _TICK_S})), {"finish": "length", "prompt": 5}]


class Player:
    def __init__(self, sender, cancelled, gives_tokens):
        self._sender = sender
        self._cancelled = cancelled
        self._gives_tokens = gives_tokens
        self._said = 0
        self._asked = time.monotonic()

    def play(self, steps):
        for step in steps:
            if self._is_left(step.get("wait", 0)):
                self._cancelled.increment(1)
                self._end(pb.InferenceResponse(error=pb.TritonError("cancelled", pb.TritonError.CANCELLED)))
                return
            if "text" in step:
                self._sender.send(self._response(step["text"], "None", num_output_tokens=step["count"]))
            elif "error" in step:
                self._end(pb.InferenceResponse(error=pb.TritonError(step["error"])))
                return
            elif "finish" in step:
                counts = {"num_input_tokens": step["prompt"], "num_output_tokens": 0}
                self._end(self._response("", step["finish"], **counts))
                return

    def _is_left(self, seconds):
        """Wait; return at once, and True, when the caller has gone."""
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0:
            time.sleep(min(rest, _LOOK_S))
            if time.monotonic() - self._asked >= _LOOK_S:
                self._asked = time.monotonic()
                if self._sender.is_cancelled():
                    return True
        return False

    def _response(self, text, reason, **counts):
        outputs = [pb.Tensor("text_output", _bytes(text)), pb.Tensor("finish_reason", _bytes(reason))]
        outputs += [pb.Tensor(name, np.array([count], np.uint32)) for name, count in counts.items()]
        if self._gives_tokens and text:
            token = {"id": 10 + self._said, "text": text, "logprob": -0.5, "special": False}
            outputs.append(pb.Tensor("tokens", _bytes(json.dumps([token]))))
            self._said += 1
        return pb.InferenceResponse(outputs)

    def _end(self, response):
        self._sender.send(response, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _bytes(text):
    return np.array([text.encode()], dtype=np.object_)
