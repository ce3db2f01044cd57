"""What KEDA and the horizontal autoscaler do with one rendered ScaledObject: its own query, their formula."""

import math
import threading
import time
from collections import deque

from tests.support.cluster.cluster import Cluster
from tests.support.cluster.monitoring import Monitoring
from tests.support.cluster.objects import Object

_TOLERANCE = 0.1


class Autoscaler:
    """Looks every `pollingInterval`; `quick` divides the time that it waits before it scales down.

    Formula: desired = ceil(sum / target), from the HorizontalPodAutoscaler's documentation (AverageValue), within the
    rendered bounds; up by the rendered policies, down to the highest wish of the stabilisation window.
    """

    def __init__(self, scaled: Object, cluster: Cluster, watcher: Monitoring, *, quick: float = 1.0) -> None:
        self._spec, self._cluster, self._watcher, self._quick = scaled["spec"], cluster, watcher, quick
        trigger = self._spec["triggers"][0]
        assert trigger["type"] == "prometheus", trigger
        assert trigger["metricType"] == "AverageValue", trigger
        self.query, self._target = trigger["metadata"]["query"], float(trigger["metadata"]["threshold"])
        self._name = self._spec["scaleTargetRef"]["name"]
        self.steps: list[tuple[float, int, int]] = []
        self._wishes: deque[tuple[float, int]] = deque()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Autoscaler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._is_over.wait(self._spec["pollingInterval"] / self._quick):
            self._look()

    def _look(self) -> None:
        found = self._watcher.query(self.query)
        assert len(found) == 1, f"{self.query} gives {len(found)} elements, an autoscaler needs one"
        value, now = float(found[0]["value"][1]), time.monotonic()
        current = self._cluster.deployment(self._name).replicas
        share = value / (current * self._target)
        wish = current if abs(share - 1) <= _TOLERANCE else math.ceil(value / self._target)
        wish = max(self._spec["minReplicaCount"], min(self._spec["maxReplicaCount"], wish))
        self._wishes.append((now, wish))
        behavior = self._spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        window_s = behavior["scaleDown"]["stabilizationWindowSeconds"] / self._quick
        while self._wishes[0][0] < now - window_s:
            self._wishes.popleft()
        if wish < current:
            wish = max(number for _, number in self._wishes)
            wish = max(wish, current - 1)
        else:
            wish = min(wish, max(current + 4, current * 2))
        if wish != current:
            self.steps.append((now, current, wish))
            self._cluster.scale(self._name, wish)
