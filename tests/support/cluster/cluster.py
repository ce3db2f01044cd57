"""The cluster: apply rendered manifests, and the loop that keeps pods, names and rules as they say."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.cluster.deployments import Deployment
from tests.support.cluster.network import Network
from tests.support.cluster.objects import Object, is_hook, name_of, of_kind, selects
from tests.support.cluster.pods import Place, Pod
from tests.support.cluster.rules import PodAddress, balances, render
from tests.support.cluster.sandbox import Image
from tests.support.debian import debian_programs

_TICK_S = 0.1
_PACKAGES = ("nftables", "libnftables1", "libnftnl11", "libmnl0", "bubblewrap")


class Cluster:
    """Runs what is applied. `endpoint_lag_s` is how late a pod's state reaches names and rules, as on real machines."""

    def __init__(
        self, folder: Path, images: Mapping[str, Image], *, namespace: str, endpoint_lag_s: float = 1.0
    ) -> None:
        tools = debian_programs(_PACKAGES)
        prefix = f"weir{os.getpid() % 100_000}"
        self.namespace = namespace
        self._network = Network(prefix, tools)
        self._place = Place(self._network, tools, images, folder, self.namespace, prefix)
        self._objects: list[Object] = []
        self._addresses: dict[str, str] = {}
        self._outsiders: dict[str, PodAddress] = {}
        self._deployments: dict[str, Deployment] = {}
        self._leaving: list[Deployment] = []
        self._bare: list[Pod] = []
        self._lag_s, self._due, self._told = endpoint_lag_s, 0.0, ""
        self._numbers = iter(range(2, 4000))
        self._lock, self._is_over = threading.RLock(), threading.Event()
        self._error: BaseException | None = None
        self._loop = threading.Thread(target=self._run, daemon=True)
        self._loop.start()

    def apply(self, objects: Sequence[Object]) -> None:
        """Make the cluster what these objects say, hooks apart; what is no longer there goes away."""
        with self._lock:
            self._objects = [each for each in objects if not is_hook(each)]
            for service in of_kind(self._objects, "Service"):
                self._addresses.setdefault(name_of(service), self._address("10.96"))
            wanted = {name_of(each): each for each in of_kind(self._objects, "Deployment")}
            for name, manifest in wanted.items():
                if name in self._deployments:
                    self._deployments[name].update(manifest)
                else:
                    self._deployments[name] = Deployment(manifest, self._spawn)
            for name in [name for name in self._deployments if name not in wanted]:
                gone = self._deployments.pop(name)
                gone.replicas = 0
                self._leaving.append(gone)
            for pod in self._pods():
                pod.refresh_volumes()

    @property
    def objects(self) -> list[Object]:
        """Return what was applied last."""
        return list(self._objects)

    def claim(self, name: str) -> Path:
        """Return the folder of a persistent volume claim."""
        folder = self._place.folder / "claims" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def outsider(self, name: str, namespace: str, labels: Mapping[str, str]) -> tuple[str, str]:
        """Add somebody who is no pod of ours; return (network namespace, address)."""
        with self._lock:
            address = self._address("10.77")
            self._outsiders[name] = PodAddress(address, namespace, dict(labels), {"containers": []})
            return self._network.add(name, address), address

    def deployment(self, name: str) -> Deployment:
        with self._lock:
            return self._deployments[name]

    def pods(self, deployment: str) -> list[Pod]:
        """Return the pods that are not ending."""
        with self._lock:
            return [pod for pod in self._deployments[deployment].pods if not pod.is_ending]

    def all_pods(self) -> list[Pod]:
        """Return every pod that is not gone."""
        with self._lock:
            return self._pods()

    def scale(self, deployment: str, replicas: int) -> None:
        with self._lock:
            self._deployments[deployment].replicas = replicas

    def run(self, manifest: Object, within_s: float) -> tuple[int | None, str]:
        """Run a bare pod to its end, as `helm test` does with a hook; return its exit code and what it wrote."""
        with self._lock:
            pod = self._spawn(name_of(manifest), {"metadata": manifest["metadata"], "spec": manifest["spec"]})
            self._bare.append(pod)
        self.wait(self.is_told, within_s)
        pod.start()
        try:
            self.wait(lambda: pod.is_gone, within_s)
        finally:
            pod.stop()
            pod.join(30)
            with self._lock:
                self._bare.remove(pod)
        text = pod.log()
        pod.forget()
        return pod.code, text

    def address(self, service: str) -> str:
        return self._addresses[service]

    def cut(self, pod: Pod) -> None:
        self._network.cut(pod.space)

    def heal(self, pod: Pod) -> None:
        self._network.heal(pod.space)

    def wait_settled(self, within_s: float) -> None:
        """Wait until every Deployment has what it wants, and names and rules know of it."""
        self.wait(lambda: all(each.is_settled for each in self._deployments.values()) and self.is_told(), within_s)

    def wait(self, is_so: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while True:
            with self._lock:
                if self._error is not None:
                    raise RuntimeError("the cluster's loop ended") from self._error
                if is_so():
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not so after {within_s} s\n{self.report()}")
            time.sleep(_TICK_S)

    def report(self) -> str:
        with self._lock:
            return "\n".join(f"=== {pod.name} ready={pod.is_ready}\n{pod.log()[-3000:]}" for pod in self._pods())

    def close(self) -> None:
        """End everything at once."""
        self._is_over.set()
        self._loop.join(10)
        pods = self._pods()
        for pod in pods:
            pod.template["spec"]["terminationGracePeriodSeconds"] = 0
            pod.stop()
        for pod in pods:
            pod.join(30)
        self._network.close()

    def _pods(self) -> list[Pod]:
        return [*(pod for each in [*self._deployments.values(), *self._leaving] for pod in each.pods), *self._bare]

    def _spawn(self, name: str, template: Object) -> Pod:
        pod = Pod(self._place, name, self._address("10.77"), template, self._objects)
        pod.write_hosts(self._hosts(self._known()))
        return pod

    def _address(self, net: str) -> str:
        number = next(self._numbers)
        return f"{net}.{number // 250}.{number % 250 + 1}"

    def _run(self) -> None:
        try:
            while not self._is_over.wait(_TICK_S):
                with self._lock:
                    for each in [*self._deployments.values(), *self._leaving]:
                        each.tick()
                    self._tell()
        except BaseException as error:
            self._error = error
            raise

    def _tell(self) -> None:
        """Write names and rules when something changed, `lag` later: until then the old ones stand."""
        known = self._known()
        text = self._rules(known) + self._hosts(known)
        if text == self._told:
            self._due = 0.0
        elif not self._due:
            self._due = time.monotonic() + (self._lag_s if self._told else 0.0)
        if self._due and time.monotonic() >= self._due:
            self._network.apply(self._rules(known))
            for pod in self._pods():
                pod.write_hosts(self._hosts(known))
            self._told, self._due = text, 0.0

    def is_told(self) -> bool:
        """Say whether names and rules are as the pods are now."""
        known = self._known()
        return self._told == self._rules(known) + self._hosts(known)

    def _known(self) -> list[PodAddress]:
        return [
            PodAddress(pod.address, self.namespace, pod.labels, pod.template["spec"], pod.is_ready)
            for pod in self._pods()
        ] + list(self._outsiders.values())

    def _rules(self, known: Sequence[PodAddress]) -> str:
        found = balances(of_kind(self._objects, "Service"), self._addresses, known)
        return render(found, of_kind(self._objects, "NetworkPolicy"), known, self.namespace)

    def _hosts(self, known: Sequence[PodAddress]) -> str:
        lines = ["127.0.0.1 localhost"]
        for service in of_kind(self._objects, "Service"):
            spec, name = service["spec"], name_of(service)
            addresses = [self._addresses[name]]
            if spec.get("clusterIP") == "None":
                addresses = [
                    pod.address
                    for pod in known
                    if pod.namespace == self.namespace
                    and selects(spec.get("selector"), pod.labels)
                    and (pod.is_ready or spec.get("publishNotReadyAddresses"))
                ]
            full = f"{name}.{self.namespace}.svc"
            lines += [f"{address} {full}.cluster.local {full} {name}.{self.namespace} {name}" for address in addresses]
        return "\n".join(lines) + "\n"
