"""`weir VERB`: finds the verb's module and hands over. A verb is imported only when it is asked for."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from weir import __version__


class Verb(NamedTuple):
    """`module` holds a typer app named `app`; `extra` is what to install when the module cannot be imported.

    A name of two words is a part of the first word's verb that lives elsewhere.
    """

    module: str
    extra: str
    help: str


VERBS = {
    "up": Verb("weir.supervisor.verbs_up", "gateway,node,export", "Train, prove and serve, all on this machine"),
    "check": Verb("weir_training.check", "train", "Check a recipe and its data; trains nothing"),
    "train": Verb("weir_training.train", "train", "Fine-tune a LoRA adapter (resumes after an interruption)"),
    "eval": Verb("weir_training.evaluate", "train", "Measure exact match and loss of a checkpoint or adapter"),
    "merge": Verb("weir_training.merge", "train", "Fold an adapter into its base, save, reload, compare"),
    "export": Verb("weir_training.export", "export", "Turn a merged checkpoint into ONNX flavours"),
    "verify": Verb("weir_training.verify", "export", "Prove that every flavour answers as the checkpoint does"),
    "triton": Verb(
        "weir_training.triton_verbs", "export", "Write a release as a Triton entry for vLLM or TensorRT-LLM"
    ),
    "publish": Verb("weir_training.publish", "export", "Make a release, link it, tell running nodes"),
    "adapters": Verb("weir_training.adding", "export", "Add LoRA adapters to a release that is out, or remove them"),
    "classifier": Verb("weir_training.classifier.verbs", "export", "Train a small classifier of texts and publish it"),
    "embedder": Verb("weir_training.embedder.verbs", "export", "Make a release of a checkpoint that embeds texts"),
    "releases": Verb("weir.release.verbs", "gateway", "List releases, or check one file by file"),
    "releases load": Verb("weir.gateway.verbs_load", "gateway", "Make running nodes serve a published version"),
    "base": Verb("weir_training.base.verbs", "train", "Build or inspect the built-in base model"),
    "node": Verb("weir.cpu_node.verbs", "node", "Serve a release on CPU (ONNX Runtime)"),
    "serve": Verb("weir.gateway.verbs", "gateway", "Run the gateway"),
    "generate": Verb("weir.gateway.verbs_client", "gateway", "Ask a running gateway"),
    "bench": Verb("weir_training.benching.verbs", "bench", "Measure tokens per second of an engine or a gateway"),
    "guard bench": Verb("weir_training.benching.guard.verb", "bench", "Measure the guard beside other guards"),
    "keys": Verb(
        "weir.store.verbs_keys", "gateway", "Make, list, change, rotate and revoke API keys; show what they used"
    ),
    "audit": Verb("weir.store.verbs_audit", "gateway", "Read the audit: who asked when, and what came of it"),
    "guard": Verb("weir.guard.verbs", "gateway", "Check a guard policy, try texts on it, see why"),
    "doctor": Verb("weir.supervisor.doctor", "gateway", "Say what this machine can do and what is missing"),
}

_INTERRUPTED = 130
_HEADER = """\
usage: weir VERB [OPTIONS]

From a base model and a file of examples to a proven, guarded, streaming /generate.
"""


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one verb; return the exit code (0 ok, 1 failed, 2 usage, 3 a check or gate said no)."""
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(_overview())
        return 0
    if arguments[0] in {"-V", "--version", "version"}:
        print(__version__)
        return 0
    words = 2 if " ".join(arguments[:2]) in VERBS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    verb = VERBS.get(name)
    if verb is None:
        return _fail(f"no verb {name!r}{_nearest(name)}; `weir --help` lists them", 2)
    if find_spec(verb.module.split(".", maxsplit=1)[0]) is None:
        return _fail(f"`weir {name}` needs: pip install 'weir[{verb.extra}]'", 1)
    return _call(name, verb, rest)


def _call(name: str, verb: Verb, arguments: list[str]) -> int:
    import typer  # here, so that `weir --help` stays instant

    from weir.contracts.errors import WeirError, disk_full

    try:
        app: typer.Typer = import_module(verb.module).app
        result = app(arguments, prog_name=f"weir {name}", standalone_mode=False)
    except WeirError as error:
        known = disk_full(error) or error
        return _fail(str(known), known.exit_code)
    except ModuleNotFoundError as error:
        return _fail(f"`weir {name}` needs {error.name}: pip install 'weir[{verb.extra}]'", 1)
    except KeyboardInterrupt:
        result = _INTERRUPTED
    except Exception as error:
        if full := disk_full(error):
            return _fail(str(full), full.exit_code)
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if not isinstance(code, int):
            raise
        if callable(show):  # a usage error, in click's own words
            show()
        return code
    if result == _INTERRUPTED:  # typer makes Ctrl-C a return value
        return _fail("interrupted; the same command goes on from here", _INTERRUPTED)
    return result if isinstance(result, int) else 0


def _overview() -> str:
    width = max(map(len, VERBS))
    return _HEADER + "\n" + "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, VERBS, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _fail(message: str, code: int) -> int:
    print(f"weir: {message}", file=sys.stderr)
    return code
