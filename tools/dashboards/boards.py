"""All dashboards."""

from tools.dashboards import cpu, gpu, latency, overview, releases, routing, safety
from tools.dashboards.objectives import read_objectives
from tools.dashboards.spec import Board


def boards() -> tuple[Board, ...]:
    """Return the seven boards, coloured by the objectives that the rules hold."""
    objectives = read_objectives()
    return (
        overview.board(objectives),
        routing.board(),
        latency.board(objectives),
        safety.board(),
        gpu.board(),
        cpu.board(),
        releases.board(),
    )
