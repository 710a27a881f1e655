"""`modelpack promote` as people call it: overlays in one repository or two, a gate over HTTP, a real forge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command import Done, modelpack
from tests.fakes.gate import FakeGate, fake_gate
from tests.fakes.git_serving import commit, count, git
from tests.integration.servers.gitea import OWNER, ROBOT, Gitea

IMAGE = "registry.local/models/mpg"
MODEL = f"""\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {{name: mpg}}
source: ./artifacts/{{version}}
image: {IMAGE}
"""
OVERLAY = f"""\
# what a bump rewrites
namespace: @NAME@
resources: [../../mpg]
images:
- name: {IMAGE}  # the model
  newTag: @TAG@
  digest: @DIGEST@
"""
CHECK = {
    "name": "golden", "type": "golden", "statistic": "mae", "measures": "mean absolute error on the golden set",
    "counts": "examples", "unit": "mpg", "verdict": "accept", "reason": "as good",
    "estimate": -0.12, "low": -0.2, "high": 0.01, "n": 80, "n_primary": 80, "canary": 1.9, "primary": 2.02,
    "limit": 3.0, "margin": 0.3, "min_sample": 0,
}  # fmt: skip


def overlay(environment: str, image: str) -> str:
    tag, _, digest = image.rpartition("/")[2].partition(":")[2].partition("@")
    return OVERLAY.replace("@NAME@", environment).replace("@TAG@", tag).replace("@DIGEST@", digest)


def path_of(environment: str) -> str:
    return f"overlays/{environment}/kustomization.yaml"


def target(environment: str) -> str:
    return f"{{file: {path_of(environment)}, images: {IMAGE}}}"


@dataclass(frozen=True)
class Images:
    """v1 to v3 in a registry on disk; by version, each with its digest."""

    folder: Path
    by_version: dict[str, str]

    def __getitem__(self, version: str) -> str:
        return self.by_version[version]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    (folder / "model.yaml").write_text(MODEL)
    found = {}
    for version in ("v1", "v2", "v3"):
        files = folder / "artifacts" / version
        files.mkdir(parents=True)
        (files / "model.json").write_text(json.dumps({"version": version}))
        env = {"MODELPACK_VIA": f"registry.local/=oci:{folder / 'registry'}"}
        done = modelpack("build", ".", "--version", version, "--push", "--json", cwd=folder, env=env)
        assert done.code == 0, done.err
        found[version] = json.loads(done.out)["reference"]
    return Images(folder, found)


@pytest.fixture
def gate(images: Images) -> Iterator[FakeGate]:
    """In staging v2 was promoted."""
    with fake_gate() as gate:
        gate.add(**rollout(images["v2"], images["v1"]))
        yield gate


def rollout(image: str, primary: str, **fields: Any) -> dict[str, Any]:
    good = {"phase": "Succeeded", "state": "promoted", "verdict": "accept", "reason": "golden: as good"}
    return {"image": image, "primary_image": primary, "namespace": "staging", "checks": [CHECK], **good, **fields}


@dataclass(frozen=True)
class Repository:
    """A bare repository in which v2 is in staging and v1 in production, and a person's clone of it."""

    bare: Path
    images: Images
    gate: FakeGate

    def promote(self, *words: object, repo: object = "") -> Done:
        env = {"MODELPACK_VIA": f"registry.local/=oci:{self.images.folder / 'registry'}"}
        stages = ("promote", "mpg", "--from", "staging", "--to", "production", "--repo", repo or self.bare)
        return modelpack(*stages, *words, cwd=self.bare.parent, env=env)

    def person(self, **content: str) -> None:
        """A person's commit of files; their names without `/` are overlays."""
        clone = self.bare.with_suffix(".clone")
        if not clone.exists():
            git(self.bare.parent, "clone", "-q", str(self.bare), str(clone))
        git(clone, "pull", "-q")
        commit(clone, {path if "/" in path else path_of(path): text for path, text in content.items()})
        git(clone, "push", "-q")

    def names(self, environment: str) -> str:
        return git(self.bare, "show", f"main:{path_of(environment)}") + "\n"


def bare(folder: Path, name: str, files: dict[str, str]) -> Path:
    work = folder / f"{name}.work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    commit(work, files)
    git(folder, "clone", "-q", "--bare", str(work), str(folder / f"{name}.git"))
    return folder / f"{name}.git"


