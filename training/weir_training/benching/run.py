"""One run of `weir bench engine`: its parts on one target, and what they come to as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import CheckFailedError, UsageError
from weir_training.benching.choice import Choice, Option, choice_table, choose
from weir_training.benching.contestants import Sample, Setup
from weir_training.benching.measure import PREFILL, Plan, Seen, measure, middle
from weir_training.benching.peers.entry import Missing, contestants, over_http, serving
from weir_training.benching.roofline import Roofline, measured_roofline
from weir_training.benching.serving import Served, serve_in_turns, served_dict, served_table
from weir_training.benching.tables import as_dict, short, table
from weir_training.benching.target import Target
from weir_training.benching.trace import Goal, Lengths, Request, crowd, mean_tokens, mixed_trace, score
from weir_training.progress import Progress

_CROWD_PROMPT, _CROWD_ANSWER = 256, 128
_CROWD_USERS: Final = 16


@dataclass(frozen=True, slots=True)
class Load:
    """Of the mixed trace: `rate` in requests/s, or `share` of what the fastest contestant can do by its figures."""

    requests: int
    seed: int
    goal: Goal
    share: float
    rate: float | None


@dataclass(slots=True)
class Run:
    """Parts add their text to `said` and their figures to `figures`, in the order they are run."""

    target: Target
    flavours: tuple[str, ...]
    peers: tuple[str, ...]
    setup: Setup
    rounds: int
    folder: Path
    progress: Progress
    said: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    choice: Choice | None = None

    def decode(self, plan: Plan, sample: Sample | None = None) -> None:
        """Prefill, and decode for each number of users; first everyone's divergence on `sample`.

        Raises:
            CheckFailedError: nothing could be measured.
        """
        limits = [measured_roofline(self.setup.threads)]
        found = contestants(self.target, self.flavours, self.peers, self.setup, self.folder, self.progress)
        self.seen, missing = measure(
            found,
            self.target.prompts,
            plan,
            self.progress,
            lambda: limits.append(measured_roofline(self.setup.threads)),
            sample,
        )
        roofline = _best(limits)
        self.said.append(table(self.seen, missing, plan, roofline))
        if not any(one.speeds for one in self.seen):
            raise CheckFailedError("nothing could be measured:\n" + self.said[-1])
        self.figures["decode"] = as_dict(self.seen, missing, plan, roofline)

    def trace(self, load: Load) -> None:
        """Serve arriving requests, the same for everyone, at a rate that follows from what was measured."""
        lengths = Lengths.within(self.setup.context_tokens)
        rate = load.rate or self._rate(lengths, load)
        requests = mixed_trace(self.target.prompts, lengths, rate=rate, count=load.requests, seed=load.seed)
        found = serving(self.target, self.flavours, self.peers, self.setup, self.folder, self.progress)
        served, missing = serve_in_turns(
            found, requests, at_once=None, rounds=self.rounds, progress=self.progress, stage="trace"
        )
        prompt, answer = mean_tokens(requests)
        head = (
            f"trace: {len(requests)} requests, {rate:.2f}/s "
            + (
                f"({load.share:.0%} of the fastest's capacity without prefix cache)"
                if load.rate is None
                else "(as given)"
            )
            + f", {prompt:.0f} prompt tokens of which {lengths.system} shared, {answer:.0f} new ones on average; "
            f"goal TTFT <= {load.goal.first_s * 1e3:.0f} ms, TPOT <= {load.goal.per_token_s * 1e3:.0f} ms"
        )
        self._add("trace", head, served, missing, requests, load.goal, {"rate": rate, "seed": load.seed})

    def serve(self, goal: Goal) -> None:
        """Let a fixed number of users ask again as soon as they are answered: through HTTP, and Weir without it."""
        users = min(_CROWD_USERS, self.setup.users)
        room = self.setup.context_tokens - _CROWD_PROMPT - 16
        new_tokens = min(_CROWD_ANSWER, room)
        prompts = self.target.prompts
        requests = crowd(prompts, count=2 * users, prompt_tokens=_CROWD_PROMPT, new_tokens=new_tokens)
        found = over_http(self.target, self.flavours, self.peers, self.setup, self.folder, self.progress)
        served, missing = serve_in_turns(
            found, requests, at_once=users, rounds=self.rounds, progress=self.progress, stage="serve"
        )
        head = (
            f"HTTP: {users} users, each asks again when answered; {_CROWD_PROMPT} prompt tokens, {new_tokens} new ones"
        )
        self._add("serve", head, served, missing, requests, goal, {"users": users})
        self.said += self._http_share(served, requests)

    def choose(self) -> Choice:
        """Pick the flavour to serve from the engine's figures and the manifest's parity."""
        options = [option for one in self.seen if (option := self._option(one)) is not None]
        self.choice = choose(options)
        self.said.append(choice_table(options, self.choice))
        self.figures["choice"] = asdict(self.choice)
        return self.choice

    def _option(self, one: Seen) -> Option | None:
        found = next((f for f in self.target.manifest.formats if one.label.name == f"weir {f.flavour} (engine)"), None)
        if found is None or not one.speeds:
            return None
        speeds = {turn: middle(values).median for turn, values in one.speeds.items()}
        return Option(found.flavour, speeds, found.parity.mean_kl, found.parity.passed)

    def _rate(self, lengths: Lengths, load: Load) -> float:
        """Requests/s that keep the fastest contestant busy for `load.share` of the time, by its own two rates."""
        sample = mixed_trace(self.target.prompts, lengths, rate=1.0, count=load.requests, seed=load.seed)
        prompt, answer = mean_tokens(sample)
        users = [turn for one in self.seen for turn in one.speeds if turn != PREFILL]
        if not users:
            raise UsageError("--trace needs --rate, or figures to take the rate from")
        return load.share * max(
            1 / (prompt / middle(one.speeds[PREFILL]).median + answer / middle(one.speeds[max(users)]).median)
            for one in self.seen
            if PREFILL in one.speeds and max(users) in one.speeds
        )

    def _add(  # noqa: PLR0913  one section of the report is made of these
        self,
        name: str,
        head: str,
        served: Sequence[Served],
        missing: Sequence[Missing],
        requests: Sequence[Request],
        goal: Goal,
        more: dict[str, Any],
    ) -> None:
        lines = [head, served_table(served, requests, goal)]
        lines += [f"{one.name}: unavailable: {short(one.reason)}" for one in missing]
        self.said.append("\n".join(lines))
        self.figures[name] = {
            **more,
            "goal": asdict(goal),
            "contestants": served_dict(served, requests, goal),
            "unavailable": [asdict(one) for one in missing],
        }

    def _http_share(self, served: Sequence[Served], requests: Sequence[Request]) -> list[str]:
        """How much of the engine's speed is left behind HTTP, per flavour."""
        speed = {one.label.name: _tokens_per_s(one, requests) for one in served if one.repeats}
        shares = {
            flavour: speed[f"weir {flavour} (node HTTP)"] / speed[f"weir {flavour} (engine)"]
            for flavour in self.flavours
            if {f"weir {flavour} (node HTTP)", f"weir {flavour} (engine)"} <= set(speed)
        }
        self.figures["serve"]["http_share"] = shares
        return [f"{flavour}: {value:.1%} of the engine's tokens/s through HTTP" for flavour, value in shares.items()]


def _tokens_per_s(one: Served, requests: Sequence[Request]) -> float:
    """Of closed-loop repeats: all tokens over the seconds that the last user was busy."""
    return score(requests, one.repeats, Goal(1e9, 1e9)).tokens_per_s


def _best(limits: Sequence[Roofline]) -> Roofline:
    best = limits[0]
    for other in limits[1:]:
        best = best.best_of(other)
    return best
