"""One pod, from its init containers to the last KILL: what the kubelet does with it, in a thread of its own."""

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.cluster.network import Network
from tests.support.cluster.objects import Object, labels_of
from tests.support.cluster.probes import Probe, asks_over_http
from tests.support.cluster.sandbox import Container, Image, Mounts
from tests.support.cluster.volumes import Volumes, data_of
from tests.support.cluster.volumes import field as downward
from tests.support.debian import Programs

_TICK_S = 0.05
_MOST_BACKOFF_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """What pods of one cluster share."""

    network: Network
    tools: Programs
    images: Mapping[str, Image]
    folder: Path
    namespace: str
    prefix: str


@dataclass(slots=True)
class Running:
    """One container of a pod over its restarts."""

    spec: Object
    container: Container
    probes: dict[str, Probe]
    restarts: int = 0
    again_at: float = 0.0


@dataclass(slots=True)
class Story:
    """What happened to a pod, as (seconds of the monotonic clock, words): for failures' messages and assertions."""

    events: list[tuple[float, str]] = field(default_factory=list)

    def tell(self, words: str) -> None:
        self.events.append((time.monotonic(), words))


class Pod:
    """Runs one pod. `is_ready` is what endpoints go by; `stop` begins its end and returns at once."""

    def __init__(self, place: Place, name: str, address: str, template: Object, objects: Sequence[Object]) -> None:
        self.name, self.address, self.template, self.story = name, address, template, Story()
        self._place, self._objects = place, objects
        self._spec = template["spec"]
        self._folder = place.folder / name
        self._folder.mkdir(parents=True)
        self._etc = self._folder / "etc"
        self._etc.mkdir()
        (self._etc / "host.conf").write_text("multi on\n")
        (self._etc / "hosts").write_text("")
        self._volumes = Volumes(self._folder / "volumes", place.folder / "claims", objects, template)
        self._containers: list[Running] = []
        self._is_ending, self._ready_since, self._space = threading.Event(), 0.0, ""
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.template)

    @property
    def is_ending(self) -> bool:
        return self._is_ending.is_set()

    @property
    def is_gone(self) -> bool:
        return not self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        return self._ready_since > 0 and not self.is_ending

    @property
    def ready_for_s(self) -> float:
        return time.monotonic() - self._ready_since if self.is_ready else 0.0

    @property
    def space(self) -> str:
        """Return the pod's network namespace."""
        return self._space

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self._containers)

    @property
    def code(self) -> int | None:
        """Return how the first container ended; None while it runs."""
        return self._containers[0].container.code if self._containers else None

    @property
    def pids(self) -> list[int]:
        return [each.container.pid for each in self._containers if each.container.is_running]

    def log(self) -> str:
        texts = [f"--- {path.name}\n{path.read_text(errors='replace')}" for path in sorted(self._folder.glob("*.log"))]
        return "\n".join([*(f"{at:.2f} {words}" for at, words in self.story.events), *texts])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin the pod's end: hook, TERM, and KILL when the grace is over."""
        self._is_ending.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def write_hosts(self, text: str) -> None:
        """Tell the pod the addresses of names; in place, because the file is mounted."""
        (self._etc / "hosts").write_text(text)

    def refresh_volumes(self) -> None:
        self._volumes.refresh()

    def _live(self) -> None:
        self._space = self._place.network.add(self.name, self.address)
        try:
            if self._initialised():
                self._containers = [self._begun(spec) for spec in self._spec["containers"]]
                while not self._is_ending.is_set() and not self._is_done():
                    self._tick()
                    self._is_ending.wait(_TICK_S)
            self._end()
        except Exception as error:
            self.story.tell(f"failed: {error!r}")
            raise
        finally:
            self._kill()
            self._place.network.remove(self._space)

    def _is_done(self) -> bool:
        is_once = self._spec.get("restartPolicy", "Always") == "Never"
        return is_once and not any(each.container.is_running for each in self._containers)

    def _initialised(self) -> bool:
        for spec in self._spec.get("initContainers") or []:
            while not self._is_ending.is_set():
                container = self._new(spec)
                self._started(container, spec)
                while not container.wait(_TICK_S):
                    if self._is_ending.is_set():
                        container.signal(signal.SIGKILL)
                container.clean()
                self.story.tell(f"init {spec['name']}: {container.code}")
                if container.code == 0:
                    break
                self._is_ending.wait(1)
        return not self._is_ending.is_set()

    def _begun(self, spec: Object) -> Running:
        container = self._new(spec)
        self._started(container, spec)
        return Running(spec, container, self._new_probes(spec, container))

    def _new(self, spec: Object) -> Container:
        group = f"{self._place.prefix}-{self.name}-{spec['name']}"
        return Container(self._place.tools, self._space, spec, group, self._folder / f"{spec['name']}.log")

    def _started(self, container: Container, spec: Object) -> None:
        mounts = [
            (self._mounted(mount), mount["mountPath"], bool(mount.get("readOnly")))
            for mount in spec.get("volumeMounts") or []
        ]
        image = self._image(spec["image"])
        container.start(image, Mounts(mounts, self._etc), self._env(spec), self._spec.get("securityContext") or {})
        self.story.tell(f"started {spec['name']}")

    def _mounted(self, mount: Object) -> Path:
        folder = self._volumes.path(mount["name"])
        inner = folder / mount["subPath"] if mount.get("subPath") else folder
        if mount.get("subPath") and not inner.exists():
            inner.mkdir(parents=True)
        return inner

    def _image(self, reference: str) -> Image:
        repository = reference.partition("@")[0].rpartition(":")[0] or reference
        return next(image for name, image in self._place.images.items() if repository.endswith(name))

    def _env(self, spec: Object) -> dict[str, str]:
        env: dict[str, str] = {"HOSTNAME": self.name}
        for source in spec.get("envFrom") or []:
            kind, key = ("ConfigMap", "configMapRef") if "configMapRef" in source else ("Secret", "secretRef")
            held = data_of(self._objects, kind, source[key]["name"], is_optional=bool(source[key].get("optional")))
            env |= {source.get("prefix", "") + name: value.decode() for name, value in held.items()}
        for each in spec.get("env") or []:
            value = self._value(each)
            if value is not None:
                env[each["name"]] = value
        return env

    def _value(self, each: Object) -> str | None:
        source = each.get("valueFrom")
        if source is None:
            return str(each.get("value", ""))
        if "fieldRef" in source:
            status = {
                "metadata.name": self.name, "metadata.namespace": self._place.namespace, "status.podIP": self.address,
                "status.hostIP": "169.254.1.1", "spec.nodeName": "machine", "metadata.uid": self.name,
            }  # fmt: skip
            return downward(self.template, source["fieldRef"]["fieldPath"], status)
        kind, key = ("ConfigMap", "configMapKeyRef") if "configMapKeyRef" in source else ("Secret", "secretKeyRef")
        reference = source[key]
        held = data_of(self._objects, kind, reference["name"], is_optional=bool(reference.get("optional")))
        if reference["key"] not in held and reference.get("optional"):
            return None
        return held[reference["key"]].decode()

    def _new_probes(self, spec: Object, container: Container) -> dict[str, Probe]:
        over_http = asks_over_http(self._place.network.machine, self.address, self._spec, spec)

        def ask(probe: Object) -> bool:
            if "exec" in probe:
                return container.run_inside(probe["exec"]["command"], probe.get("timeoutSeconds", 1))
            return over_http(probe)

        kinds = ("startupProbe", "livenessProbe", "readinessProbe")
        return {kind: Probe(spec.get(kind), ask) for kind in kinds}

    def _tick(self) -> None:
        ready = [self._looked_after(each) for each in self._containers]
        if all(ready) and not self._ready_since:
            self._ready_since = time.monotonic()
            self.story.tell("ready")
        elif not all(ready) and self._ready_since:
            self._ready_since = 0.0
            self.story.tell("not ready")

    def _looked_after(self, each: Running) -> bool:
        if not each.container.is_running:
            self._restart(each)
            return False
        startup, liveness, readiness = (each.probes[k] for k in ("startupProbe", "livenessProbe", "readinessProbe"))
        if not startup.is_good:
            startup.tick()
            self._kill_if(each, startup)
            return False
        liveness.tick()
        self._kill_if(each, liveness)
        readiness.tick()
        return readiness.is_good

    def _kill_if(self, each: Running, probe: Probe) -> None:
        if probe.has_failed:
            self.story.tell(f"{each.spec['name']}: a probe failed: {probe.spec}")
            each.container.signal(signal.SIGTERM)
            if not each.container.wait(self._grace_s()):
                each.container.signal(signal.SIGKILL)
                each.container.wait(10)

    def _restart(self, each: Running) -> None:
        now = time.monotonic()
        if not each.again_at:
            self.story.tell(f"{each.spec['name']} ended: {each.container.code}")
            each.again_at = now + min(_MOST_BACKOFF_S, 0 if each.restarts == 0 else 2.0**each.restarts)
        if now >= each.again_at:
            each.again_at, each.restarts = 0.0, each.restarts + 1
            each.container.clean()
            each.container = self._new(each.spec)
            self._started(each.container, each.spec)
            each.probes = self._new_probes(each.spec, each.container)

    def _grace_s(self) -> float:
        return float(self._spec.get("terminationGracePeriodSeconds", 30))

    def _end(self) -> None:
        self.story.tell("ending")
        deadline = time.monotonic() + self._grace_s()
        threads = [threading.Thread(target=self._end_one, args=[each, deadline]) for each in self._containers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _end_one(self, each: Running, deadline: float) -> None:
        hook = (each.spec.get("lifecycle") or {}).get("preStop") or {}
        if "sleep" in hook:
            each.container.wait(min(hook["sleep"]["seconds"], self._grace_s()))
        elif "exec" in hook:
            each.container.run_inside(hook["exec"]["command"], self._grace_s())
        elif hook:
            self.story.tell(f"this cluster knows no such hook: {sorted(hook)}")
        each.container.signal(signal.SIGTERM)
        if not each.container.wait(max(0.0, deadline - time.monotonic())):
            self.story.tell(f"{each.spec['name']}: the grace is over: KILL")
        else:
            self.story.tell(f"{each.spec['name']} ended: {each.container.code}")

    def _kill(self) -> None:
        for each in self._containers:
            each.container.signal(signal.SIGKILL)
            each.container.wait(10)
            each.container.clean()

    def forget(self) -> None:
        """Remove the pod's folder."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self._folder)
