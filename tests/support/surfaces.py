"""Every way to put one text to a gateway, and to read what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.gateway import Gateway, Reply


@dataclass(frozen=True)
class Way:
    """One form of a request on one route. `body` makes it of a text; `is_stream`: the answer is one."""

    path: str
    body: Callable[[str], dict[str, Any]]
    is_stream: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        return f"{self.path} {self.note}".strip() + (" stream" if self.is_stream else "")

    def ask(self, weir: Gateway, text: str, **headers: str) -> Reply:
        return weir.post(self.path, self.body(text), **headers)


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def _halves(text: str) -> list[dict[str, str]]:
    middle = len(text) // 2
    return [{"type": "text", "text": text[:middle]}, {"type": "text", "text": text[middle:]}]


CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
TRITON = "/v2/models/faq"
STREAM = {"stream": True}

WAYS = (
    Way("/", lambda text: {"inputs": text}),
    Way("/", lambda text: {"inputs": text} | STREAM, is_stream=True),
    Way("/generate", lambda text: {"inputs": text}),
    Way(
        "/generate",
        lambda text: {"inputs": text, "parameters": {"details": True, "best_of": 2, "temperature": 0.5}},
        note="best of 2",
    ),
    Way("/generate_stream", lambda text: {"inputs": text}, is_stream=True),
    Way(CHAT, user),
    Way(CHAT, lambda text: user(_halves(text)), note="parts"),
    Way(CHAT, lambda text: user(text) | {"n": 2}, note="n 2"),
    Way(CHAT, lambda text: user(text) | STREAM, is_stream=True),
    Way(CHAT, lambda text: user(text) | STREAM | {"n": 2}, is_stream=True, note="n 2"),
    Way(CHAT, lambda text: user(text) | {"logprobs": True, "top_logprobs": 2}, note="logprobs"),
    Way(COMPLETIONS, lambda text: {"prompt": text}),
    Way(COMPLETIONS, lambda text: {"prompt": text} | STREAM, is_stream=True),
    Way(COMPLETIONS, lambda text: {"prompt": [text, text]}, note="two prompts"),
    Way(COMPLETIONS, lambda text: {"prompt": text, "best_of": 2}, note="best of 2"),
    Way(RESPONSES, lambda text: {"input": text}),
    Way(RESPONSES, lambda text: {"input": [{"role": "user", "content": text}]} | STREAM, is_stream=True),
    Way(RESPONSES, lambda text: {"input": "?", "instructions": text}, note="instructions"),
    Way(f"{TRITON}/generate", lambda text: {"text_input": text}),
    Way(f"{TRITON}/versions/1/generate", lambda text: {"text_input": text}),
    Way(f"{TRITON}/generate_stream", lambda text: {"text_input": text}, is_stream=True),
    Way(f"{TRITON}/versions/1/generate_stream", lambda text: {"text_input": text}, is_stream=True),
    Way("/invocations", user, note="messages"),
    Way("/invocations", lambda text: {"prompt": text}, note="prompt"),
    Way("/invocations", lambda text: {"inputs": text}, note="inputs"),
    Way("/vertex", lambda text: {"instances": [{"inputs": text}]}),
)


def text_of(reply: Reply) -> str:
    """Return what a client shows: the text of the first answer."""
    if b"data:" in reply.body[:200] or b"event:" in reply.body[:200]:
        return "".join(map(_text_of_event, reply.events))
    body = reply.json[0] if isinstance(reply.json, list) else reply.json
    if "output" in body:
        return str(body["output"][0]["content"][0]["text"])
    if "choices" in body:
        choice = body["choices"][0]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])
    return str(body["predictions"][0] if "predictions" in body else body.get("generated_text", body.get("text_output")))


def _text_of_event(event: dict[str, Any]) -> str:
    if "token" in event:
        return "" if event["token"]["special"] else str(event["token"]["text"])
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    choice = next((choice for choice in event.get("choices", ()) if choice["index"] == 0), None)
    if choice is not None:
        return str(choice["text"] if "text" in choice else choice["delta"].get("content") or "")
    return str(event.get("text_output", ""))


def reason_of(reply: Reply) -> str | None:
    """Return why the first answer ended, in the surface's own word; none: it does not say."""
    if b"data:" in reply.body[:200] or b"event:" in reply.body[:200]:
        found = [reason for event in reply.events if (reason := _reason_in(event)) is not None]
        return found[-1] if found else None
    body = reply.json[0] if isinstance(reply.json, list) else reply.json
    return reply.headers.get("x-weir-finish-reason") or _reason_in(body)


def _reason_in(body: dict[str, Any]) -> str | None:
    for choice in body.get("choices", ()):
        if choice["index"] == 0 and choice["finish_reason"] is not None:
            return str(choice["finish_reason"])
    response = body.get("response", body)
    if response.get("status") == "incomplete":
        return str(response["incomplete_details"]["reason"])
    return body.get("weir_finish_reason") or body.get("finish_reason")


def ask(weir: Gateway, path: str = "/generate", **parameters: Any) -> Any:
    """Ask on a route of TGI's, and return the answer's JSON."""
    reply = weir.post(path, {"inputs": "?", "parameters": parameters})
    assert reply.status == 200, reply.body
    return reply.json
