"""`weir eval`: what the model says, compared with what it should say, before and after; greedy, word for word."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from weir.contracts.errors import UsageError
from weir.release.hashing import sha256_file, sha256_text, sha256_tree
from weir_training import options
from weir_training.atomic import write_json
from weir_training.data import Row, read_data
from weir_training.encode import Encoded, encode, find_templates, load_tokenizer, prompt_of
from weir_training.options import DEFAULT_HOME, AsJson, Base, DataFiles, HeldoutFile, Home, RecipeName, Sets
from weir_training.progress import Progress, Tick, bar, silent
from weir_training.quiet import calm_threads, quiet_libraries
from weir_training.recipe import Recipe
from weir_training.report import write_report
from weir_training.resolve import eos_ids, read_config, resolve_base
from weir_training.rundir import RunDirectory, open_run, run_key

app = typer.Typer(add_completion=False)
STAGE = "eval"
What = Literal["base", "adapter", "merged"]
ROWS_MEASURED = 512
_MISMATCHES_KEPT = 20
_BATCH_ROWS = 96
_SPARE_TOKENS = 8
_LOGITS_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Mismatch:
    place: str
    question: str
    expected: str
    answer: str


@dataclass(frozen=True, slots=True)
class Matches:
    """How many greedy answers equal the expected ones, white space at the ends apart."""

    rows: int
    exact_match: float
    stopped: float
    mismatches: tuple[Mismatch, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Measured:
    """`nll` is in nats per learnt token; `skipped` rows are longer than the model's context."""

    rows: int
    skipped: int
    exact_match: float
    stopped: float
    nll: float
    mismatches: tuple[Mismatch, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Content of `eval/<what>.json`. `trained` is on rows that were learnt: it shows memory, not understanding."""

    what: str
    key: str = field(repr=False)
    trained: Measured
    heldout: Measured | None
    seconds: float


def evaluate(
    recipe: Recipe, run: RunDirectory, what: What, progress: Progress = silent, *, limit: int = ROWS_MEASURED
) -> Evaluation:
    """Measure base, adapter or merged checkpoint on up to `limit` trained and held-out rows each; keep the report.

    Raises:
        UsageError: bad data, or what is asked for was not made yet.
    """
    data = read_data(recipe.data)
    key = _key(recipe, run, what, limit)
    path = run.root / "eval" / f"{what}.json"
    if path.is_file() and (kept := _read(path)).key == key:
        return kept
    calm_threads()
    started = time.monotonic()
    with quiet_libraries():
        subject = _Subject(recipe, run, what)
        trained = subject.measure(_spread(data.train, limit), progress, f"{what}: trained")
        heldout = subject.measure(_spread(data.heldout, limit), progress, f"{what}: held out") if data.heldout else None
    evaluation = Evaluation(what, key, trained, heldout, round(time.monotonic() - started, 3))
    write_json(path, asdict(evaluation))
    _record(run)
    return evaluation


def _record(run: RunDirectory) -> None:
    """Write the stage `eval` down: the figures of every subject measured so far, e.g. `base.exact_match_trained`."""
    folder = run.root / "eval"
    evaluations = [_read(path) for path in sorted(folder.glob("*.json"))]
    run.record(
        STAGE,
        sha256_text("\n".join(evaluation.key for evaluation in evaluations)),
        outputs=[folder],
        seconds=sum(evaluation.seconds for evaluation in evaluations),
        metrics={evaluation.what: _figures(evaluation) for evaluation in evaluations},
    )


def exact_match(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    max_new_tokens: int,
    *,
    progress: Progress = silent,
    stage: str = "",
) -> Matches:
    """Answer every row's question greedily and compare.

    `tokenizer.chat_template` makes the prompts. Generation ends at the tokens that `model.generation_config` names,
    and never runs much longer than the longest expected answer: what is longer cannot match.
    """
    order = sorted(range(len(rows)), key=lambda at: len(rows[at].question[-1].content))
    answers: dict[int, tuple[str, bool]] = {}
    for start in range(0, len(order), _BATCH_ROWS):
        batch = order[start : start + _BATCH_ROWS]
        answers.update(zip(batch, _answers(model, tokenizer, [rows[at] for at in batch], max_new_tokens), strict=True))
        progress(Tick(stage, len(answers), len(rows)))
    wrong = [at for at in range(len(rows)) if answers[at][0] != rows[at].answer.strip()]
    return Matches(
        rows=len(rows),
        exact_match=round(1 - len(wrong) / len(rows), 4),
        stopped=round(sum(stopped for _, stopped in answers.values()) / len(rows), 4),
        mismatches=tuple(
            Mismatch(rows[at].place, rows[at].question[-1].content, rows[at].answer, answers[at][0])
            for at in wrong[:_MISMATCHES_KEPT]
        ),
    )


def mean_nll(model: Any, rows: Sequence[Encoded]) -> float:
    """Return the mean negative log-likelihood of the learnt tokens, in nats."""
    import torch

    total, count = 0.0, 0
    for batch in _batches(rows, model.config.get_text_config().vocab_size):
        ids, labels, attention = _padded(batch, model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=attention).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum"
        ).item()
        count += int((labels[:, 1:] >= 0).sum())
    return total / max(1, count)


class _Subject:
    """A loaded model with its tokenizer and templates."""

    def __init__(self, recipe: Recipe, run: RunDirectory, what: What) -> None:
        base = resolve_base(recipe.model)
        self._tokenizer = load_tokenizer(base)
        templates = find_templates(recipe, base, self._tokenizer, read_data(recipe.data).train)
        self._tokenizer.chat_template = templates.own
        self._training = templates.training
        self._context = int(read_config(base).get("max_position_embeddings", 1 << 30))
        self._max_new_tokens = recipe.evaluate.max_new_tokens
        self._model = _load(recipe, run, what, base)
        self._model.generation_config.eos_token_id = sorted(eos_ids(base, self._tokenizer))
        self._model.generation_config.pad_token_id = self._tokenizer.pad_token_id

    def measure(self, rows: Sequence[Row], progress: Progress, stage: str) -> Measured:
        encoded = [row for row in encode(rows, self._tokenizer, self._training) if len(row.ids) <= self._context]
        if not encoded:
            raise UsageError(f"{stage}: no row fits the model's {self._context} tokens")
        fitting = [row.row for row in encoded]
        matches = exact_match(
            self._model, self._tokenizer, fitting, self._max_new_tokens, progress=progress, stage=stage
        )
        return Measured(
            rows=matches.rows,
            skipped=len(rows) - matches.rows,
            exact_match=matches.exact_match,
            stopped=matches.stopped,
            nll=round(mean_nll(self._model, encoded), 5),
            mismatches=matches.mismatches,
        )


def _load(recipe: Recipe, run: RunDirectory, what: What, base: Path) -> Any:
    import torch

    from weir_training.trainer import load_model

    torch.set_num_threads(recipe.optim.threads)
    bf16 = recipe.optim.precision == "bf16"
    model = load_model(run.merged if what == "merged" else base, bf16=bf16)
    if what == "adapter":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, run.adapter)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _answers(model: Any, tokenizer: Any, rows: Sequence[Row], max_new_tokens: int) -> Iterator[tuple[str, bool]]:
    import torch

    prompts = [prompt_of(row, tokenizer, tokenizer.chat_template) for row in rows]
    inputs = tokenizer(prompts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    longest = max(len(tokenizer(row.answer, add_special_tokens=False)["input_ids"]) for row in rows)
    width = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        made = model.generate(
            input_ids=inputs["input_ids"].to(model.device),
            attention_mask=inputs["attention_mask"].to(model.device),
            max_new_tokens=min(max_new_tokens, longest + _SPARE_TOKENS),
            do_sample=False,
        )[:, width:].tolist()
    ends = set(model.generation_config.eos_token_id)
    for ids in made:
        yield tokenizer.decode(ids, skip_special_tokens=True).strip(), not ends.isdisjoint(ids)


def _batches(rows: Sequence[Encoded], vocab_size: int) -> Iterator[list[Encoded]]:
    batch: list[Encoded] = []
    for row in sorted(rows, key=lambda r: len(r.ids)):
        if batch and (len(batch) + 1) * len(row.ids) * vocab_size * 4 > _LOGITS_BYTES:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _padded(batch: Sequence[Encoded], device: Any) -> tuple[Any, Any, Any]:
    """Return ids, labels and attention mask, each (rows, longest), padded on the right."""
    import torch

    longest = max(len(row.ids) for row in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full((len(batch), longest), -100)
    attention = torch.zeros(len(batch), longest, dtype=torch.long)
    for at, row in enumerate(batch):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        labels[at, : len(row.ids)] = torch.tensor(row.labels)
        attention[at, : len(row.ids)] = 1
    return ids.to(device), labels.to(device), attention.to(device)


def _spread(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return at most `limit` rows, evenly from the whole."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[at * len(rows) // limit] for at in range(limit)]


def _key(recipe: Recipe, run: RunDirectory, what: What, limit: int) -> str:
    heldout = "" if recipe.data.heldout is None else sha256_file(Path(recipe.data.heldout))
    folder = {"base": None, "adapter": run.adapter, "merged": run.merged}[what]
    if folder is not None and not folder.is_dir():
        verb = "train" if what == "adapter" else "merge"
        raise UsageError(f"{run.root.name}: no {what} here yet; `weir {verb}` makes it")
    weights = "" if folder is None else sha256_tree(folder)
    return sha256_text("\n".join((run_key(recipe), heldout, weights, what, str(limit), recipe.digest("evaluate"))))


def _read(path: Path) -> Evaluation:
    tree = json.loads(path.read_text(encoding="utf-8"))
    heldout = None if tree["heldout"] is None else _measured(tree["heldout"])
    return Evaluation(tree["what"], tree["key"], _measured(tree["trained"]), heldout, tree["seconds"])


def _measured(tree: dict[str, Any]) -> Measured:
    return Measured(**{**tree, "mismatches": tuple(Mismatch(**m) for m in tree["mismatches"])})


def _figures(evaluation: Evaluation) -> dict[str, float]:
    parts = {"trained": evaluation.trained, "heldout": evaluation.heldout}
    names = ("rows", "exact_match", "stopped", "nll")
    return {f"{name}_{part}": getattr(m, name) for part, m in parts.items() if m is not None for name in names}


@app.command(name="eval")
def command(  # noqa: PLR0913 — a command line's options are its arguments
    recipe: RecipeName,
    what: Annotated[list[str] | None, typer.Option("--what", help="base, adapter or merged; may be repeated.")] = None,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows measured of each file.")] = ROWS_MEASURED,
    as_json: AsJson = False,
) -> None:
    """Measure exact match and loss, by default of the base and of the adapter."""
    resolved = options.read_recipe(recipe, data, heldout, base, sets)
    read_data(resolved.data)
    run = open_run(home, resolved)
    subjects = [_what(name) for name in what] if what else _default_subjects(run)
    with bar() as progress:
        evaluations = [evaluate(resolved, run, subject, progress, limit=limit) for subject in subjects]
    write_report(run)
    if as_json:
        typer.echo(json.dumps([asdict(evaluation) for evaluation in evaluations], ensure_ascii=False))
    else:
        typer.echo(_in_words(evaluations))


def _what(name: str) -> What:
    for known in ("base", "adapter", "merged"):
        if name == known:
            return known
    raise UsageError(f"--what {name}: expected base, adapter or merged")


def _default_subjects(run: RunDirectory) -> list[What]:
    return ["base", "adapter"] if run.adapter.is_dir() else ["base"]


def _in_words(evaluations: Sequence[Evaluation]) -> str:
    lines = [f"{'':<10}{'rows':<10}{'count':>6}{'exact match':>13}{'stopped':>9}{'nll':>9}"]
    for evaluation in evaluations:
        for name, part in (("trained", evaluation.trained), ("held out", evaluation.heldout)):
            if part is not None:
                figures = f"{part.rows:>6}{part.exact_match:>13.3f}{part.stopped:>9.3f}{part.nll:>9.3f}"
                lines.append(f"{evaluation.what:<10}{name:<10}{figures}")
    last = evaluations[-1]
    wrong = [*last.trained.mismatches, *(last.heldout.mismatches if last.heldout else ())]
    if wrong:
        lines += ["", f"{last.what}: some that differ"]
        lines += [f"  {m.question}\n    expected {m.expected}\n    said     {m.answer}" for m in wrong[:3]]
    return "\n".join(lines)
