"""What was measured, as a table, as JSON, and as a picture."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from weir_training.benching.measure import PREFILL, PROMPT_TOKENS, Plan, Seen, middle
from weir_training.benching.peers.entry import Missing
from weir_training.benching.roofline import Roofline

NAME_WIDTH: Final = 30
_REASON_CHARS: Final = 160


def table(seen: Sequence[Seen], missing: Sequence[Missing], plan: Plan, roofline: Roofline) -> str:
    """One line per contestant: medians with their spread, then shares of the roofline."""
    turns = (PREFILL, *plan.users)
    head = f"{'tokens/s':<{NAME_WIDTH}}{'B/weight':>9}{'RSS MB':>8}{'KL':>9}" + "".join(
        f"{_head(t):>13}" for t in turns
    )
    lines = [head]
    for one in seen:
        lines.append(_line(one, turns))
        lines += [f"    failed: {short(one.failed)}"] if one.failed else []
    lines += [
        "",
        _machine(roofline),
        "share of the roofline" + " " * (NAME_WIDTH + 5) + "".join(f"{_head(t):>13}" for t in turns),
    ]
    lines += [f"{one.label.name:<{NAME_WIDTH}}{'':26}" + _shares(one, turns, roofline) for one in seen]
    lines += [f"{one.name}: unavailable: {short(one.reason)}" for one in missing]
    return "\n".join(lines)


def as_dict(seen: Sequence[Seen], missing: Sequence[Missing], plan: Plan, roofline: Roofline) -> dict[str, Any]:
    """The same for machines; every round's figure is in it."""
    return {
        "plan": asdict(plan) | {"prompt_tokens": PROMPT_TOKENS},
        "roofline": asdict(roofline),
        "contestants": [_contestant(one, roofline) for one in seen],
        "unavailable": [asdict(one) for one in missing],
    }


def _contestant(one: Seen, roofline: Roofline) -> dict[str, Any]:
    figures = {
        "prefill" if turn == PREFILL else str(turn): {
            "tokens_per_s": round(middle(values).median, 2),
            "spread": round(middle(values).spread, 4),
            "roofline_share": round(share(one, turn, roofline), 4),
            "rounds": [round(value, 2) for value in values],
        }
        for turn, values in one.speeds.items()
    }
    label = asdict(one.label) | {"bytes_per_weight": round(one.label.bytes_per_weight, 4)}
    return {**label, "rss_bytes": one.rss_bytes, "failed": one.failed, "figures": figures}


def share(one: Seen, turn: int, roofline: Roofline) -> float:
    """Median over the most that the machine allows for weights of this size."""
    label = one.label
    if turn == PREFILL:
        limit = roofline.prefill(PROMPT_TOKENS, label.weights, label.bytes)
    else:
        limit = roofline.decode(turn, label.weights, label.bytes)
    return middle(one.speeds[turn]).median / limit


def _head(turn: int) -> str:
    return "prefill" if turn == PREFILL else f"@{turn}"


def _line(one: Seen, turns: Sequence[int]) -> str:
    label = one.label
    kl = "-" if label.kl is None else f"{label.kl:.1e}"
    start = f"{label.name:<{NAME_WIDTH}}{label.bytes_per_weight:>9.2f}{one.rss_bytes / 1e6:>8.0f}{kl:>9}"
    return start + "".join(f"{_cell(one, turn):>13}" for turn in turns)


def _cell(one: Seen, turn: int) -> str:
    values = one.speeds.get(turn)
    if not values:
        return "-"
    found = middle(values)
    return f"{found.median:.0f} ±{found.spread:.0%}"


def _shares(one: Seen, turns: Sequence[int], roofline: Roofline) -> str:
    return "".join(f"{share(one, turn, roofline):>13.0%}" if turn in one.speeds else f"{'-':>13}" for turn in turns)


def _machine(roofline: Roofline) -> str:
    return (
        f"machine: reads {roofline.read_bytes_per_s / 1e9:.1f} GB/s, int8 {roofline.int8_per_s / 1e9:.0f} GOP/s, "
        f"fp32 {roofline.fp32_per_s / 1e9:.0f} GFLOP/s (best of all rounds; each round measures it anew)"
    )


def short(reason: str | None) -> str:
    flat = " ".join((reason or "").split())
    return flat if len(flat) <= _REASON_CHARS else flat[:_REASON_CHARS] + "…"
