"""What is simulated: which machines, how much they are asked, and what goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from weir.contracts.errors import UsageError
from weir_training.benching.route.contestants import LeastLoaded, Policy, RoundRobin, TwoChoices, Weir
from weir_training.benching.route.load import Shape
from weir_training.benching.route.machine import Model, Speed
from weir_training.benching.route.replay import Clock, Trouble

# About a small model at four bits on one data-centre GPU, and the same on a CPU of a few cores.
GPU: Final = Model("gpu", "cuda-int4", Speed(64, 12_000, 0.012, 0.008, 0.012), tells_slots=False)
CPU: Final = Model("cpu", "cpu-packed8", Speed(16, 900, 0.010, 0.022, 0.06), tells_slots=True)
SCENES: Final = {
    "mixed": "one GPU for two CPUs",
    "uniform": "CPUs",
    "gpus": "GPUs",
    "failing": "mixed; a GPU dies for a sixth of the time, a CPU becomes five times slower",
}
POLICIES: Final = ("round-robin", "least-loaded", "two-choices", "weir")


@dataclass(frozen=True, slots=True)
class Scene:
    """Machines under a load of so many requests per second."""

    name: str
    models: tuple[Model, ...]
    shape: Shape
    rate: float
    seconds: float
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a scene is; `rate` none: `load` times what the machines, `speed` times as fast as usual, can do."""

    nodes: int
    load: float
    rate: float | None
    seconds: float
    speed: float = 1.0


def scene(name: str, scale: Scale) -> Scene:
    """Build one.

    Raises:
        UsageError: there is no such scene.
    """
    shape, nodes, seconds = Shape(), scale.nodes, scale.seconds
    gpus = max(nodes // 3, 1)
    match name:
        case "mixed" | "failing":
            models = (*[GPU] * gpus, *[CPU] * (nodes - gpus))
        case "uniform":
            models = (CPU,) * nodes
        case "gpus":
            models = (GPU,) * nodes
        case _:
            raise UsageError(f"--scene {name}: expected one of {', '.join(SCENES)}")
    models = tuple(replace(model, speed=model.speed.slowed(1 / scale.speed)) for model in models)
    capacity = sum(model.speed.capacity(shape) for model in models)
    troubles: tuple[Trouble, ...] = ()
    if name == "failing":
        third, half = seconds / 3, seconds / 2
        troubles = (Trouble(0, third, half), Trouble(nodes - 1, third, seconds, 5.0))
    rate = scale.load * capacity if scale.rate is None else scale.rate
    return Scene(name, models, shape, rate, seconds, troubles)


def policy(name: str, models: tuple[Model, ...], seed: int) -> Callable[[Clock], Policy]:
    """Return what makes a policy once there is a clock."""
    match name:
        case "round-robin":
            return lambda clock: RoundRobin(len(models), seed)  # noqa: ARG005
        case "least-loaded":
            return lambda clock: LeastLoaded(len(models), seed)  # noqa: ARG005
        case "two-choices":
            return lambda clock: TwoChoices(len(models), seed)  # noqa: ARG005
        case "weir":
            return lambda clock: Weir(models, clock)
        case _:
            raise UsageError(f"--policy {name}: expected one of {', '.join(POLICIES)}")
