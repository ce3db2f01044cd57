"""A pod's volumes as folders of this machine."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from tests.support.cluster.objects import Object, labels_of, name_of


class Volumes:
    """Makes what a pod mounts: ConfigMaps, Secrets, empty folders, claims, the pod's own fields.

    A ConfigMap's files are written anew by `refresh`, as the kubelet does with maps that are mounted whole.
    """

    def __init__(self, folder: Path, claims: Path, objects: Sequence[Object], template: Object) -> None:
        self._folder, self._claims, self._objects, self._template = folder, claims, objects, template
        self._volumes = {volume["name"]: volume for volume in template["spec"].get("volumes") or []}

    def path(self, name: str) -> Path:
        """Return a volume's folder, made when first asked for; a claim is one folder for all pods."""
        volume = self._volumes[name]
        if claim := volume.get("persistentVolumeClaim"):
            path = self._claims / claim["claimName"]
        else:
            path = self._folder / name
        if not path.exists():
            path.mkdir(parents=True, mode=0o777)
            self._fill(path, volume)
        return path

    def refresh(self) -> None:
        for name, volume in self._volumes.items():
            if "configMap" in volume and (self._folder / name).exists():
                self._fill(self._folder / name, volume)

    def _fill(self, path: Path, volume: Object) -> None:
        sources = volume.get("projected", {}).get("sources") or [volume]
        for source in sources:
            for file, content in self._files(source).items():
                target = path / file
                target.parent.mkdir(parents=True, exist_ok=True)
                fresh = target.with_name(f".{target.name}.new")
                fresh.write_bytes(content)
                os.replace(fresh, target)  # noqa: PTH105 - readers see the old file or the new one

    def _files(self, source: Object) -> dict[str, bytes]:
        if "configMap" in source:
            return _chosen(self._data("ConfigMap", source["configMap"]), source["configMap"])
        if "secret" in source:
            named = {**source["secret"], "name": source["secret"].get("secretName") or source["secret"].get("name")}
            return _chosen(self._data("Secret", named), named)
        if "downwardAPI" in source:
            return {
                item["path"]: field(self._template, item["fieldRef"]["fieldPath"], {}).encode()
                for item in source["downwardAPI"]["items"]
            }
        return {}

    def _data(self, kind: str, reference: Object) -> dict[str, bytes]:
        return data_of(self._objects, kind, reference["name"], is_optional=bool(reference.get("optional")))


def data_of(objects: Sequence[Object], kind: str, name: str, *, is_optional: bool) -> dict[str, bytes]:
    """Return what a ConfigMap or Secret holds; one that is missing is an error, as a pod would not start."""
    found = next((each for each in objects if each["kind"] == kind and name_of(each) == name), None)
    if found is None:
        if is_optional:
            return {}
        raise LookupError(f"no {kind} {name!r}: the pod would wait for it for ever")
    plain = {key: str(value).encode() for key, value in (found.get("stringData") or {}).items()}
    held = found.get("data") or {}
    binary = {**(found.get("binaryData") or {}), **(held if kind == "Secret" else {})}
    text = {} if kind == "Secret" else {key: str(value).encode() for key, value in held.items()}
    return {**{key: base64.b64decode(value) for key, value in binary.items()}, **text, **plain}


def _chosen(data: dict[str, bytes], reference: Object) -> dict[str, bytes]:
    items = reference.get("items")
    return {item["path"]: data[item["key"]] for item in items} if items else data


def field(template: Object, path: str, status: dict[str, str]) -> str:
    """Return one field of the downward API."""
    if path in status:
        return status[path]
    if path.startswith("metadata.labels['"):
        return labels_of(template)[path.removeprefix("metadata.labels['").removesuffix("']")]
    raise LookupError(f"the downward API has no {path!r} here")
