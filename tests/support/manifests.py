"""What a rendered chart means: which pods there are, and what selects them."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import yaml

Thing = dict[str, Any]
WORKLOADS: Final = ("Deployment", "Rollout", "Job", "CronJob", "Pod")


@dataclass(frozen=True)
class PodKind:
    """The pods of one workload."""

    of: Thing
    labels: Mapping[str, str]
    spec: Thing

    @property
    def name(self) -> str:
        return f"{self.of['kind']}/{self.of['metadata']['name']}"

    @property
    def serves(self) -> bool:
        return self.of["kind"] in {"Deployment", "Rollout"}

    @property
    def containers(self) -> list[Thing]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Numbers of ports by their names."""
        return {
            port["name"]: port["containerPort"]
            for container in self.spec["containers"]
            for port in container.get("ports", [])
        }

    def port(self, wanted: str | int) -> int | None:
        return self.ports.get(wanted) if isinstance(wanted, str) else wanted


@dataclass
class Manifests:
    """All objects of one rendering; `namespace` is the release's."""

    things: list[Thing]
    namespace: str = "serving"

    def changed(self) -> "Manifests":
        """Return a copy that a test may spoil."""
        return Manifests(copy.deepcopy(self.things), self.namespace)

    def of(self, *kinds: str) -> list[Thing]:
        return [thing for thing in self.things if thing["kind"] in kinds]

    def one(self, kind: str, name: str) -> Thing:
        found = [thing for thing in self.of(kind) if thing["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} {kind} {name}"
        return found[0]

    def has(self, kind: str, name: str) -> bool:
        return any(thing["metadata"]["name"] == name for thing in self.of(kind))

    @cached_property
    def pods(self) -> list[PodKind]:
        return [_pods(thing) for thing in self.of(*WORKLOADS)]

    def selected(self, selector: Mapping[str, Any]) -> list[PodKind]:
        """Return the pods that a LabelSelector (or a Service's plain labels) means; {} means all."""
        labels = selector.get("matchLabels", {}) if "matchLabels" in selector or not selector else selector
        assert "matchExpressions" not in selector, "not used by this chart, so not understood here"
        return [pod for pod in self.pods if labels.items() <= pod.labels.items()]

    def services(self, labels: Mapping[str, str]) -> list[Thing]:
        return [s for s in self.of("Service") if labels.items() <= s["metadata"].get("labels", {}).items()]

    def settings(self, pod: PodKind) -> Thing:
        """Return the settings file that the container of `pod` is started with."""
        argument = next(word for word in pod.spec["containers"][0]["args"] if word.startswith("--config="))
        return dict(yaml.safe_load(self.file(pod, argument.removeprefix("--config="))))

    def file(self, pod: PodKind, path: str) -> str:
        """Return the text of a file that a ConfigMap brings into the container."""
        container = pod.spec["containers"][0]
        for mount in container["volumeMounts"]:
            inside = mount["subPath"] if "subPath" in mount else path.removeprefix(mount["mountPath"]).lstrip("/")
            if path == mount["mountPath"] or path.startswith(mount["mountPath"] + "/"):
                volume = next(volume for volume in pod.spec["volumes"] if volume["name"] == mount["name"])
                if "configMap" in volume:
                    return str(self.one("ConfigMap", volume["configMap"]["name"])["data"][inside])
        raise AssertionError(f"{pod.name}: no ConfigMap holds {path}")

    def host_of(self, name: str) -> Thing | None:
        """Return the Service that a host name means, e.g. `weir-gateway.serving.svc.cluster.local`."""
        short, _, rest = name.partition(".")
        if rest and not rest.startswith(f"{self.namespace}.svc"):
            return None
        return next((s for s in self.of("Service") if s["metadata"]["name"] == short), None)


def component(pod: PodKind) -> str:
    return pod.labels["app.kubernetes.io/component"]


def config_maps_of(pod: PodKind) -> Iterator[str]:
    for volume in pod.spec.get("volumes", []):
        if "configMap" in volume:
            yield volume["configMap"]["name"]


def _pods(thing: Thing) -> PodKind:
    if thing["kind"] == "Pod":
        return PodKind(thing, thing["metadata"].get("labels", {}), thing["spec"])
    spec = thing["spec"]["jobTemplate"]["spec"] if thing["kind"] == "CronJob" else thing["spec"]
    template = spec["template"]
    return PodKind(thing, template["metadata"].get("labels", {}), template["spec"])
