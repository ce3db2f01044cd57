"""A node that goes away before the caller has seen anything of its answer: another one begins it anew."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import Gateway, answer, gateway

from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import BackendTimeoutError, BackendUnavailableError, OverloadedError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.store.database import Database
from weir.store.records import RecordStore

GONE = BackendUnavailableError("gone went away")
HELD = "mail a@b"  # may become an address, so the guard holds it back
STREAM, WHOLE = "/generate_stream", "/generate"
CHAT = "/v1/chat/completions"
DONE = Finished(FinishReason.EOS, Usage(5, 1))
ASK: dict[str, Any] = {"inputs": "?"}


class Pair:
    """A node that plays `script` and goes down with it, and one that answers `yes.`"""

    def __init__(self, *script: Any) -> None:
        self.gone, self.well = ScriptedBackend(self._play(script), name="gone"), ScriptedBackend(answer("yes", "."))
        self.backends = (self.gone, self.well)

    def _play(self, script: Sequence[Any]) -> Any:
        def played(request: Any) -> Sequence[Any]:
            self.gone.is_ready = False
            return script

        return played


def moved(weir: Gateway) -> float:
    return weir.metric("upstream_retries_total", backend="cpu")


def test_a_stream_whose_text_was_still_held_back_is_begun_anew(release: Path) -> None:
    pair = Pair(TokenChunk(HELD, 3), GONE)
    with gateway(release, *pair.backends) as weir:
        reply = weir.post(STREAM, ASK | {"parameters": {"details": True}})

        assert (reply.status, reply.headers["x-weir-node"]) == (200, "scripted")
        assert reply.events[-1]["generated_text"] == "yes."
        assert reply.events[-1]["details"]["generated_tokens"] == 2
        assert len(pair.gone.calls) == len(pair.well.calls) == 1
        assert moved(weir) == 1
        assert weir.metric("wasted_tokens_total", reason="error") == 3
        weir.eventually(lambda: weir.metric("generated_tokens_total", model="faq") == 2)
        assert weir.metric("upstream_errors_total", backend="cpu", reason="connect") == 1


def test_a_stream_that_the_caller_reads_is_not(release: Path) -> None:
    pair = Pair(TokenChunk("一 ", 1), GONE)
    with gateway(release, *pair.backends) as weir:
        reply = weir.post(STREAM, ASK)

        assert (reply.status, reply.headers["x-weir-node"]) == (200, "gone")
        assert reply.events[-1] == {"error": "gone went away", "error_type": "generation"}
        assert (len(pair.well.calls), moved(weir)) == (0, 0)


@pytest.mark.parametrize(
    ("path", "body", "read"),
    [
        (WHOLE, ASK | {"parameters": {"details": True}}, lambda said: said["generated_text"]),
        (CHAT, {"messages": [{"role": "user", "content": "?"}]}, lambda said: said["choices"][0]["message"]["content"]),
    ],
)
def test_a_whole_answer_is_begun_anew_however_far_it_was(
    release: Path, tmp_path: Path, path: str, body: dict[str, Any], read: Any
) -> None:
    pair = Pair(*[TokenChunk("no ", 1)] * 5, GONE)
    database = f"sqlite:///{tmp_path / 'weir.sqlite'}"
    with gateway(release, *pair.backends, with_store=True, home=tmp_path, access={"database": database}) as weir:
        replies = [weir.post(path, body) for _ in range(2)]

        assert [read(reply.json) for reply in replies] == ["yes.", "yes."]
        assert "no" not in json.dumps(replies[0].json).replace("node", "").replace("null", "")
        assert moved(weir) == 1
        assert weir.metric("wasted_tokens_total", reason="error") == 5
        with Database(database) as opened:
            records = RecordStore(opened)
            weir.eventually(lambda: len(list(records.audit())) == 2, within_s=5)
            first, second = records.audit()
        assert first["answer_hmac"] == second["answer_hmac"]
        assert (first["generated_tokens"], first["status"]) == (2, 200)


def test_what_a_rule_found_in_the_answer_that_went_away_is_no_verdict(release: Path) -> None:
    pair = Pair(TokenChunk("to a@b.example and ", 3), GONE)
    with gateway(release, *pair.backends) as weir:
        assert weir.post(WHOLE, ASK).json["generated_text"] == "yes."
        assert weir.metric("guard_verdicts_total", phase="output", rule="email", verdict="redact") == 0


def test_it_is_begun_anew_once(release: Path) -> None:
    backend = ScriptedBackend((TokenChunk(HELD, 3), GONE), name="gone")
    with gateway(release, backend) as weir:
        reply = weir.post(STREAM, ASK)

        assert (reply.status, reply.json["error_type"], reply.json["error"]) == (503, "overloaded", "gone went away")
        assert len(backend.calls) == 2


def test_a_node_that_only_falls_silent_keeps_its_answer(release: Path) -> None:
    """It may go on with it: that would be twice the work."""
    pair = Pair(TokenChunk(HELD, 3), BackendTimeoutError("late"))
    with gateway(release, *pair.backends) as weir:
        assert weir.post(STREAM, ASK).status == 424
        assert len(pair.well.calls) == 0


def test_an_answer_that_a_rule_has_ended_stays_ended(release: Path) -> None:
    pair = Pair(TokenChunk("炸弹", 1), GONE)
    with gateway(release, *pair.backends) as weir:
        assert weir.post(WHOLE, ASK).headers["x-weir-finish-reason"] == "content_filter"
        assert len(pair.well.calls) == 0


def test_the_place_of_a_request_that_moved_is_given_back(release: Path) -> None:
    pair = Pair(TokenChunk(HELD, 3), GONE)
    with gateway(release, *pair.backends, max_in_flight=1, max_queue=0) as weir:
        assert [weir.post(STREAM, ASK).status for _ in range(3)] == [200] * 3
        assert weir.app.service.admission.in_flight == 0


def test_a_second_node_that_is_full_has_it_wait_in_the_queue(release: Path) -> None:
    pair = Pair(TokenChunk(HELD, 3), GONE)
    full = ScriptedBackend((OverloadedError(1),), (OverloadedError(1),), (TokenChunk("yes"), DONE), name="full")
    with gateway(release, pair.gone, full, max_in_flight=4) as weir:
        assert weir.post(STREAM, ASK).events[-1]["generated_text"] == "yes"
        assert len(full.calls) == 3
        assert weir.app.service.admission.in_flight == 0
