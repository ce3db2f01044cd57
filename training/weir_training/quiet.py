"""Keeps libraries from talking over Weir: no progress bars, advice or telemetry of theirs on the terminal."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence transformers, datasets and TRL inside the block; what we must tell we raise or record ourselves."""
    import datasets
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
        datasets.enable_progress_bars()


def calm_threads() -> None:
    """Let OpenMP threads sleep while they wait, instead of spinning. Works only before torch is first imported.

    Where other processes want the cores too, spinning threads wait for one another's time slices: a training step on
    two busy cores took five times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # noqa: TID251 — for the OpenMP runtime, not for us
