"""Rounds over a real repository and registry: what is stale trains once, what passed reaches Git, and then it rests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import RefusedError, RemoteError
from modelpack.forge import State as PullState
from modelpack.reconcile.look import Rooms
from modelpack.reconcile.state import FILE
from modelpack.registry import open_repository
from modelpack.training.run import Result, Seen, State
from tests.fakes import training, versions
from tests.fakes.gate import FakeGate, fake_gate
from tests.fakes.git_serving import git
from tests.fakes.reconcile import IMAGE, Scene, lines

YAML = f"{training.FOLDER}/training.yaml"
CHECKS = f"{training.FOLDER}/data.yaml"
AGAIN = "which did not pass; modelpack train line tries it again"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def pulls(tmp_path: Path) -> Scene:
    return Scene(tmp_path, propose="pull-request")


@pytest.fixture
def gate() -> Iterator[FakeGate]:
    with fake_gate() as gate:
        yield gate


def trained(scene: Scene, *, passed: bool = True) -> None:
    scene.round()
    scene.end(passed=passed)


def test_from_new_data_to_a_commit_and_then_nothing(scene: Scene) -> None:
    assert lines(scene.round()) == ["train started", "deploy nothing"]
    assert lines(scene.round()) == ["train waiting", "deploy nothing"]
    scene.end()
    ended, rests, committed = scene.round()
    assert (ended.action, rests.action, committed.action) == ("ended", "nothing", "committed")
    assert ended.reason == "v1 passed: not worse than the current model"
    assert (scene.named(), scene.log()[0], committed.commit) == (
        "v1", "line: v0 -> v1", git(scene.worktree, "rev-parse", "HEAD"),
    )  # fmt: skip
    assert [each.reason for each in scene.round()] == [
        "its data and code are those of v1", "Git names v1, the newest that passed",
    ]  # fmt: skip
    scene.change(slope=2.1)
    assert "its data changed since v1" in scene.round()[0].reason
    assert len(scene.started) == 2


def test_what_does_not_pass_is_recorded_and_neither_proposed_nor_tried_again(scene: Scene) -> None:
    trained(scene)
    scene.rest()
    scene.change(slope=9)
    trained(scene, passed=False)
    ended, rests, deployed = scene.round()
    assert ended.reason == "v2 did not pass: mae is worse by more than 0.05"
    assert rests.reason == f"its data and code were tried as v2, {AGAIN}"
    assert (deployed.action, scene.named()) == ("nothing", "v1")
    scene.now += 9e7
    assert lines(scene.rest()) == []
    (scene.root / "home" / FILE).unlink()  # the registry alone says so
    assert lines(scene.rest()) == []
    assert len(scene.started) == 2


def test_the_dvc_file_of_the_model_is_in_the_same_commit(scene: Scene) -> None:
    text = f"{training.TRAINING}output: {{dvc: model.dvc}}\npropose: commit\n"
    pointer = f"outs:\n- md5: {'c' * 32}.dir\n  size: 7\n  nfiles: 1\n  hash: md5\n  path: model\n"
    scene.change({YAML: text})
    scene.round()
    scene.end(dvc=pointer)
    scene.round()
    changed = git(scene.worktree, "show", "--format=", "--name-only", "HEAD").split()
    ignore, file = f"{training.FOLDER}/.gitignore", f"{training.FOLDER}/model.dvc"
    assert changed == ["manifests/line.yaml", ignore, file]
    assert git(scene.worktree, "show", f"HEAD:{file}") == pointer.strip()
    assert git(scene.worktree, "show", f"HEAD:{ignore}") == "/model"
    assert lines(scene.rest()) == []


@pytest.mark.parametrize(
    "pointer",
    [
        "outs:\n- {md5: a, path: ../../.ssh}\n",
        "cmd: rm -rf /\nouts:\n- {md5: a, path: model}\n",
        "outs:\n- {path: a}\n- {path: b}\n",
        'outs:\n- {md5: a, path: "m\\n*"}\n',
        "- x\n",
        "outs: [{path: m}]\n#" + "x" * 70_000,
    ],
)
def test_a_dvc_file_from_the_registry_that_is_more_than_a_pointer_is_refused(scene: Scene, pointer: str) -> None:
    scene.change({YAML: f"{training.TRAINING}output: {{dvc: model.dvc}}\npropose: commit\n"})
    scene.round()
    scene.end(dvc=pointer)
    (failed,) = [each for each in scene.round() if each.error]
    assert (failed.what, failed.error and failed.error.exit_code, scene.named()) == ("deploy", 2, "v0")
    assert "model.dvc" in failed.reason


def test_a_rejected_version_is_not_named_and_a_person_who_went_back_is_not_undone(scene: Scene) -> None:
    trained(scene)
    scene.rest()
    scene.change(slope=2.1)
    trained(scene)
    scene.rest()
    assert scene.named() == "v2"
    with gitops.open_repository(scene.location) as repository:
        gitops.bump(repository, gitops.Wanted(repository_image(scene, "v1"), "v1", ""))
    (outcome,) = scene.round(["deploy"])
    assert (outcome.action, scene.named()) == ("nothing", "v1")
    assert outcome.reason == "v2 was named before, and left: bump it by hand to name it again"
    scene.change({f"{training.FOLDER}/rejected.yaml": "- {version: v2, reason: it was wrong}\n"})
    assert scene.round(["deploy"])[0].reason == "v2 was rejected: it was wrong"
    assert scene.round(["train"])[0].reason == "its data and code were tried as v2, which was rejected"


def test_a_model_that_serves_nowhere_is_trained_and_not_named(scene: Scene) -> None:
    scene.change({f"{training.FOLDER}/model.yaml": training.MODEL.partition("targets:")[0]})
    trained(scene)
    assert lines(scene.round()) == ["train ended", "train nothing", "deploy nothing"]


def repository_image(scene: Scene, version: str):  # type: ignore[no-untyped-def]
    from modelpack.fetch import resolve

    return resolve(IMAGE.at(tag=version), scene.via).reference


def test_a_broken_training_yaml_stops_no_other_model(scene: Scene) -> None:
    folder = "model-images/broken"
    other = training.MODEL.replace("line", "other")
    scene.change({f"{folder}/training.yaml": "kind: Trainin\n", f"{folder}/model.yaml": other})
    scene.change({"model-images/alone/training.yaml": training.TRAINING})
    alone, broken, *rest = scene.round()
    assert (alone.model, broken.model) == ("alone", "broken")
    assert "there is no model.yaml beside it" in alone.reason
    assert f"{folder}/training.yaml:1" in broken.reason and broken.error and broken.error.exit_code == 2
    assert lines(rest) == ["train started", "deploy nothing"]


def test_a_failed_run_is_tried_again_later_and_then_no_more(scene: Scene) -> None:
    scene.round()
    scene.put(Seen(State.FAILED, "the disk is full", retryable=True))
    ended, waits, _ = scene.round()
    assert ended.reason == "v1 failed: the disk is full"
    assert (waits.action, len(scene.started)) == ("waiting", 1)
    scene.now += 61
    assert scene.round()[0].action == "started"
    scene.put(Seen(State.FAILED, "the disk is full", retryable=True))
    scene.now += 9999
    assert scene.round()[1].action == "held"
    assert len(scene.started) == 2
    scene.change({YAML: f"{training.TRAINING}propose: commit\nstale: {{age: 9d}}\n"})  # somebody did something about it
    assert scene.round()[0].action == "started"


def test_a_check_that_fails_is_not_tried_again_for_the_same_data(scene: Scene) -> None:
    scene.round()
    scene.put(Seen(State.SUCCEEDED, result=Result(False, "12 rows have no x")))
    assert [each.reason for each in scene.round()][:2] == [
        "v1 did not pass: 12 rows have no x", f"its data and code were tried as v1, {AGAIN}",
    ]  # fmt: skip
    scene.change(slope=2.2)
    assert scene.round()[0].action == "started"


@pytest.mark.parametrize("stop", ["validate", "evaluate"])
def test_what_was_too_strict_and_is_corrected_is_tried_again_once(scene: Scene, stop: str) -> None:
    """A run that stops before it makes a model leaves nothing in the registry; one that is evaluated does."""
    strict = training.TRAINING.replace("key: [x]}", "key: [x], checks: data.yaml}") + "propose: commit\n"
    scene.change({YAML: strict, CHECKS: "columns: {x: {max: 1}}\n"})
    scene.round()
    if stop == "validate":
        scene.put(Seen(State.SUCCEEDED, result=Result(False, "x is above 1")))
    else:
        scene.end(passed=False)
    assert lines(scene.rest()) == ["train ended"]
    corrected = CHECKS if stop == "validate" else YAML
    scene.change({corrected: strict.replace("limit: 0.5", "limit: 0.9") if corrected == YAML else "columns: {x: {}}\n"})
    again = scene.round()[0]
    assert (again.action, len(scene.started)) == ("started", 2)
    assert "what v1 did not pass has changed: its checks, its tests or its quality section" in again.reason
    scene.end()
    scene.rest()
    assert scene.named() == "v2"
    scene.change({CHECKS: "columns: {x: {min: -1}}\n"})  # what passed is not made again for that
    assert lines(scene.rest()) == [] and len(scene.started) == 2


def test_going_back_to_the_data_of_what_git_names_trains_nothing(scene: Scene) -> None:
    trained(scene)
    scene.rest()
    scene.change(slope=9)
    trained(scene, passed=False)
    scene.rest()
    scene.change()
    assert scene.round()[0].reason == "its data and code are those of v1, which Git names"
    assert lines(scene.rest()) == [] and len(scene.started) == 2
    scene.change(slope=2.1)
    assert scene.round()[0].action == "started"


def test_a_run_that_somebody_started_by_hand_is_waited_for(scene: Scene) -> None:
    scene.round()
    (scene.root / "home" / FILE).unlink()  # as good as one that this memory never had
    scene.change(slope=2.2)
    (train, _) = scene.round()
    assert (train.action, len(scene.started)) == ("waiting", 1)
    assert scene.started[0] in train.reason
    scene.end()
    assert lines(scene.round()) == ["train ended", "train started", "deploy committed"]


def test_ended_runs_beyond_the_limits_are_forgotten_and_the_newest_stay(scene: Scene) -> None:
    keep = f"{training.TRAINING.replace('timeout: 60s', 'timeout: 60s, keep: {succeeded: 1}')}propose: commit\n"
    scene.change({YAML: keep})
    for slope in (2.0, 2.1, 2.2):
        scene.change(slope=slope) if slope > 2 else None
        trained(scene)
        scene.round()
    assert [each.id for each in scene.backend.runs("line")] == scene.started[2:]
    assert scene.rest() == []


def test_signals_of_the_gate_start_one_run_for_each_episode(scene: Scene, gate: FakeGate) -> None:
    scene.change({YAML: f"{training.TRAINING}propose: commit\nstale: {{signals: true}}\n"})
    trained(scene)
    found = scene.round()[1]
    assert "no gate is named" in "".join(found.notes) and "gate" not in found.reason
    scene.gate = gate.url
    scene.now += 100
    gate.signals = [{"name": "labels", "kind": "labels", "stale": True, "reason": "mae rose", "since": scene.now - 1}]
    assert scene.round()[0].reason == "v2: the gate says labels: mae rose"
    scene.now += 100
    scene.end(passed=False)
    assert lines(scene.rest()) == ["train ended"]
    assert len(scene.started) == 2
    gate.signals[0]["since"] = scene.now + 1
    scene.now += 2
    assert scene.round()[0].action == "started"


def test_a_gate_that_is_away_is_told_and_stops_no_run(scene: Scene) -> None:
    scene.change({YAML: f"{training.TRAINING}propose: commit\nstale: {{signals: true}}\n"})
    scene.gate = "http://127.0.0.1:9"
    first = scene.round()
    assert lines(first) == ["train started", "deploy nothing", "record failed"]
    scene.end()
    (note,) = scene.round()[1].notes
    assert "no signals: http://127.0.0.1:9: the gate cannot be reached" in note


# -- pull requests


def test_one_pull_request_brought_up_to_date_and_left_alone_when_it_is_right(pulls: Scene) -> None:
    trained(pulls)
    proposed = pulls.round()[-1]
    assert (proposed.action, proposed.pull) == ("proposed", "https://forge.example.com/project/pulls/1")
    body = pulls.forge.pulls[1].body
    assert "Quality gate: ✅ passed" in body and "| mae | 40 | 0.500 | 0.400 |" in body
    side = git(Path(pulls.location), "rev-parse", "modelpack/line")
    pulls.forge.calls.clear()
    again = pulls.round()[-1]
    assert (again.action, again.reason) == ("unchanged", "v0 -> v1: a person has to merge it")
    assert set(pulls.forge.calls) == {"find"} and git(Path(pulls.location), "rev-parse", "modelpack/line") == side
    pulls.change(slope=2.1)
    trained(pulls)
    updated = pulls.round()[-1]
    assert (updated.action, list(pulls.forge.pulls)) == ("updated", [1])
    assert pulls.forge.pulls[1].title == "line: v0 -> v2" and pulls.named() == "v0"


@pytest.mark.parametrize("passed", [True, False])
def test_what_was_held_against_another_model_than_git_names_by_now_is_made_again_once(
    pulls: Scene, passed: bool
) -> None:
    """v1 passed against v0; before anybody merged it a person named v0.5."""
    trained(pulls)
    assert pulls.round()[-1].action == "proposed"
    by_hand = versions.package(open_repository(IMAGE, pulls.via), "v0.5")
    with gitops.open_repository(pulls.location) as repository:
        gitops.bump(repository, gitops.Wanted(by_hand, "v0.5", ""))
    again, deployed = pulls.round()
    assert (again.action, deployed.action, deployed.pull) == ("started", "nothing", "")
    assert again.reason == "v2: v1 was held against v0, and Git names v0.5 now"
    assert deployed.reason == "v1 was held against v0, and Git names v0.5 now"
    assert lines(pulls.round()) == ["train waiting", "deploy nothing"]
    pulls.end(passed=passed)
    assert lines(pulls.rest()) == (["train ended", "deploy updated"] if passed else ["train ended"])
    (pulls.root / "home" / FILE).unlink()
    assert lines(pulls.rest()) == []
    assert (len(pulls.started), list(pulls.forge.pulls), pulls.named()) == (2, [1], "v0.5")
    assert pulls.forge.pulls[1].title == ("line: v0.5 -> v2" if passed else "line: v0 -> v1")


def test_what_a_person_closed_is_not_proposed_again_until_something_better_comes(pulls: Scene) -> None:
    trained(pulls)
    pulls.round()
    pulls.forge.pulls[1] = replace(pulls.forge.pulls[1], state=PullState.CLOSED)
    held = pulls.round()[-1]
    assert (held.action, held.error) == ("held", None)
    assert "pull request 1 proposed it, and was closed" in held.reason
    pulls.change(slope=2.1)
    trained(pulls)
    assert pulls.round()[-1].action == "proposed"
    assert pulls.forge.pulls[2].title == "line: v0 -> v2"


def test_a_forge_that_refuses_is_an_error(pulls: Scene) -> None:
    trained(pulls)
    pulls.forge.failures["find"] = RefusedError("forge", "there is no token")
    failed = pulls.round()[-1]
    assert failed.error and failed.error.exit_code == 4
    pulls.forge.failures["find"] = RemoteError("forge", "answers 503")
    assert (pulls.round()[-1].error or RefusedError("", "")).exit_code == 5
    assert pulls.round()[-1].action == "proposed"


def test_labels_that_could_not_be_set_are_set_by_the_next_round_and_no_more(pulls: Scene) -> None:
    pulls.change({f"{training.FOLDER}/model.yaml": f"{training.MODEL}pullRequest: {{labels: [model]}}\n"})
    trained(pulls)
    pulls.forge.failures["label"] = RemoteError("forge", "answers 503")
    assert pulls.round()[-1].error and pulls.forge.labels == {}
    pulls.round()
    assert pulls.forge.labels == {1: ["model"]}
    pulls.forge.calls.clear()
    pulls.round()
    assert "label" not in pulls.forge.calls


def test_a_protected_branch_names_the_other_way(scene: Scene) -> None:
    from tests.fakes.git_serving import hook

    git(scene.root, "clone", "--quiet", "--bare", "repo", "bare")
    hook(scene.root / "bare", "echo 'protected branch' >&2; exit 1")
    scene.location = str(scene.root / "bare")
    trained(scene)
    failed = scene.round()[-1]
    assert failed.error and failed.error.exit_code == 4
    assert f"write propose: pull-request in {YAML}" in failed.reason


# -- what rollouts came to


def test_a_rollout_that_is_over_is_kept_beside_its_image_once(scene: Scene, gate: FakeGate) -> None:
    from modelpack import lineage

    scene.gate = gate.url
    trained(scene)
    scene.round()
    image = str(repository_image(scene, "v1"))
    rollout = gate.add(model="line", image=image, primary_image="", state="active", phase="Progressing", ended=None)
    rollout["checks"] = [{"name": "golden", "verdict": "accept", "reason": "mae is 0.1", "history": [1] * 1000}]
    (told,) = scene.round(["record"])
    digest = image.partition("@")[2]
    assert told.action == "told" and gate.lineage[digest]["version"] == "v1"
    assert [each["kind"] for each in gate.lineage[digest]["steps"]][:2] == ["data", "code"]
    assert scene.round(["record"]) == []
    rollout |= {"state": "promoted", "phase": "Succeeded", "verdict": "accept", "reason": "fine", "ended": 50.0}
    (kept,) = scene.round(["record"])
    assert kept.reason == "v1 was promoted (accept), kept beside its image"
    rollout["reason"] = "said otherwise"
    (scene.root / "home" / FILE).unlink()
    scene.round(["record"])
    (known,) = lineage.versions(IMAGE, scene.via)[0].rollouts
    assert (known["id"], known["state"], known["reason"], known["ended"]) == ("r1", "promoted", "fine", 50.0)
    assert known["checks"] == [{"name": "golden", "verdict": "accept", "reason": "mae is 0.1"}]


def test_rollouts_of_other_images_and_those_that_are_not_bound_are_passed_over(scene: Scene, gate: FakeGate) -> None:
    scene.gate = gate.url
    for image in ("", "not an image", "registry.local/models/line:v1", f"registry.local/other:v1@sha256:{'1' * 64}"):
        gate.add(model="line", image=image, primary_image="", ended=5.0)
    gate.add(model="line", image=f"{IMAGE}:v9@sha256:{'1' * 64}", primary_image="", ended=5.0)
    assert lines(scene.round(["record"])) == ["record failed"]  # the last alone is ours, and not in the registry


def test_the_repository_may_be_named_by_a_relative_path(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene.root)
    assert Rooms("repo", "main", Path("x")).root == scene.worktree.resolve()
    assert Rooms("https://git.example.com/x.git", "main", Path("x")).root is None
