"""Prometheus and Alertmanager in a namespace of their own, told what the rendered monitors and rules say."""

import http.client
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.cluster.cluster import Cluster
from tests.support.cluster.network import connect, inside
from tests.support.cluster.objects import Object, labels_of, name_of, of_kind, port_number, selects
from tests.support.cluster.pods import Pod
from tests.support.prometheus import programs

_PROMETHEUS, _ALERTMANAGER, _HOOK = 9090, 9093, 9099


@dataclass
class Monitoring:
    """`alerts` are those that came to the webhook, as (seconds of the monotonic clock, status, labels)."""

    cluster: Cluster
    space: str
    folder: Path
    alerts: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Ask as an autoscaler does; an empty answer is an empty list."""
        with connect(self.space, ("127.0.0.1", _PROMETHEUS), 5) as wire:
            connection = http.client.HTTPConnection("prometheus", timeout=10)
            connection.sock = wire
            connection.request("GET", f"/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
            response = connection.getresponse()
            if response.status == 503:
                raise ConnectionRefusedError("Prometheus is not ready")
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def fired(self, name: str, since: float) -> bool:
        return any(at >= since and s == "firing" and ls["alertname"] == name for at, s, ls in list(self.alerts))

    def find_targets(self) -> None:
        """Write what there is to scrape, as the operator's configuration finds it in a real cluster."""
        objects = self.cluster.objects
        groups = [group for each in of_kind(objects, "PodMonitor") for group in self._of_pods(each)]
        groups += [group for each in of_kind(objects, "ServiceMonitor") for group in self._of_services(each, objects)]
        fresh = self.folder / "targets.json.new"
        fresh.write_text(json.dumps(groups))
        fresh.replace(self.folder / "targets.json")

    def _of_pods(self, monitor: Object) -> Iterator[Object]:
        for pod in self.cluster.all_pods():
            if selects(monitor["spec"]["selector"], pod.labels):
                for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                    yield from self._target(pod, endpoint, {})

    def _of_services(self, monitor: Object, objects: Sequence[Object]) -> Iterator[Object]:
        for service in of_kind(objects, "Service"):
            if not selects(monitor["spec"]["selector"], labels_of(service)):
                continue
            for pod in self.cluster.all_pods():
                if selects(service["spec"]["selector"], pod.labels):
                    for endpoint in monitor["spec"]["endpoints"]:
                        target = next(p for p in service["spec"]["ports"] if p["name"] == endpoint["port"])
                        named = {**endpoint, "port": target.get("targetPort", target["port"])}
                        yield from self._target(pod, named, {"service": name_of(service)})

    def _target(self, pod: Pod, endpoint: Object, more: dict[str, str]) -> Iterator[Object]:
        number = port_number(pod.template["spec"], endpoint["port"])
        if number is None:
            return
        labels = {"namespace": self.cluster.namespace, "pod": pod.name, **more}
        known = {
            f"__meta_kubernetes_pod_label_{k.replace('/', '_').replace('.', '_')}": v for k, v in pod.labels.items()
        }
        for rule in endpoint.get("relabelings") or []:
            if "targetLabel" in rule:
                source = [known.get(each, "") for each in rule.get("sourceLabels") or []]
                labels[rule["targetLabel"]] = rule.get("replacement", "".join(source))
        yield {"targets": [f"{pod.address}:{number}"], "labels": labels}


@contextmanager
def monitoring(cluster: Cluster, folder: Path) -> Iterator[Monitoring]:
    """Run both programs beside the cluster, where its policies let Prometheus in."""
    found = programs()
    folder.mkdir()
    space, _ = cluster.outsider("prometheus", "monitoring", {})
    watcher = Monitoring(cluster, space, folder)
    watcher.find_targets()
    _configure(folder, of_kind(cluster.objects, "PrometheusRule"))
    here = [f"--web.listen-address=127.0.0.1:{port}" for port in (_ALERTMANAGER, _PROMETHEUS)]
    alerting = ["--config.file=alertmanager.yaml", "--storage.path=alerts", here[0], "--cluster.listen-address="]
    scraping = ["--config.file=prometheus.yaml", "--storage.tsdb.path=data", here[1]]
    processes = [
        _started(space, folder / "alertmanager.log", found.alertmanager, *alerting),
        _started(space, folder / "prometheus.log", found.prometheus, *scraping),
    ]
    is_over = threading.Event()
    hook = _webhook(space, watcher)
    finder = threading.Thread(target=_find_until, args=[watcher, is_over], daemon=True)
    finder.start()
    try:
        _wait_until_it_scrapes(watcher, processes)
        yield watcher
    finally:
        is_over.set()
        finder.join(5)
        for process in processes:
            process.kill()
            process.wait(10)
        hook.shutdown()
        hook.server_close()


def _configure(folder: Path, rules: Sequence[Object]) -> None:
    for rule in rules:
        (folder / f"rules-{name_of(rule)}.yaml").write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules-*.yaml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{_ALERTMANAGER}"]}]}]},
        "scrape_configs": [{
            "job_name": "pods",
            "file_sd_configs": [{"files": [str(folder / "targets.json")], "refresh_interval": "1s"}],
        }],
    }  # fmt: skip
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    route = {"receiver": "hook", "group_by": ["alertname"], "group_wait": "1s", "group_interval": "1s"}
    url = f"http://127.0.0.1:{_HOOK}/"
    receivers = [{"name": "hook", "webhook_configs": [{"url": url, "send_resolved": True}]}]
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump({"route": route, "receivers": receivers}))


def _started(space: str, log: Path, *command: str) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        # Debian's programs look for what they need at its place; `ip` gives a mount namespace of its own.
        own = Path(command[0]).parent.parent / "share"
        there = f"mount --bind {own} /usr/share && " if own != Path("/usr/share") else ""
        words = ["ip", "netns", "exec", space, "sh", "-c", f'{there}exec "$@"', "sh", *command]
        return subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent)


def _webhook(space: str, watcher: Monitoring) -> http.server.HTTPServer:
    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            now = time.monotonic()
            watcher.alerts += [(now, each["status"], each["labels"]) for each in body["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with inside(space):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", _HOOK), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _find_until(watcher: Monitoring, is_over: threading.Event) -> None:
    while not is_over.wait(0.5):
        watcher.find_targets()


def _wait_until_it_scrapes(watcher: Monitoring, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    def is_so() -> bool:
        assert all(process.poll() is None for process in processes), (watcher.folder / "prometheus.log").read_text()
        try:
            return len(watcher.query("up == 1")) >= len(json.loads((watcher.folder / "targets.json").read_text()))
        except OSError:
            return False

    watcher.cluster.wait(is_so, 60)