def environments(gate: str, production: str) -> str:
    return (
        f"environments:\n- {{name: staging, gate: '{gate}', targets: [{target('staging')}]}}\n"
        f"- {{name: production, {production}}}\n"
    )


def files(images: Images, gate: FakeGate) -> dict[str, str]:
    return {
        "model-images/mpg/model.yaml": MODEL + environments(gate.url, f"targets: [{target('production')}]"),
        path_of("staging"): overlay("staging", images["v2"]),
        path_of("production"): overlay("production", images["v1"]),
    }


@pytest.fixture
def serving(tmp_path: Path, images: Images, gate: FakeGate) -> Repository:
    return Repository(bare(tmp_path, "serving", files(images, gate)), images, gate)


def test_what_staging_serves_goes_to_production_in_one_commit(serving: Repository, images: Images) -> None:
    staging = serving.names("staging")
    done = serving.promote("--no-pr")
    assert (done.code, count(serving.bare)) == (0, 2), done
    assert done.out.startswith("mpg: staging -> production, v1 -> v2: committed ")
    assert serving.names("production") == overlay("production", images["v2"])
    assert serving.names("staging") == staging
    assert git(serving.bare, "log", "-1", "--format=%s", "main") == "mpg: v1 -> v2"
    trailers = git(serving.bare, "log", "-1", "--format=%(trailers)", "main").splitlines()
    assert {"Promoted-From: staging", "Rollout: r1", "Environment: production", "Version: v2"} <= set(trailers)
    serving.gate.status = 500  # there is nothing to ask it
    again = serving.promote("--no-pr", "--json")
    assert (again.code, json.loads(again.out)["action"], count(serving.bare)) == (0, "none", 2), again


def test_a_dry_run_shows_the_change_and_makes_none(serving: Repository) -> None:
    done = serving.promote("--no-pr", "--dry-run")
    assert (done.code, count(serving.bare)) == (0, 1), done
    assert "+  newTag: v2" in done.out.splitlines()


RUNS = {"phase": "Progressing", "state": "active", "verdict": "undecided", "reason": "errors: 20 of 500"}
FAILED = {"phase": "Failed", "state": "failed", "verdict": "reject", "reason": "errors rose"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (RUNS, "mpg v2 in staging: its rollout is still under way, in phase Progressing, the gate says undecided"),
        (FAILED, "mpg v2 in staging: its rollout failed, the gate said reject: errors rose"),
        ({"namespace": "production"}, "mpg v2 in staging: the gate has seen no rollout of it"),
        ({"image": "v1"}, "mpg v2 in staging: the gate has seen no rollout of it; a first version has none"),
        ({"model": "other"}, "mpg v2 in staging: the gate has seen no rollout of it"),
    ],
)
def test_what_did_not_end_well_is_refused(
    serving: Repository, images: Images, change: dict[str, str], sentence: str
) -> None:
    serving.gate.rollouts[0] |= {key: images[value] if key == "image" else value for key, value in change.items()}
    done = serving.promote("--no-pr")
    assert (done.code, count(serving.bare)) == (4, 1), done
    assert done.sentence.startswith(sentence)


def test_what_serves_no_more_is_refused_although_git_names_it(serving: Repository, images: Images) -> None:
    serving.gate.add(**rollout(images["v3"], images["v2"]))
    assert serving.promote("--no-pr").sentence == "mpg v2 in staging: v3 was promoted since, and serves"


def test_what_was_rejected_meanwhile_is_refused(serving: Repository, images: Images) -> None:
    entry = f"- {{image: '{images['v2']}', version: v2, reason: a person saw it}}\n"
    serving.person(**{"model-images/mpg/rejected.yaml": entry})
    done = serving.promote("--no-pr")
    assert (done.code, "mpg v2: was rejected: a person saw it" in done.sentence) == (4, True), done


def test_a_newer_version_in_production_stays(serving: Repository, images: Images) -> None:
    serving.person(production=overlay("production", images["v3"]))
    done = serving.promote("--no-pr")
    assert (done.code, done.sentence) == (
        4,
        "mpg v2: production has v3, which is newer; modelpack rollback mpg --env production goes back",
    )


