"""How far a stage is, for whoever shows it: the command line's bar or the pipeline's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """`done` of `total` units of `stage`; `note` is a word on how it goes, e.g. `loss 0.42`."""

    stage: str
    done: int
    total: int
    note: str = ""


Progress = Callable[[Tick], None]


def silent(_: Tick) -> None:
    """A `Progress` that shows nothing."""


@contextmanager
def bar() -> Iterator[Progress]:
    """A `Progress` that draws one line per stage on stderr, with the time to go. Nothing when not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Lines

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Lines(*columns, console=console, disable=not console.is_terminal) as lines:
        tasks = {}

        def show(tick: Tick) -> None:
            if tick.stage not in tasks:
                tasks[tick.stage] = lines.add_task(tick.stage, total=tick.total, note="")
            lines.update(tasks[tick.stage], completed=tick.done, total=tick.total, note=tick.note)

        yield show
