"""Records beside images in real registries and in layouts, and the commands that read them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from modelpack import lineage
from modelpack.reference import Reference
from modelpack.registry import Repository, Via, open_repository
from tests.command import modelpack
from tests.fakes import versions
from tests.fakes.artifacts import artifact, push
from tests.fakes.faults import faults

PLACES = ["registry", "registry_v3", "registry_referrers", "layout"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Reference, Via]:
    """An empty repository, and where it is."""
    name = f"catalog/{tmp_path.name.replace('_', '-').lower().rstrip('-')}"
    if request.param == "layout":
        return Reference.parse(f"registry.local/{name}"), Via.parse(f"registry.local/=oci:{tmp_path}/var")
    return Reference.parse(f"{request.getfixturevalue(request.param).address}/{name}"), Via()


def test_what_is_recorded_is_read_back(place: tuple[Reference, Via]) -> None:
    image, via = place
    assert lineage.versions(image, via) == ()
    repository = open_repository(image, via)
    first = versions.package(repository, "v9", metrics={"rmse": 3.0}, lineage={"data": "s3://old"})
    second = versions.package(repository, "v10")
    good, bad = versions.evaluation("v10"), versions.evaluation("v11", passed=False, mae=4.0)
    for _ in range(2):  # the same again is a no-op
        record = lineage.put_evaluation(second, good, via)
        lineage.put_provenance(second, versions.origin("v10"), via)
        lineage.put_rollout(second, versions.rollout("mpg-1", second, verdict="reject"), via)
        lineage.put_rollout(second, versions.rollout("mpg-2", second, started=1795330000.0), via)
        unpackaged = lineage.put_evaluation(image.at(tag="v11"), bad, via)
    assert len(repository.referrers(second.digest)) == 4
    assert repository.manifest(Reference.parse(record).digest).subject == repository.manifest(second.digest).descriptor
    assert Reference.parse(unpackaged).tag == "v11-evaluation"

    old, new, failed = lineage.versions(image, via)
    assert (old.version, old.reference, old.passed, old.metrics, old.data) == (
        "v9",
        first,
        None,
        {"rmse": 3.0},
        "s3://old",
    )
    assert (new.version, new.reference, new.passed, new.metrics) == ("v10", second, True, {"mae": 1.9})
    assert (new.evaluation, new.origin) == (good, versions.origin("v10"))
    assert [each["id"] for each in new.rollouts] == ["mpg-1", "mpg-2"]
    assert (failed.version, failed.reference, failed.passed, failed.evaluation) == ("v11", None, False, bad)

    brief = lineage.catalog(image, via, brief=True)
    assert brief.notes == ()
    assert [(each.version, each.passed, dict(each.metrics), each.data) for each in brief.versions] == [
        (each.version, each.passed, dict(each.metrics), each.data) for each in (old, new, failed)
    ]
    assert json.dumps(lineage.put_rollout(second, {"id": "mpg-1", "other": 1}, via))
    assert len(repository.referrers(second.digest)) == 4


def test_a_registry_is_asked_for_a_record_once(
    registry_referrers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path))
    image = Reference.parse(f"{registry_referrers.address}/catalog/once")
    for number in (1, 2):
        made = versions.package(open_repository(image, Via()), f"v{number}")
        lineage.put_evaluation(made, versions.evaluation(f"v{number}"), Via())
        lineage.put_provenance(made, versions.origin(f"v{number}"), Via())
    found = lineage.catalog(image, Via())
    assert not found.notes and len(list((tmp_path / "cache" / "records").iterdir())) == 4
    with faults(f"http://{registry_referrers.address}") as proxy:
        again = lineage.catalog(Reference.parse(f"{proxy.url.partition('//')[2]}/catalog/once"), Via())
    assert [each.origin for each in again.versions] == [each.origin for each in found.versions]
    assert [each.passed for each in again.versions] == [True, True]
    asked = [each.partition("/catalog/once/")[2].partition("/")[0] for each in proxy.seen]
    assert sorted(asked) == ["manifests", "manifests", "referrers", "referrers", "tags"]


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: mpg}}
spec:
  template:
    spec:
      initContainers: [{{name: model, image: "{image}"}}]
      containers: [{{name: server, image: server}}]
"""
MODEL = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {{name: mpg}}
source: ./artifacts/{{version}}
image: {image}
environments:
- {{name: staging, targets: [{{file: staging.yaml, name: mpg, initContainer: model}}]}}
- {{name: production, {production}}}
"""


@dataclass(frozen=True)
class Team:
    """A model with four versions, the repository with its staging and the one with its production, side by side."""

    image: Reference
    via: Via
    staging: Path
    refs: dict[str, Reference]
    env: dict[str, str]


def commit(folder: Path, message: str) -> None:
    person = ("-c", "user.name=Alice", "-c", "user.email=alice@example.com")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*person, "commit", "-qm", message)):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    image, rule = Reference.parse("registry.local/models/mpg"), f"registry.local/=oci:{tmp_path}/var"
    via = Via.parse(rule)
    repository = open_repository(image, via)
    refs = {each: versions.package(repository, each) for each in ("v1", "v2", "v3")}
    for name in ("v2", "v3"):
        lineage.put_evaluation(refs[name], versions.evaluation(name), via)
        lineage.put_provenance(refs[name], versions.origin(name), via)
    record = lineage.put_evaluation(image.at(tag="v4"), versions.evaluation("v4", passed=False), via)
    lineage.put_provenance(Reference.parse(record), versions.origin("v4"), via)
    lineage.put_rollout(refs["v2"], versions.rollout("mpg-1", refs["v2"]), via)
    push(artifact(b"foreign"), repository, "somebodys")
    staging, production = tmp_path / "staging", tmp_path / "production"
    target = "targets: [{file: production.yaml, name: mpg, initContainer: model}]"
    for folder, known in ((staging, "repository: ../production"), (production, target)):
        (folder / "model-images/mpg").mkdir(parents=True)
        (folder / "model-images/mpg/model.yaml").write_text(MODEL.format(image=image, production=known))
    (staging / "staging.yaml").write_text(DEPLOYMENT.format(image=refs["v3"]))
    (production / "production.yaml").write_text(DEPLOYMENT.format(image=refs["v2"]))
    bad = f"- {{model: {_model(repository, refs['v1'])}, image: '', version: v1, rollout: r, reason: slow, at: now}}\n"
    (staging / "model-images/mpg/rejected.yaml").write_text(bad)
    for folder in (staging, production):
        commit(folder, "serve")
    return Team(image, via, staging, refs, {"MODELPACK_VIA": rule})


def _model(repository: Repository, image: Reference) -> str:
    return repository.manifest(image.digest).annotations["dev.modelpack.model.digest"]


def test_list(team: Team) -> None:
    done = modelpack("list", "mpg", cwd=team.staging, env=team.env)
    assert (done.code, done.err) == (0, "")
    head, *rows, note = done.out.splitlines()
    assert head.split() == ["VERSION", "IMAGE", "DATA", "QUALITY", "METRICS", "SERVES", "REJECTED"]
    assert [row.split()[0] for row in rows] == ["v1", "v2", "v3", "v4"]
    assert [("slow" in row, "production" in row, "staging" in row, "did not pass" in row) for row in rows] == [
        (True, False, False, False),
        (False, True, False, False),
        (False, False, True, False),
        (False, False, False, True),
    ]
    assert note == "note: somebodys: another image, not a model container"
    value = json.loads(modelpack("list", team.image, "--json", cwd=team.staging, env=team.env).out)
    assert [(each["version"], each["passed"], each["serves"]) for each in value["versions"]] == [
        ("v1", None, []),
        ("v2", True, ["production"]),
        ("v3", True, ["staging"]),
        ("v4", False, []),
    ]
    assert value["versions"][0]["rejected"]["reason"] == "slow"
    assert value["versions"][1]["image"] == str(team.refs["v2"])


def test_list_without_git(team: Team, tmp_path: Path) -> None:
    done = modelpack("list", team.image, cwd=tmp_path, env=team.env)
    assert done.code == 0
    assert "SERVES" not in done.out
    refused = modelpack("list", "mpg", cwd=tmp_path, env=team.env)
    assert refused.code == 3
    assert "is not a Git repository" in refused.sentence
    assert modelpack("list", f"{team.image}:v1", cwd=tmp_path, env=team.env).code == 2
    assert modelpack("list", f"{team.image}-none", cwd=tmp_path, env=team.env).code == 3
    assert modelpack("list", "mqg", cwd=team.staging, env=team.env).code == 3
    assert modelpack("list", team.image, "--repo", tmp_path / "none", cwd=tmp_path, env=team.env).code == 3


def test_another_repository_that_is_away_is_a_note(team: Team) -> None:
    (team.staging.parent / "production").rename(team.staging.parent / "gone")
    done = modelpack("list", "mpg", cwd=team.staging, env=team.env)
    assert done.code == 0
    assert "note: production: " in done.out
    assert "staging" in done.out


def test_lineage(team: Team) -> None:
    done = modelpack("lineage", team.refs["v3"], "--json", cwd=team.staging, env=team.env)
    assert done.code == 0, done.err
    steps = {each["kind"]: each for each in json.loads(done.out)["steps"]}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=team.staging, capture_output=True, text=True).stdout.strip()
    assert steps["commit"]["title"] == head
    assert ["environment", "staging"] in steps["commit"]["facts"]
    assert steps["run"]["title"] == "mpg-v3"
    text = modelpack("lineage", team.image.at(tag="v4"), cwd=team.staging, env=team.env).out
    assert "✗ evaluation  did not pass" in text
    assert "· run         mpg-v4" in text
    assert modelpack("lineage", team.image.at(tag="v9"), cwd=team.staging, env=team.env).code == 3
    assert modelpack("lineage", team.image.at(tag="somebodys"), cwd=team.staging, env=team.env).code == 2


def test_lineage_asks_a_gate(team: Team) -> None:
    with serving({"rollouts": [versions.rollout("mpg-7", team.refs["v3"])]}) as url:
        done = modelpack("lineage", team.refs["v3"], "--gate", url, cwd=team.staging, env=team.env)
    assert done.code == 0, done.err
    assert "· rollout     mpg-7" in done.out
    away = modelpack("lineage", team.refs["v3"], "--gate", url, cwd=team.staging, env=team.env)
    assert away.code == 5


@contextmanager
def serving(rollouts: dict[str, Any]) -> Iterator[str]:
    """A gate that lists rollouts, and tells all of the first."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(rollouts if "?" in self.path else rollouts["rollouts"][0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_the_page_in_a_browser(team: Team, chromium: str, scheme: str, width: int) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    file = team.staging / "v2.html"
    done = modelpack("lineage", team.refs["v2"], "--html", file, cwd=team.staging, env=team.env)
    assert done.code == 0, done.err
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda asked: problems.append(asked.url) if not asked.url.startswith("file:") else None)
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".chain > li").count() == 8
        colour = "state => getComputedStyle(document.querySelector(`li[data-state=${state}] .title`)).color"
        assert page.evaluate(colour, "good") != page.evaluate(colour, "none")
        assert problems == []
        browser.close()
