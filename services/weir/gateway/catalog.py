"""The models this gateway offers, and the release that speaks for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weir.contracts.errors import ReleaseError, UnknownModelError
from weir.contracts.manifest import ReleaseManifest
from weir.gateway.choices import Choices
from weir.gateway.kinds import misplaced
from weir.release.added import Added, added_adapters
from weir.release.hashing import sha256_file
from weir.release.prompts import PromptBuilder, load_prompt_builder
from weir.release.reader import MANIFEST, newest_version, read_manifest
from weir.routing.release import Offer

# What clients send that were given a URL and no model: huggingface_hub, TGI's documentation, habit.
NOBODYS_NAMES = frozenset({"", "dummy", "tgi", "default"})
_SHA_DIGITS = 12
_READ_BY_GATEWAY = ("model/tokenizer.json", "model/tokenizer_config.json", "model/chat_template.jinja")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, and how its prompts are made and counted."""

    name: str
    version: int
    context_tokens: int
    eos_id: int
    prompts: PromptBuilder
    release_sha256: str = ""  # of its manifest, which vouches for all its files
    added: tuple[Added, ...] = ()  # adapters that were published later

    @property
    def adapters(self) -> tuple[str, ...]:
        named = [entry.name for entry in self.prompts.manifest.adapters] + [added.name for added in self.added]
        return tuple(dict.fromkeys(named))

    def adapter_stamp(self, name: str | None) -> str:
        """Return what changes when another adapter takes the name; nothing for those of the release itself."""
        return next((added.stamp for added in self.added if added.name == name), "")


class Catalog:
    """Finds models by name. `replace` swaps all at once; requests under way keep what they have."""

    def __init__(
        self, models: Sequence[ServedModel], roots: Sequence[Path] = (), choices: Choices | None = None
    ) -> None:
        self._roots = tuple(roots)
        self._choices = choices
        self._set(models)

    @classmethod
    def from_releases(cls, roots: Sequence[Path], choices: Choices | None = None) -> "Catalog":
        """Read releases; a folder of versions stands for the one that was chosen, or its newest.

        Raises:
            ReleaseError: one is missing, altered or of another schema.
        """
        return cls([_read(root, choices) for root in roots], roots, choices)

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return tuple(self._by_name.values())

    @property
    def labels(self) -> tuple[tuple[str, str, str], ...]:
        """Name, version and digest of each, as metrics show them."""
        return tuple((one.name, str(one.version), one.release_sha256[:_SHA_DIGITS]) for one in self.models)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What routing has to know of each release; the default one's comes first."""
        others = [model for model in self.models if model is not self._default]
        return tuple(Offer.of(model.prompts.manifest) for model in (self._default, *others))

    @property
    def default(self) -> ServedModel:
        return self._default

    def resolve(self, name: str | None) -> ServedModel:
        """Return the model called `name`; none, or a name that clients make up, is the default one.

        Raises:
            UnknownModelError: there is no such model.
        """
        if name is None or name in NOBODYS_NAMES:
            return self._default
        model = self._by_name.get(name)
        if model is None:
            raise UnknownModelError("this gateway does not serve the model that was asked for")
        return model

    def read_again(self) -> list[ServedModel]:
        """Read the releases anew; `replace` makes them hold.

        Raises:
            ReleaseError: one is refused.
        """
        return [_read(root, self._choices) for root in self._roots]

    def replace(self, models: Sequence[ServedModel]) -> None:
        self._set(models)

    def _set(self, models: Sequence[ServedModel]) -> None:
        self._by_name = {model.name: model for model in models}
        self._default = models[0]


def _read(root: Path, choices: Choices | None) -> ServedModel:
    if not (root / MANIFEST).is_file() and root.is_dir():
        root = newest_version(root) if choices is None else choices.of(root)
    with misplaced():
        manifest = read_manifest(root)
    _check_files(root, manifest)
    return ServedModel(
        name=manifest.model,
        version=manifest.version,
        context_tokens=manifest.context_tokens,
        eos_id=manifest.eos_ids[0],
        prompts=load_prompt_builder(root),
        release_sha256=sha256_file(root / MANIFEST),
        added=added_adapters(root),
    )


def _check_files(root: Path, manifest: ReleaseManifest) -> None:
    """Check the few files that a gateway reads. Nodes check all: graphs may be gigabytes."""
    hashes = {entry.path: entry.sha256 for entry in manifest.files}
    for name in _READ_BY_GATEWAY:
        if (root / name).is_file() and hashes.get(name) != sha256_file(root / name):
            raise ReleaseError(f"{root}: {name} is not the file its manifest names")
