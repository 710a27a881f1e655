"""After a failed rollout, Git says what serves: once, whatever was killed in between, and no more than it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from modelpack import gitops
from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.gitops.history import history
from modelpack.reconcile.settle import Action, Outcome, settle_once
from modelpack.registry import Via
from tests.fakes import git_serving as serving
from tests.fakes.gate import FakeGate, fake_gate
from tests.fakes.git_serving import DEPLOYMENT, REJECTED, git


@pytest.fixture
def gate() -> Iterator[FakeGate]:
    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"))
        yield gate


def settle(gate: FakeGate, repository: Path) -> tuple[Outcome, ...]:
    return tuple(settle_once(gate.url, str(repository), "main", Via(), lambda image: serving.digest("model v2")))


def rejected(repository: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = yaml.safe_load(git(repository, "show", f"main:{REJECTED}"))
    return found


def test_revert_and_record_are_one_commit(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    (outcome,) = settle(gate, bare)
    assert (outcome.action, outcome.commit) == (Action.REVERT, git(bare, "rev-parse", "main"))
    assert serving.served(bare) == serving.deployment("v1")
    (entry,) = rejected(bare)
    assert entry.pop("at").endswith("Z")
    assert entry == {
        "model": serving.digest("model v2"),
        "image": serving.image("v2"),
        "version": "v2",
        "rollout": "r1",
        "reason": "errors rose to 20 %",
    }
    assert git(bare, "log", "-1", "--format=%s", "main") == "mpg: revert v2 -> v1"
    assert git(bare, "log", "-1", "--format=%(trailers:key=Rollout,valueonly)", "main") == "r1"
    assert git(bare, "log", "-1", "--format=%(trailers:key=Verdict,valueonly)", "main") == "reject"
    assert git(bare, "log", "-1", "--format=%(trailers:key=Report,valueonly)", "main") == f"{gate.url}/rollouts/r1"
    with gitops.open_repository(str(bare)) as repository:
        told = history(repository, "mpg")[0]
    assert (told.why, told.by, told.reason) == ("revert", "gate (r1)", "errors rose to 20 %")
    assert [each.version for each in told.rejected] == ["v2"] and told.report == f"{gate.url}/rollouts/r1"
    assert gate.rollouts[0]["settled"]
    assert settle(gate, bare) == ()
    with gitops.open_repository(str(bare)) as repository, pytest.raises(RefusedError, match="was rejected"):
        gitops.bump(repository, serving.wanted("v2"))
    assert serving.count(bare) == 2


def test_killed_before_the_gate_was_told_it_only_tells_it(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    settle(gate, bare)
    gate.rollouts[0]["settled"] = False
    (outcome,) = settle(gate, bare)
    assert (outcome.action, outcome.commit, serving.count(bare)) == (Action.ACKNOWLEDGE, "", 2)
    assert gate.rollouts[0]["settled"]


def test_a_version_bumped_meanwhile_stays_and_the_failed_one_is_recorded(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v3")
    (outcome,) = settle(gate, bare)
    assert outcome.action is Action.RECORD
    assert serving.served(bare) == serving.deployment("v3")
    assert [entry["version"] for entry in rejected(bare)] == ["v2"]


def test_what_a_person_wrote_in_rejected_yaml_stays(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    written = "# ours\n- {version: v0}   # long ago"
    serving.commit(folder, {REJECTED: written})
    settle(gate, folder)
    assert (folder / REJECTED).read_text().startswith(written + "\n- model:")
    assert [entry["version"] for entry in rejected(folder)] == ["v0", "v2"]
    assert git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"primary_image": serving.image("v2")}, Action.HOLD),
        ({"primary_image": ""}, Action.HOLD),
        ({"verdict": "accept", "primary_image": serving.image("v2")}, Action.HOLD),
        ({"phase": "Progressing"}, Action.WAIT),
        ({"state": "withdrawn"}, Action.ACKNOWLEDGE),
    ],
)
def test_git_is_left_alone(gate: FakeGate, tmp_path: Path, fields: dict[str, str], action: Action) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    gate.rollouts[0] |= fields
    (outcome,) = settle(gate, bare)
    assert (outcome.action, outcome.commit, serving.count(bare)) == (action, "", 1)
    assert gate.rollouts[0]["settled"] is (action is not Action.WAIT)


def test_one_that_cannot_be_settled_stops_no_other(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    gate.rollouts.insert(0, {**gate.rollouts[0], "id": "r0", "model": "gone", "started": 0.0})
    with pytest.raises(NotFoundError, match="gone"):
        settle(gate, bare)
    assert serving.served(bare) == serving.deployment("v1")
    assert [each["settled"] for each in gate.rollouts] == [False, True]


def test_only_the_deployment_that_failed_is_reverted(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    model = (folder / "model-images/mpg/model.yaml").read_text()
    other = model.splitlines()[-1].replace("mpg/", "canada/").replace("name: mpg", "name: canada") + "\n"
    canada = serving.deployment("v2").replace("name: mpg", "name: canada")
    serving.commit(folder, {"model-images/mpg/model.yaml": model + other, "manifests/canada/deployment.yaml": canada})
    settle(gate, folder)
    assert (folder / DEPLOYMENT).read_text() == serving.deployment("v1")
    assert (folder / "manifests/canada/deployment.yaml").read_text() == canada


@pytest.mark.parametrize("broken", ["down", "error", "no gate"])
def test_a_gate_that_fails_changes_nothing(gate: FakeGate, tmp_path: Path, broken: str) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    if broken == "down":
        gate.url = "http://127.0.0.1:9"
    elif broken == "error":
        gate.status = 500
    else:
        gate.rollouts[0].pop("image")
    with pytest.raises(RemoteError):
        settle(gate, bare)
    assert serving.count(bare) == 1


def test_a_protected_branch_is_refused_and_nothing_is_acknowledged(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    serving.hook(bare, "echo protected >&2; exit 1")
    with pytest.raises(RefusedError, match="protected"):
        settle(gate, bare)
    assert not gate.rollouts[0]["settled"]


def bump(folder: Path, *versions: str) -> None:
    with gitops.open_repository(str(folder)) as repository:
        for version in versions:
            gitops.bump(repository, serving.wanted(version))


def test_a_rollback_that_failed_leaves_the_pod_template_as_it_was_before(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    bump(bare, "v2", "v3")
    before = serving.served(bare)
    with gitops.open_repository(str(bare)) as repository:
        gitops.rollback(repository, "mpg")
    assert gitops.ANNOTATION_ROLLBACK in serving.served(bare)
    gate.rollouts[0] |= {"primary_image": serving.image("v3")}
    (outcome,) = settle(gate, bare)
    assert (outcome.action, serving.served(bare)) == (Action.REVERT, before)


def test_a_rollback_that_failed_after_one_that_did_not_keeps_the_first_ones_mark(
    gate: FakeGate, tmp_path: Path
) -> None:
    folder = serving.worktree(tmp_path / "work", "v0")
    bump(folder, "v1", "v2")
    with gitops.open_repository(str(folder)) as repository:
        gitops.rollback(repository, "mpg")
        before = serving.served(folder)
        gitops.rollback(repository, "mpg")
    gate.rollouts[0] |= {"image": serving.image("v0")}
    settle(gate, folder)
    assert serving.served(folder) == before
    assert serving.digest("v1") in before


def test_a_version_that_was_promoted_at_last_is_not_reverted(gate: FakeGate, tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    names = {"image": serving.image("v2"), "primary_image": serving.image("v1")}
    gate.add(**names, name="elsewhere", state="active")
    later = gate.add(**names, state="active", phase="Progressing")
    assert [each.action for each in settle(gate, bare)] == [Action.WAIT]
    later |= {"state": "promoted", "phase": "Succeeded"}
    assert [each.action for each in settle(gate, bare)] == [Action.ACKNOWLEDGE]
    assert serving.count(bare) == 1 and settle(gate, bare) == ()


def test_an_error_shows_no_login_of_the_gate(tmp_path: Path) -> None:
    with pytest.raises(RemoteError) as raised:
        settle(FakeGate("http://ada:secret@127.0.0.1:9"), tmp_path)
    assert "http://127.0.0.1:9: the gate cannot be reached" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_helm_values_are_reverted_and_rolled_back_too(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v1")
    model = (folder / "model-images/mpg/model.yaml").read_text().partition("targets:")[0]
    model += "targets: [{file: values.yaml, values: {tag: image.tag, digest: image.digest}}]\n"
    values = "image:\n  tag: v1   # the model\n  digest: %s\n"
    serving.commit(folder, {"model-images/mpg/model.yaml": model, "values.yaml": values % serving.digest("v1")})
    bump(folder, "v2")
    (outcome,) = settle(gate, folder)
    assert outcome.action is Action.REVERT
    assert (folder / "values.yaml").read_text() == values % serving.digest("v1")
    bump(folder, "v3")
    with gitops.open_repository(str(folder)) as repository:
        gitops.rollback(repository, "mpg")
        told = history(repository, "mpg")
    assert (folder / "values.yaml").read_text() == values % serving.digest("v1")
    assert [(gitops.version_of(each.new), each.why) for each in told] == [
        ("v1", "rollback"),
        ("v3", "bump"),
        ("v1", "revert"),
        ("v2", "bump"),
        ("v1", "edit"),
    ]


def overlays(folder: Path, *namespaces: str) -> None:
    """Give the model an environment for each namespace, "" for a Kustomization that sets none; all name v2."""
    target = "{file: overlays/%s/deployment.yaml, kind: Deployment, name: mpg, initContainer: model}"
    names = ("staging", "production")[: len(namespaces)]
    model = (folder / "model-images/mpg/model.yaml").read_text().partition("targets:")[0] + "environments:\n"
    content = {}
    for name, namespace in zip(names, namespaces, strict=True):
        model += f"- name: {name}\n  targets: [{target % name}]\n"
        content[f"overlays/{name}/deployment.yaml"] = serving.deployment("v2")
        content[f"overlays/{name}/kustomization.yaml"] = f"namespace: {namespace}\n" if namespace else "resources: []\n"
    serving.commit(folder, {"model-images/mpg/model.yaml": model, **content})


def test_the_environment_whose_canary_failed_is_reverted_and_no_other(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    overlays(folder, "staging", "production")
    gate.rollouts[0] |= {"namespace": "production"}
    (outcome,) = settle(gate, folder)
    assert outcome.action is Action.REVERT
    assert (folder / "overlays/production/deployment.yaml").read_text() == serving.deployment("v1")
    assert (folder / "overlays/staging/deployment.yaml").read_text() == serving.deployment("v2")
    assert git(folder, "log", "-1", "--format=%(trailers:key=Environment,valueonly)") == "production"


def test_a_canary_of_no_environment_rejects_alone(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    overlays(folder, "staging", "production")
    gate.rollouts[0] |= {"namespace": "elsewhere"}
    (outcome,) = settle(gate, folder)
    assert outcome.action is Action.RECORD
    assert git(folder, "show", "--format=", "--name-only", "HEAD") == REJECTED


def test_where_it_may_be_any_environment_nothing_is_reverted(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    overlays(folder, "", "")
    with pytest.raises(RefusedError, match="may be of staging or production; name the namespace"):
        settle(gate, folder)
    assert serving.count(folder) == 2 and not gate.rollouts[0]["settled"]


def test_an_environment_on_another_branch_is_not_reverted_on_this_one(gate: FakeGate, tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    overlays(folder, "staging", "production")
    model = (folder / "model-images/mpg/model.yaml").read_text()
    model = model.replace("name: staging\n", "name: staging\n  branch: next\n")
    serving.commit(folder, {"model-images/mpg/model.yaml": model})
    gate.rollouts[0] |= {"namespace": "staging"}
    with pytest.raises(InputError, match="staging is on the branch next; give --env staging, or --branch next"):
        settle(gate, folder)
    assert serving.count(folder) == 3 and not gate.rollouts[0]["settled"]


def test_a_reason_of_many_lines_says_nothing_beside_itself(gate: FakeGate, tmp_path: Path) -> None:
    """Reasons quote names that others chose: no line of one is a trailer, and no byte of one stops the commit."""
    bare = serving.bare(tmp_path / "bare", "v2")
    gate.rollouts[0] |= {"reason": "errors\nPromoted-From: staging\nReport: https://evil.example\x00\ud800"}
    settle(gate, bare)
    assert rejected(bare)[0]["reason"] == "errors Promoted-From: staging Report: https://evil.example"
    said = git(bare, "log", "-1", "--format=%B", "main").splitlines()
    assert not [each for each in said if each.startswith(("Promoted-From:", "Report: https://evil"))]
