"""The page for people, in a real browser: NGINX in front of the example's server, and a gate behind it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes.rehearsal import GATE, GOLDEN
from tests.integration.conftest import available
from tests.integration.servers.process import free_port, listening, program, running

ROOT = Path(__file__).parents[2]
CLIENT, EXAMPLE = ROOT / "manifests" / "client", ROOT / "model-images" / "mpg"
SIGNALS = "signals:\n- {name: live-error, type: labels, metric: mae, limit: 2, min_sample: 20}\n"

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")


@dataclass
class Site:
    url: str
    gate: str
    feedback: str


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[str]:
    """The manifests' configuration, with a port, files and an upstream of this machine."""
    port, found = free_port(), program("nginx", "apt-get install nginx-light")
    text = (CLIENT / "nginx.conf").read_text()
    for old, new in (
        ("/tmp/", f"{folder}/"),  # first: what comes in below may lie there
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("/usr/share/nginx/client", str(CLIENT)),
        ("http://envoy.projectcontour:80", upstream),
    ):
        assert old in text
        text = text.replace(old, new)
    # started by root, its workers would be somebody who may not look into this checkout
    (folder / "nginx.conf").write_text(text if os.getuid() else f"user root;\n{text}")
    words = [found, "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off;"]
    with running(words, folder / "nginx.log", lambda _: listening(port)):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    model, state = tmp_path / "model", tmp_path / "state"
    model.mkdir()
    (state / "models" / "mpg").mkdir(parents=True)
    (state / "models" / "mpg" / "gate.yaml").write_text(GATE + SIGNALS)
    (state / "models" / "mpg" / "golden.jsonl").write_text(GOLDEN)
    document = {
        "numbers": ["weight"],
        "origins": ["europe", "japan", "usa"],
        "means": [0.0] * 4,
        "scales": [100.0, 1.0, 1.0, 1.0],
        "intercept": 45.0,
        "terms": [{"coefficient": -1.0, "columns": [0]}],
    }
    (model / "model.json").write_text(json.dumps(document))
    (model / ".modelpack.json").write_text(json.dumps({"model": "sha256:0", "version": "v7", "files": 1, "bytes": 1}))
    with ExitStack() as stack:

        def start(name: str, words: list[str], pattern: str, **env: str) -> str:
            log = tmp_path / f"{name}.log"
            stack.enter_context(running(words, log, lambda text: bool(re.search(pattern, text)), env=os.environ | env))
            found = re.search(pattern, log.read_text())
            assert found
            return found[1]

        feedback = free_port()
        gate = [sys.executable, "-m", "modelpack", "gate", "serve", "--rehearsal", str(state)]
        url = start("gate", [*gate, "--feedback-port", str(feedback)], r"gate at (\S+)")
        address = f"http://127.0.0.1:{feedback}"
        server = {"MODEL_DIR": str(model), "HOST": "127.0.0.1", "PORT": "0", "MODEL_FEEDBACK": address}
        port = start("server", [sys.executable, str(EXAMPLE / "serve.py")], r"127\.0\.0\.1:(\d+)", **server)
        web = stack.enter_context(available(lambda: nginx(tmp_path, f"http://127.0.0.1:{port}")))
        yield Site(web, url, address)


def live_error(site: Site) -> str:
    (signal,) = requests.get(f"{site.gate}/api/v1/models/mpg/signals", timeout=5).json()["signals"]
    return str(signal["reason"])


def test_a_person_asks_and_later_says_what_was_true(site: Site, open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page(site.url)
    page.fill("[name=weight]", "2500")
    page.click("#car button")
    page.wait_for_selector("#answer[data-kind=good]")
    assert page.inner_text("#answer").split("\n") == ["20.0 miles per gallon", "answered by version v7"]
    page.fill("[name=truth]", "23.5")
    page.click("#truth button")
    page.wait_for_selector("output:not(:empty)")
    assert page.inner_text("output") == "Thank you, it was kept"
    end = time.monotonic() + 10  # the server tells its predictions in batches
    while (reason := live_error(site)) != "1 of 20 labels are there":
        assert time.monotonic() < end, reason
        time.sleep(0.1)


def test_the_page_says_what_is_wrong(site: Site, open_page: Callable[..., Any]) -> None:
    page = open_page(site.url, width="phone", complain=False)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelector('[name=origin]').innerHTML = '<option value=mars>Mars</option>'")
    page.click("#car button")
    page.wait_for_selector("#answer[data-kind=bad]")
    assert "origin is not one of europe, japan, usa" in page.inner_text("#answer")
    assert page.is_hidden("#truth") and page.is_enabled("#car button")


def test_nothing_but_the_page_and_the_models_two_paths_passes(site: Site) -> None:
    for method, path, status in (
        ("GET", "/", 200),
        ("GET", "/client.js", 200),
        ("GET", "/healthz", 200),
        ("GET", "/nginx.conf", 404),
        ("GET", "/metrics", 404),
        ("GET", "/v1/models/mpg:predict", 403),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/api/v1/rollouts/r1/approval", 404),
    ):
        answer = requests.request(method, site.url + path, timeout=5)
        assert answer.status_code == status, path
    assert requests.post(site.url + "/v1/models/mpg:predict", data=b"x" * 100_000, timeout=5).status_code == 413
    assert "default-src 'none'" in requests.get(site.url, timeout=5).headers["content-security-policy"]


def test_the_port_for_servers_takes_feedback_and_approves_nothing(site: Site) -> None:
    approval = {"decision": "approve", "by": "the model itself"}
    assert requests.post(f"{site.feedback}/api/v1/rollouts/r1/approval", json=approval, timeout=5).status_code == 404
    for path in ("/", "/api/v1/rollouts", "/api/v1/models/mpg/signals", "/metrics"):
        assert requests.get(site.feedback + path, timeout=5).status_code == 404, path
    assert requests.post(f"{site.feedback}/flagger/rollback", json={}, timeout=5).status_code == 404
    told = {"predictions": [{"id": "a", "prediction": 1.0}]}
    assert requests.post(f"{site.feedback}/api/v1/models/mpg/predictions", json=told, timeout=5).json()["new"] == 1
    assert (
        requests.post(f"{site.feedback}/api/v1/models/mpg/predictions", data=b"x" * 70_000, timeout=5).status_code
        == 413
    )
    for number in ("1e400", "NaN", '"\\ud800"'):  # what JSON has no words for is not sent back
        body = f'{{"labels": [{{"id": "a", "truth": {number}}}]}}'
        as_json = {"Content-Type": "application/json"}
        said = requests.post(f"{site.feedback}/api/v1/models/mpg/labels", data=body, headers=as_json, timeout=5)
        assert (said.status_code, said.text.partition(":")[0]) == (422, "labels.0.truth.bool")


def test_a_prediction_costs_nothing_while_the_gate_is_away(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import serve; "
        "told = serve.Feedback('http://127.0.0.1:9', 'v1'); started = time.monotonic(); "
        "ids = told.predicted('request', [{'origin': 'usa'}] * 20_000, [1.0] * 20_000); "
        "print(time.monotonic() - started < 5, len(set(ids)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(EXAMPLE)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "20000"], done.stderr
