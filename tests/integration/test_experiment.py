"""`modelpack experiment`: both pipelines on the same folds, and by a real Gitea's pull request the better one."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import modelpack
from tests.fakes import training as fake
from tests.integration.servers.gitea import Gitea, Project

BRANCH = "modelpack/line-pipeline"
PLAIN = "import json, os, pathlib\npathlib.Path(os.environ['MODELPACK_OUTPUT'], 'model.json').write_text({!r})\n"
TRAINING = fake.TRAINING.replace(
    "train: {command: [python, fit.py], parameters: {slope: 2.0}}",
    "train: {command: [python, fit.py]}\nexperiment: {command: [python, new.py]}",
)


def project(gitea: Gitea, name: str, old: float, new: float, training: str = TRAINING) -> Project:
    scripts = {f: PLAIN.format(json.dumps({"slope": slope})) for f, slope in (("fit.py", old), ("new.py", new))}
    wishes = fake.MODEL + "pullRequest: {forge: gitea}\n"
    return gitea.create(name, fake.files({"model.yaml": wishes, "training.yaml": training, **scripts}))


def experiment(place: Project, folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    via = f"registry.local/=oci:{folder / 'images'}"
    done = modelpack("experiment", "line", "--repo", place.with_login(), "--via", via, "--json", *words, cwd=folder)
    return done.code, json.loads(done.out) if done.out else {}, done.err


def test_one_that_passes_is_proposed_once_with_its_table(gitea: Gitea, tmp_path: Path) -> None:
    place = project(gitea, "experiment-good", old=2.002, new=2.0)
    code, value, said = experiment(place, tmp_path, "--pr")
    assert code == 0, said
    assert value["pullRequest"]["action"] == "opened" and value["result"]["passed"]
    (pull,) = place.pulls()
    assert pull["head"]["ref"] == BRANCH and "goes into production" in pull["title"]
    assert "| Folds" in pull["body"].title() and "mae" in pull["body"]
    file = place.api("GET", f"/contents/{fake.FOLDER}/fit.py?ref={BRANCH}")
    assert b'"slope": 2.0}' in base64.b64decode(file["content"])
    again, value, said = experiment(place, tmp_path, "--pr")
    assert again == 0, said
    assert value["pullRequest"]["action"] in ("unchanged", "updated") and len(place.pulls()) == 1
    place.close(pull["number"])
    code, value, said = experiment(place, tmp_path, "--pr")
    assert code == 4 and "was closed" in said


def test_one_that_does_not_pass_is_not_proposed(gitea: Gitea, tmp_path: Path) -> None:
    place = project(gitea, "experiment-bad", old=2.0, new=2.003)
    code, value, said = experiment(place, tmp_path, "--pr")
    assert code == 4 and value["pullRequest"] is None and not place.pulls(), said
    (row,) = [each for each in value["result"]["evaluation"]["rows"] if not each["group"]]
    assert row["verdict"] == "fail" and row["low"] > 0


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("experiment: {command: [python, new.py]}", "", 2, "names no experiment"),
        ("[python, new.py]}", "[python, new.py], parameters: {a: 1}}", 2, "other parameters than its train"),
    ],
)
def test_what_cannot_be_compared_or_replaced_says_so(
    gitea: Gitea, tmp_path: Path, old: str, new: str, code: int, words: str
) -> None:
    place = project(gitea, f"experiment-{abs(hash(new)) % 1000}", 2.002, 2.0, TRAINING.replace(old, new))
    ended, _, said = experiment(place, tmp_path, "--pr")
    assert ended == code and words in said and not place.pulls()


def test_where_nothing_can_be_proposed_nothing_is_trained(tmp_path: Path) -> None:
    fake.repository(tmp_path / "repo", {"training.yaml": TRAINING, "new.py": PLAIN})
    done = modelpack(
        "experiment",
        "line",
        "--repo",
        "repo",
        "--pr",
        "--state",
        "runs",
        "--via",
        f"registry.local/=oci:{tmp_path}",
        cwd=tmp_path,
    )
    assert done.code == 2 and "no pull requests" in done.err
    assert not (tmp_path / "runs").exists()
