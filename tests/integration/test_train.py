"""`modelpack train` with real servers: Git over HTTP, DVC data and the model in S3, a registry; a notebook trains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelpack import data, fetch, lineage
from modelpack.definition import load
from modelpack.errors import NotFoundError
from modelpack.gitops import open_repository
from modelpack.publish import build
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.store import Store
from tests.command import modelpack
from tests.fakes import training as fake
from tests.fakes.git_serving import commit, git
from tests.integration.servers.git_http import GitServer
from tests.integration.servers.registry import Registry
from tests.integration.servers.s3 import S3

CELLS = [
    ("parameters", "slope = 0.0\ndata = ''\noutput = ''\nmetrics = ''"),
    ("", "import pandas as pd\ntable = pd.read_csv(data)\nprint(len(table), 'rows')"),
    ("", "import json, pathlib\npathlib.Path(output, 'model.json').write_text(json.dumps({'slope': slope}))"),
]


def notebook(cells: list[tuple[str, str]] = CELLS) -> str:
    found = [
        {
            "cell_type": "code",
            "id": f"cell-{at}",
            "metadata": {"tags": [tag] if tag else []},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for at, (tag, source) in enumerate(cells)
    ]
    return json.dumps({"cells": found, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Place:
    """A repository that a Git server has, with its data and its model in a bucket."""

    def __init__(self, root: Path, server: GitServer, images: Registry, s3: S3, bucket: str) -> None:
        (s3.buckets / bucket).mkdir()
        self.root, self.bucket, self.s3 = root, bucket, s3
        self.image = Reference.parse(f"{images.address}/{bucket}/line")
        self.url = server.create("line")
        self.tree = fake.repository(root / "repo", self.files())
        commit(self.tree, {".dvc/config": f"[core]\n    remote = s3\n['remote \"s3\"']\n    url = s3://{bucket}/dvc\n"})
        self.push_data(fake.points())
        self.serve(f"{self.image.name}:v0")

    def files(self) -> dict[str, str]:
        model = fake.MODEL.replace("./artifacts/{version}", f"s3://{self.bucket}/models/{{version}}")
        training = fake.TRAINING.replace("git:points.csv", "dvc:points.csv.dvc")
        training = training.replace("command: [python, fit.py]", "notebook: fit.ipynb")
        output = f"output: {{notebooks: 's3://{self.bucket}/runs/{{run}}', dvc: model.dvc}}\n"
        return {
            "model.yaml": model.replace("registry.local/models/line", self.image.name),
            "training.yaml": training + output,
            "fit.ipynb": notebook(),
        }

    def push_data(self, text: str) -> None:
        file = self.root / "points.csv"
        file.write_text(text)
        pointer = data.add(file, "points.csv.dvc", fake.FOLDER, data.Checkout(self.tree))
        commit(self.tree, {f"{fake.FOLDER}/points.csv.dvc": pointer.decode()})
        self.push()

    def serve(self, image: str) -> None:
        commit(self.tree, {"manifests/line.yaml": fake.DEPLOYMENT.replace("registry.local/models/line:v0", image)})
        self.push()

    def push(self) -> None:
        git(self.tree, "push", "--quiet", "--force", self.url, "main")

    def train(self, *words: str) -> tuple[int, dict[str, object], str]:
        done = modelpack(
            "train", "line", "--repo", self.url, "--state", self.root / "runs", "--json", *words, cwd=self.root
        )
        return done.code, json.loads(done.out) if done.out else {}, done.err

    def stored(self, path: str) -> Path:
        return self.s3.buckets / self.bucket / path


@pytest.fixture
def place(
    tmp_path: Path, git_http: GitServer, registry: Registry, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return Place(tmp_path, git_http, registry, s3, f"train-{tmp_path.name.lower().replace('_', '-')[-40:].strip('-')}")


def test_a_notebook_trains_on_dvc_data_and_its_model_is_in_s3_dvc_and_the_registry(place: Place) -> None:
    code, value, said = place.train()
    assert code == 0, said
    run, result = value["run"], value["result"]
    assert isinstance(run, dict) and isinstance(result, dict) and run["data"].startswith("dvc:")
    (version,) = lineage.versions(place.image, Via())
    assert version.passed and version.origin is not None and str(version.reference) == result["image"]
    html = f"runs/{run['id']}/notebook.html"
    assert version.origin.html == result["notebook"] == f"s3://{place.bucket}/{html}"
    assert b"170 rows" in place.stored(html).read_bytes()
    # the image is the one that a build from S3 gives
    assert json.loads(place.stored("models/v1/model.json").read_text()) == {"slope": 2.0}
    again = build(
        load(place.tree / fake.FOLDER),
        "v1",
        reference=place.image.at(tag="again"),
        base="none",
        via=Via(),
        store=Store(place.root / "store"),
    )
    assert version.reference is not None
    assert again.model_digest == fetch.resolve(version.reference, Via()).model_digest
    # and dvc has it, by the text that the provenance carries
    commit(place.tree, {f"{fake.FOLDER}/model.dvc": version.origin.dvc})
    tree = data.Checkout(place.tree)
    pointed = data.look("dvc:model.dvc", fake.FOLDER, tree)
    assert pointed.ready
    got = data.fetch("dvc:model.dvc", fake.FOLDER, tree, pointed.text, place.root / "got")
    assert (got / "model.json").is_file() or got.name == "model.json"


def test_a_notebook_that_fails_is_kept_where_it_failed(place: Place) -> None:
    broken = [*CELLS[:2], ("", "table['no such column']"), CELLS[2]]
    commit(place.tree, {f"{fake.FOLDER}/fit.ipynb": notebook(broken)})
    place.push()
    code, value, said = place.train()
    assert code == 2 and "KeyError" in said and "cell 3" in said
    run = value["run"]
    assert isinstance(run, dict) and value["state"] == "failed"
    assert b"no such column" in place.stored(f"runs/{run['id']}/notebook.html").read_bytes()
    assert lineage.versions(place.image, Via()) == ()


def test_new_data_is_held_against_the_model_that_git_names(place: Place) -> None:
    code, first, said = place.train()
    assert code == 0, said
    result = first["result"]
    assert isinstance(result, dict)
    place.serve(result["image"])
    place.push_data(fake.points(slope=2.1))
    code, second, said = place.train("--parameter", "slope=2.1")
    assert code == 0, said
    result = second["result"]
    assert isinstance(result, dict) and result["evaluation"]["against"] == "v1"
    run = second["run"]
    assert isinstance(run, dict)
    assert (place.root / "runs" / run["id"] / "data" / "previous.csv").is_file()


def test_data_that_is_not_pushed_yet_is_not_trained_on(place: Place) -> None:
    for each in sorted(place.stored("dvc").rglob("*"), reverse=True):
        each.unlink() if each.is_file() else each.rmdir()
    code, _, said = place.train()
    assert code == 3 and "push the data, then train" in said


def test_detached_it_goes_on_and_can_be_looked_at(place: Place) -> None:
    code, value, said = place.train("--detach")
    run = value["run"]
    assert code == 0 and isinstance(run, dict), said
    state = ("--state", place.root / "runs")
    listed = json.loads(modelpack("runs", *state, "--json", cwd=place.root).out)
    assert [each["run"]["id"] for each in listed["runs"]] == [run["id"]]
    done = modelpack("runs", *state, "cancel", run["id"], cwd=place.root)
    assert done.code == 0 and "asked to end" in done.out
    near = modelpack("runs", *state, "log", f"{run['id']}x", cwd=place.root)
    assert near.code == 3 and f"did you mean {run['id']}?" in near.sentence


def test_a_commit_of_the_past_comes_from_a_server_that_was_asked_for_the_tip(
    git_http: GitServer, tmp_path: Path
) -> None:
    url = git_http.create("past")
    tree = fake.repository(tmp_path / "repo")
    first = git(tree, "rev-parse", "HEAD")
    commit(tree, {f"{fake.FOLDER}/fit.py": "raise SystemExit(1)"})
    git(tree, "push", "--quiet", url, "main")
    git(tree, "checkout", "--quiet", "-b", "other")
    elsewhere = commit(tree, {"README.md": "on another branch"})
    git(tree, "push", "--quiet", url, "other")
    with open_repository(url) as repository:
        repository.at_commit(first).export(tmp_path / "out")
        assert (tmp_path / "out" / fake.FOLDER / "fit.py").read_text() == fake.FIT
        for wrong in (elsewhere, "0" * 40, "--upload-pack=touch", "main"):
            with pytest.raises(NotFoundError, match="no commit of main"):
                repository.at_commit(wrong)
