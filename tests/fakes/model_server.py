"""A model server in few lines, run as a program: its model says how it behaves.

`$MODEL_DIR/model.json`: {"version": …, "status": 200, "crash": false, "unready": false, "die_after": requests,
"blinks": number of the one readiness probe that fails}
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = json.loads((Path(os.environ["MODEL_DIR"]) / "model.json").read_text())
served = probed = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        global served, probed
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        health = self.path == "/healthz"
        served, probed = served + (not health), probed + health
        if served > MODEL.get("die_after", served):
            print("the model ate the memory", flush=True)
            os._exit(9)
        body = json.dumps({"version": MODEL["version"]}).encode()
        unready = MODEL.get("unready") or probed == MODEL.get("blinks")
        self.send_response(503 if health and unready else 200 if health else MODEL.get("status", 200))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Version", MODEL["version"])
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    if MODEL.get("crash"):
        sys.exit("the model does not load")
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    server.daemon_threads = True
    server.serve_forever()
