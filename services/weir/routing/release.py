"""The release that nodes are meant to serve, as far as routing cares."""

from collections.abc import Collection
from dataclasses import dataclass

from weir.contracts.manifest import ReleaseManifest


@dataclass(frozen=True, slots=True)
class Offer:
    """`proven`: flavours that may answer side by side, as its parity report allows; `usual_flavour`: its default."""

    model: str = ""
    version: int = 0
    usual_flavour: str = ""
    proven: Collection[str] = frozenset()

    @classmethod
    def of(cls, manifest: ReleaseManifest) -> "Offer":
        proven = frozenset(entry.flavour for entry in manifest.formats if entry.parity.passed)
        return cls(manifest.model, manifest.version, manifest.serve_flavour, proven)
