"""The items of a response, messages and calls of functions, and the events that tell of them as they come."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from weir.gateway.surfaces.tool_calls import Arguments, CallBegun, Content, Part

_DELTA = b"response.output_text.delta"


class Frames:
    """Frames one stream's events and numbers them."""

    def __init__(self) -> None:
        self._number = 0

    def frame(self, kind: str, **fields: Any) -> bytes:
        body = orjson.dumps({"type": kind, **fields, "sequence_number": self.next()})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def next(self) -> int:
        self._number += 1
        return self._number - 1


@dataclass(slots=True)
class MessageItem:
    """Text, with its log-probabilities if they are wanted."""

    id: str
    index: int
    texts: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    delta: bytes = b""  # an event up to its text

    def __post_init__(self) -> None:
        self.delta = b'event: %b\ndata: {"type":"%b",%b,"delta":' % (_DELTA, _DELTA, orjson.dumps(self.place)[1:-1])

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    def part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": "".join(self.texts), "annotations": [], "logprobs": self.logprobs}

    def json(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part()]
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}

    def begun(self, frames: Frames) -> bytes:
        added = frames.frame("response.output_item.added", output_index=self.index, item=self.json("in_progress"))
        return added + frames.frame("response.content_part.added", **self.place, part=self.part())

    def ended(self, frames: Frames, status: str) -> bytes:
        part = self.part()
        done = {"text": part["text"], "logprobs": part["logprobs"]}
        return b"".join(
            (
                frames.frame("response.output_text.done", **self.place, **done),
                frames.frame("response.content_part.done", **self.place, part=part),
                frames.frame("response.output_item.done", output_index=self.index, item=self.json(status)),
            )
        )


@dataclass(slots=True)
class CallItem:
    """One call of a function."""

    id: str
    index: int
    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def json(self, status: str) -> dict[str, Any]:
        said = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function_call", "status": status, **said}

    def begun(self, frames: Frames) -> bytes:
        return frames.frame("response.output_item.added", output_index=self.index, item=self.json("in_progress"))

    def ended(self, frames: Frames, status: str) -> bytes:
        place = {"item_id": self.id, "output_index": self.index}
        done = {"name": self.name, "arguments": self.arguments}
        return frames.frame("response.function_call_arguments.done", **place, **done) + frames.frame(
            "response.output_item.done", output_index=self.index, item=self.json(status)
        )


class Output:
    """What a response holds so far. Every call returns the events to send; who wants the whole drops them."""

    def __init__(self, frames: Frames, new_message_id: Callable[[], str]) -> None:
        self._frames = frames
        self._new_message_id = new_message_id
        self._items: list[MessageItem | CallItem] = []

    def open_message(self) -> bytes:
        """Begin a message, whatever comes first."""
        return self._open(MessageItem(self._new_message_id(), len(self._items)))

    def take(self, parts: Iterable[Part], logprobs: Sequence[dict[str, Any]] = ()) -> bytes:
        """Take what is new; the log-probabilities go with the first text."""
        sent = b""
        for part in parts:
            match part:
                case Content(text=text):
                    sent += self.text(text, logprobs)
                    logprobs = ()
                case CallBegun(id=call_id, name=name):
                    item_id = f"fc_{secrets.token_hex(12)}"
                    sent += self._open(CallItem(item_id, len(self._items), call_id, name))
                case Arguments(text=text):
                    sent += self._arguments(text)
        return sent

    def text(self, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> bytes:
        opened = b"" if self._items and isinstance(self._items[-1], MessageItem) else self.open_message()
        message = self._items[-1]
        assert isinstance(message, MessageItem)  # noqa: S101 - just made, if it was not there
        message.texts.append(text)
        message.logprobs += logprobs
        scores = orjson.dumps(logprobs) if logprobs else b"[]"
        tail = b',"logprobs":%b,"sequence_number":%d}\n\n' % (scores, self._frames.next())
        return opened + message.delta + orjson.dumps(text) + tail

    def end(self, *, is_cut: bool) -> bytes:
        """End the last item; a response without any has an empty message."""
        opened = b"" if self._items else self.open_message()
        return opened + self._items[-1].ended(self._frames, "incomplete" if is_cut else "completed")

    def json(self, *, is_cut: bool) -> list[dict[str, Any]]:
        *others, last = self._items
        return [*(item.json("completed") for item in others), last.json("incomplete" if is_cut else "completed")]

    def _arguments(self, text: str) -> bytes:
        call = self._items[-1]
        assert isinstance(call, CallItem)  # noqa: S101 - a call begins before its arguments
        call.pieces.append(text)
        place = {"item_id": call.id, "output_index": call.index}
        return self._frames.frame("response.function_call_arguments.delta", **place, delta=text)

    def _open(self, item: MessageItem | CallItem) -> bytes:
        ended = self._items[-1].ended(self._frames, "completed") if self._items else b""
        self._items.append(item)
        return ended + item.begun(self._frames)
