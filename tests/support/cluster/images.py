"""What stands for Weir's images: this checkout's programs, in the environment that runs the tests."""

import os
import sys
from pathlib import Path

from tests.support.cluster.sandbox import Image

_ROOT = Path(__file__).parents[3]


def weir_images() -> dict[str, Image]:
    """Return an image per name; each shows the interpreter, its packages and the sources, nothing else."""
    folders = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), _ROOT / "services", _ROOT / "training"}
    path = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    env = {"PATH": path, "PYTHONPATH": os.pathsep.join(map(str, (_ROOT / "services", _ROOT / "training")))}
    image = Image((), tuple(sorted(folders)), {**env, "PYTHONDONTWRITEBYTECODE": "1"})
    return {f"weir/{name}": image for name in ("gateway", "cpu-node", "training")}
