"""A rehearsal without Envoy: two model servers and a stats page in this process, and the folder that the gate reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

V1, V2, V3 = (f"registry.local/models/mpg:v{n}@sha256:{n:064d}" for n in (1, 2, 3))

CLUSTER = 'envoy_cluster_name="${namespace}_${name}-${role}_8080"'
GATE = """\
apiVersion: modelpack.dev/v1
kind: Gate
metadata: {name: mpg}
horizon: 10m
checks:
- {name: golden, type: golden, path: "/v1/models/mpg:predict", metric: mae, floor: 3.0, margin: 0.3}
- name: errors
  type: proportion
  total: envoy_cluster_upstream_rq_xx{CLUSTER}
  bad: envoy_cluster_upstream_rq_xx{CLUSTER,envoy_response_code_class="5"}
  margin: 0.02
  min_sample: 500
- name: latency
  type: latency
  threshold: 100
  unit: ms
  histogram: envoy_cluster_upstream_rq_time{CLUSTER}
  margin: 0.05
  min_sample: 500
""".replace("CLUSTER", CLUSTER)

GOLDEN = "".join(
    json.dumps({"id": f"c{n}", "request": {"instances": [{"x": n}]}, "expected": n, "segment": ["even", "odd"][n % 2]})
    + "\n"
    for n in range(40)
)


@contextmanager
def serve(answer: Callable[[str, bytes], tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server on loopback; `answer` gets path and body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, body = answer(self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Envoy:
    """Counters as Envoy's /stats/prometheus shows them; `add` counts requests."""

    def __init__(self) -> None:
        self.alive = True
        self._counts: dict[str, list[int]] = {}

    def add(self, role: str, good: int, bad: int = 0, slow: int = 0) -> None:
        counts = self._counts.setdefault(role, [0, 0, 0])
        for index, value in enumerate((good, bad, slow)):
            counts[index] += value

    def page(self, path: str, body: bytes) -> tuple[int, bytes]:
        if not self.alive:
            return 503, b"no"
        lines = ["# TYPE envoy_cluster_upstream_rq_xx counter", "envoy_server_live{} 1"]
        for role, (good, bad, slow) in list(self._counts.items()):
            name = f'envoy_cluster_name="default_mpg-{role}_8080"'
            for code, value in (("2", good), ("5", bad)):
                if value:
                    lines.append(f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="{code}",{name}}} {value}')
            for bound, value in (("50", good + bad - slow), ("100", good + bad - slow), ("+Inf", good + bad)):
                lines.append(f'envoy_cluster_upstream_rq_time_bucket{{{name},le="{bound}"}} {value}')
        return 200, ("\n".join(lines) + "\n").encode()


def model_server(error: float = 0.0, status: int = 200) -> Callable[[str, bytes], tuple[int, bytes]]:
    """Answers x + error to {"instances": [{"x": x}]}."""

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        if status != 200:
            return status, b"{}"
        return 200, json.dumps({"predictions": [json.loads(body)["instances"][0]["x"] + error]}).encode()

    return answer


class Folder:
    """The folder that a rehearsal shares with the gate."""

    def __init__(self, root: Path, *, gate: str = GATE, golden: str = GOLDEN) -> None:
        self.root = root
        model = root / "models" / "mpg"
        model.mkdir(parents=True)
        (model / "gate.yaml").write_text(gate)
        (model / "golden.jsonl").write_text(golden)
        self.target: dict[str, Any] = {
            "namespace": "default",
            "name": "mpg",
            "phase": "Progressing",
            "weight": 0,
            "last_applied": "1",
            "canary": {"url": "http://127.0.0.1:9", "image": V2},
            "primary": {"url": "http://127.0.0.1:9", "image": V1},
            "metrics": "http://127.0.0.1:9/stats/prometheus",
            "interval": 1.0,
            "speed": 10,
        }

    def write(self, **changes: Any) -> None:
        """Change target.json, by rename."""
        self.target.update(changes)
        draft = self.root / "target.json.draft"
        draft.write_text(json.dumps(self.target))
        draft.replace(self.root / "target.json")


def webhook(phase: str = "Progressing", checksum: str = "c1", **metadata: str) -> dict[str, Any]:
    """Flagger's body."""
    return {
        "name": "mpg",
        "namespace": "default",
        "phase": phase,
        "checksum": checksum,
        "metadata": {"model": "mpg", **metadata},
    }
