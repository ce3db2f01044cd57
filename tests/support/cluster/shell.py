"""Running the machine's own tools, loudly."""

import subprocess
from collections.abc import Sequence


class CommandError(Exception):
    """A tool said no; the message holds its command and what it printed."""


def run(command: Sequence[object], *, text: str | None = None, timeout_s: float = 20) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise CommandError(f"{' '.join(words)}: {done.returncode}: {(done.stderr + done.stdout).strip()[-800:]}")
    return done.stdout
