"""A stub of the Kubernetes API, in memory: enough for the real helm to install, upgrade, roll back, test and uninstall.

It keeps objects, patches them as a server does (merge and strategic merge), refuses unknown fields and changes of what
is immutable, and lets every pod succeed at once. It schedules nothing, defaults nothing and admits everything else.
"""

import copy
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.kubernetes_schemas import problems_of
from tests.support.strategic_merge import merged, strategically_merged

Thing = dict[str, Any]
Key = tuple[str, str, str]  # apiVersion, plural, name

KINDS: Final = {
    "v1": ("Secret", "ConfigMap", "Service", "ServiceAccount", "Pod", "PersistentVolumeClaim", "Namespace"),
    "apps/v1": ("Deployment",),
    "batch/v1": ("Job", "CronJob"),
    "policy/v1": ("PodDisruptionBudget",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("NetworkPolicy", "Ingress"),
    "gateway.networking.k8s.io/v1": ("HTTPRoute",),
    "monitoring.coreos.com/v1": ("ServiceMonitor", "PodMonitor", "PrometheusRule"),
    "keda.sh/v1alpha1": ("ScaledObject",),
    "argoproj.io/v1alpha1": ("Rollout", "AnalysisTemplate"),
}
_IMMUTABLE: Final = {"Deployment": ("selector",), "Job": ("template", "selector"), "PersistentVolumeClaim": ("*",)}
_PATH: Final = re.compile(r"/(?:api/(v1)|apis/([^/]+/[^/]+))(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/(log))?")


class RefusedError(Exception):
    """An answer that is no object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass
class Cluster:
    """What the API holds; `version` is the schemas' against which objects are checked."""

    version: str
    objects: dict[Key, Thing] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def kubeconfig(self, path: Path) -> Path:
        cluster = {"name": "stub", "cluster": {"server": self.url}}
        context = {"name": "stub", "context": {"cluster": "stub", "user": "nobody"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context]}
        path.write_text(yaml.safe_dump({**config, "users": [{"name": "nobody"}], "current-context": "stub"}))
        return path

    def of(self, kind: str, name: str) -> Thing | None:
        return next((o for o in self.objects.values() if o["kind"] == kind and o["metadata"]["name"] == name), None)

    def names(self) -> set[str]:
        return {f"{thing['kind']}/{thing['metadata']['name']}" for thing in self.objects.values()}

    def create(self, key: Key, thing: Thing) -> Thing:
        if key in self.objects:
            raise RefusedError(409, "AlreadyExists", f"{key[1]} {key[2]!r} already exists")
        self._check(thing)
        thing["metadata"] |= {
            "uid": str(uuid.uuid4()),
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        if thing["kind"] == "Pod":
            thing["status"] = {"phase": "Succeeded"}
        self.objects[key] = thing
        return thing

    def replace(self, key: Key, thing: Thing) -> Thing:
        old = self.get(key)
        for part in _IMMUTABLE.get(thing["kind"], ()):
            before, after = (o.get("spec") if part == "*" else o.get("spec", {}).get(part) for o in (old, thing))
            if before != after:
                raise RefusedError(422, "Invalid", f"{thing['kind']} {key[2]}: spec.{part}: field is immutable")
        self._check(thing)
        if thing != old:
            thing["metadata"]["resourceVersion"] = str(int(old["metadata"]["resourceVersion"]) + 1)
        self.objects[key] = thing
        return thing

    def patch(self, key: Key, patch: Thing, kind_of_patch: str) -> Thing:
        if "apply-patch" in kind_of_patch and key not in self.objects:
            return self.create(key, patch)
        merge = strategically_merged if "strategic" in kind_of_patch else merged
        return self.replace(key, merge(copy.deepcopy(self.get(key)), patch))

    def get(self, key: Key) -> Thing:
        if key not in self.objects:
            raise RefusedError(404, "NotFound", f"{key[1]} {key[2]!r} not found")
        return self.objects[key]

    def delete(self, key: Key) -> Thing:
        self.get(key)
        return self.objects.pop(key)

    def listed(self, api_version: str, plural: str, query: dict[str, list[str]]) -> list[Thing]:
        wanted = dict(part.split("=", 1) for part in ",".join(query.get("labelSelector", [])).split(",") if "=" in part)
        field_of = ",".join(query.get("fieldSelector", []))
        name = field_of.removeprefix("metadata.name=") if field_of.startswith("metadata.name=") else None
        return [
            thing
            for key, thing in self.objects.items()
            if key[:2] == (api_version, plural)
            and name in {None, key[2]}
            and wanted.items() <= thing["metadata"].get("labels", {}).items()
        ]

    def _check(self, thing: Thing) -> None:
        plain = {key: value for key, value in thing.items() if key != "status"}
        if found := problems_of(plain, self.version):
            raise RefusedError(400, "BadRequest", f"strict decoding error: {'; '.join(found)}")


@contextmanager
def stub_api(version: str) -> Iterator[Cluster]:
    cluster = Cluster(version)

    class Handler(_Handler):
        pass

    Handler.cluster = cluster
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cluster.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield cluster
    finally:
        Handler.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster
    is_over = threading.Event()

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        self.cluster.requests.append(f"{self.command} {self.path}")
        url = urlsplit(self.path)
        try:
            answer = _discovered(url.path) or self._resource(url.path, parse_qs(url.query), body)
        except RefusedError as refused:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": refused.reason}
            self._send({**status, "message": str(refused), "code": refused.code, "metadata": {}}, refused.code)
            return
        if answer is not None:
            self._send(answer, 201 if self.command == "POST" else 200)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815  the library's names

    def _resource(self, path: str, query: dict[str, list[str]], body: bytes) -> Thing | None:
        found = _PATH.fullmatch(path)
        if found is None:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        core, grouped, namespace, plural, name, _ = found.groups()
        api_version = core or grouped
        kind = next((k for k in KINDS.get(api_version, ()) if _plural(k) == plural), None)
        if kind is None:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        if self.command == "GET" and name is None:
            return self._list(kind, api_version, plural, query)
        sent: Thing = yaml.safe_load(body) or {} if body else {}
        if self.command == "POST":
            name = sent["metadata"]["name"]
        return self._one((api_version, plural, str(name)), sent, namespace)

    def _one(self, key: Key, sent: Thing, namespace: str | None) -> Thing:
        cluster = self.cluster
        match self.command:
            case "GET":
                return cluster.get(key)
            case "POST":
                sent["metadata"].setdefault("namespace", namespace)
                return cluster.create(key, sent)
            case "PUT":
                return cluster.replace(key, sent)
            case "PATCH":
                return cluster.patch(key, sent, self.headers["content-type"])
            case _:
                return cluster.delete(key)

    def _list(self, kind: str, api_version: str, plural: str, query: dict[str, list[str]]) -> Thing | None:
        things = self.cluster.listed(api_version, plural, query)
        if query.get("watch", ["false"])[0] not in {"true", "1"}:
            meta = {"resourceVersion": "1"}
            return {"kind": f"{kind}List", "apiVersion": api_version, "metadata": meta, "items": things}
        self._watch(kind, api_version, things, is_listing="sendInitialEvents" in query)
        return None

    def _watch(self, kind: str, api_version: str, things: list[Thing], *, is_listing: bool) -> None:
        """Say what is there, then nothing more: whoever waits for pods finds them ended already."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("connection", "close")
        self.end_headers()
        events = [{"type": "ADDED", "object": thing} for thing in things]
        if is_listing:
            meta = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
            events.append({"type": "BOOKMARK", "object": {"kind": kind, "apiVersion": api_version, "metadata": meta}})
        for event in events:
            self.wfile.write(json.dumps(event).encode() + b"\n")
        self.wfile.flush()
        self.close_connection = True
        self.is_over.wait(20)

    def _send(self, answer: Thing, code: int) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _discovered(path: str) -> Thing | None:
    if path == "/version":
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [_group(api_version) for api_version in KINDS if "/" in api_version]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path.startswith("/openapi/v3"):
        return _described(path.removeprefix("/openapi/v3").lstrip("/"))
    api_version = path.removeprefix("/api/").removeprefix("/apis/")
    if api_version not in KINDS:
        return None
    resources = [
        {"name": _plural(kind), "singularName": kind.lower(), "namespaced": kind != "Namespace", "kind": kind}
        | {"verbs": ["get", "list", "create", "patch", "update", "delete", "watch"]}
        for kind in KINDS[api_version]
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}


def _described(place: str) -> Thing:
    """Enough of OpenAPI for a client to see that this server checks fields itself."""
    places = {("api/" if api_version == "v1" else "apis/") + api_version: api_version for api_version in KINDS}
    if not place:
        return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}"} for name in places}}
    group, _, version = places[place].rpartition("/")
    paths: Thing = {}
    for kind in KINDS[places[place]]:
        patch = {"parameters": [{"name": "fieldValidation", "in": "query"}], "responses": {}}
        patch["x-kubernetes-group-version-kind"] = {"group": group, "version": version, "kind": kind}
        paths[f"/{place}/namespaces/{{namespace}}/{_plural(kind)}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "stub", "version": "1"}, "paths": paths}


def _group(api_version: str) -> Thing:
    name, _, version = api_version.partition("/")
    one = {"groupVersion": api_version, "version": version}
    return {"name": name, "versions": [one], "preferredVersion": one}


def _plural(kind: str) -> str:
    word = kind.lower()
    return word[:-1] + "ies" if word.endswith("y") else word + ("es" if word.endswith("s") else "s")
