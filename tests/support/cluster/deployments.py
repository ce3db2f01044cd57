"""What the Deployment controller does: the wanted number of pods, and new ones for old ones without a gap."""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from tests.support.cluster.objects import Object, name_of
from tests.support.cluster.pods import Pod

Spawn = Callable[[str, Object], Pod]


class Deployment:
    """Keeps one Deployment's pods; `tick` does one step. Not thread-safe: the cluster's loop calls it."""

    def __init__(self, manifest: Object, spawn: Spawn) -> None:
        self._spawn, self._count = spawn, 0
        self.name = name_of(manifest)
        self.pods: list[Pod] = []
        self.gone: list[Pod] = []
        self._hashes: dict[str, str] = {}
        self._manifest = manifest
        self.replicas = int(manifest["spec"].get("replicas", 1))

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self._manifest["spec"])

    @property
    def is_settled(self) -> bool:
        """Say whether exactly the wanted pods, all of the newest template, are ready and nothing else is left."""
        return len(self.pods) == self.replicas and all(
            pod.is_ready and self._hashes[pod.name] == self._hash() for pod in self.pods
        )

    def update(self, manifest: Object) -> None:
        """Take a new manifest; without `replicas` in it the number stays (an autoscaler owns it)."""
        self._manifest = manifest
        self.replicas = int(manifest["spec"].get("replicas", self.replicas))

    def tick(self) -> None:
        self.gone += [pod for pod in self.pods if pod.is_gone and pod.is_ending]
        self.pods = [pod for pod in self.pods if not (pod.is_gone and pod.is_ending)]
        alive = [pod for pod in self.pods if not pod.is_ending]
        current = [pod for pod in alive if self._hashes[pod.name] == self._hash()]
        old = [pod for pod in alive if pod not in current]
        surge, missing = self._bounds()
        if self._strategy().get("type") == "Recreate" and old:
            self._stop(old)
            return
        if self._strategy().get("type") == "Recreate" and len(self.pods) > len(current):
            return
        for _ in range(min(self.replicas - len(current), self.replicas + surge - len(alive))):
            self._add()
        self._retire(old, alive, missing)
        surplus = sorted(current, key=lambda pod: (pod.is_ready, -pod.ready_for_s))
        self._stop(surplus[: max(0, len(current) - self.replicas)])

    def _retire(self, old: list[Pod], alive: list[Pod], missing: int) -> None:
        wait_s = self._manifest["spec"].get("minReadySeconds", 0)
        available = [pod for pod in alive if pod.is_ready and pod.ready_for_s >= wait_s]
        self._stop([pod for pod in old if pod not in available])
        spare = len(available) - (self.replicas - missing)
        self._stop([pod for pod in old if pod in available][: max(0, spare)])

    def _add(self) -> None:
        self._count += 1
        pod = self._spawn(f"{self.name}-{self._count}", self._manifest["spec"]["template"])
        self._hashes[pod.name] = self._hash()
        self.pods.append(pod)
        pod.start()

    def _stop(self, pods: list[Pod]) -> None:
        for pod in pods:
            pod.stop()

    def _hash(self) -> str:
        return hashlib.sha256(json.dumps(self._manifest["spec"]["template"], sort_keys=True).encode()).hexdigest()

    def _strategy(self) -> Object:
        return dict(self._manifest["spec"].get("strategy") or {})

    def _bounds(self) -> tuple[int, int]:
        rolling = self._strategy().get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), self.replicas, math.ceil)
        missing = _share(rolling.get("maxUnavailable", "25%"), self.replicas, math.floor)
        return (surge, missing) if surge or missing else (0, 1)


def _share(value: int | str, whole: int, rounded: Callable[[float], int]) -> int:
    return value if isinstance(value, int) else rounded(float(value.rstrip("%")) / 100 * whole)
