"""`events.jsonl` of a run: one line per logged step. A resumed run forgets what lies after its checkpoint."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from weir_training.atomic import write_text


@dataclass(frozen=True, slots=True)
class Event:
    """`loss` is the mean since the line before, in nats per learnt token; `seconds` counts training time only."""

    step: int
    loss: float
    lr: float
    seconds: float


def append(path: Path, event: Event) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(event)) + "\n")


def read(path: Path) -> list[Event]:
    """Return the events in order; a last line that a crash cut short does not count."""
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            events.append(Event(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return events


def truncate(path: Path, step: int) -> list[Event]:
    """Drop everything after `step`; return what is left."""
    kept = [event for event in read(path) if event.step <= step]
    write_text(path, "".join(json.dumps(asdict(event)) + "\n" for event in kept))
    return kept