def test_what_is_not_pinned_proves_nothing(serving: Repository, images: Images) -> None:
    unpinned = overlay("staging", images["v2"]).rpartition("  digest:")[0]
    serving.person(staging=unpinned)
    done = serving.promote("--no-pr")
    assert (done.code, "without a digest" in done.sentence) == (4, True), done


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--to", "prodution"), 3, "environment prodution: model-images/mpg/model.yaml does not name it; did you mean"),
        (("--to", "staging"), 2, "--to: is staging as well"),
        (("--again",), 2, "--again: goes with a pull request"),
        (("--gate", "http://127.0.0.1:9"), 5, "http://127.0.0.1:9: the gate cannot be reached"),
    ],
)
def test_what_is_wrong_is_one_sentence(serving: Repository, words: tuple[str, ...], code: int, sentence: str) -> None:
    done = serving.promote("--no-pr", *words)
    assert (done.code, done.sentence.startswith(sentence)) == (code, True), done


def test_without_a_gate_nothing_goes_on(serving: Repository, images: Images) -> None:
    model = files(images, serving.gate)["model-images/mpg/model.yaml"].replace(serving.gate.url, "")
    serving.person(**{"model-images/mpg/model.yaml": model})
    done = serving.promote("--no-pr")
    assert (done.code, "environment staging: names no gate" in done.sentence) == (2, True), done
    assert serving.promote("--no-pr", "--gate", serving.gate.url).code == 0


# -- production in a repository of its own


@pytest.fixture
def production(tmp_path: Path, images: Images) -> Path:
    content = {
        "model-images/mpg/model.yaml": MODEL + f"targets:\n- {target('production')}\n",
        path_of("production"): overlay("production", images["v1"]),
    }
    return bare(tmp_path, "production", content)


@pytest.fixture
def apart(tmp_path: Path, images: Images, gate: FakeGate, production: Path) -> Repository:
    """Staging's repository, which names production's beside it."""
    model = MODEL + environments(gate.url, "repository: ../production.git, branch: main")
    content = {"model-images/mpg/model.yaml": model, path_of("staging"): overlay("staging", images["v2"])}
    return Repository(bare(tmp_path, "staging", content), images, gate)


def test_production_may_be_another_repository(apart: Repository, production: Path, images: Images) -> None:
    done = apart.promote("--no-pr")
    assert done.code == 0, done
    assert git(production, "show", f"main:{path_of('production')}") + "\n" == overlay("production", images["v2"])
    assert (count(apart.bare), count(production)) == (1, 2)
    trailers = git(production, "log", "-1", "--format=%(trailers)", "main").splitlines()
    assert {"Promoted-From: staging", "Rollout: r1"} <= set(trailers)


def test_each_repository_has_its_own_word_on_what_is_rejected(
    apart: Repository, production: Path, images: Images
) -> None:
    entry = f"- {{image: '{images['v2']}', version: v2, reason: not for production}}\n"
    Repository(production, images, apart.gate).person(**{"model-images/mpg/rejected.yaml": entry})
    done = apart.promote("--no-pr")
    assert (done.code, "was rejected: not for production" in done.sentence) == (4, True), done


# -- by a pull request


def test_by_default_it_is_a_pull_request_with_stagings_report(
    gitea: Gitea, tmp_path: Path, images: Images, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = files(images, gate)
    content["model-images/mpg/model.yaml"] += "pullRequest: {forge: gitea, labels: [model]}\n"
    project = gitea.create("stages", content)
    monkeypatch.setenv("GITEA_TOKEN", gitea.tokens[ROBOT])
    serving = Repository(tmp_path / "none", images, gate)
    done = serving.promote("--json", repo=project.with_login())
    assert done.code == 0, done.err
    value = json.loads(done.out)
    pull = project.pull(value["pull"]["number"])
    assert (value["action"], value["branch"]) == ("opened", "modelpack/production/mpg")
    assert (pull["title"], pull["state"]) == ("mpg in production: v1 -> v2", "open")
    body = str(pull["body"])
    assert (
        "Report: **v2** in **staging**" in body
        and "| golden | mean absolute error on the golden set | 1.9 mpg | 2.02 mpg | −0.12 mpg" in body
    )
    assert f"({gate.url}/rollouts/r1)" in body
    again = serving.promote("--json", repo=project.with_login())
    assert (json.loads(again.out)["action"], len(project.pulls())) == ("unchanged", 1), again
    project.merge(value["pull"]["number"], how="rebase")
    merged = serving.promote("--json", repo=project.with_login())
    assert (merged.code, json.loads(merged.out)["changed"]) == (0, False), merged
    assert OWNER in project.url
