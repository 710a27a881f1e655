"""settle against a real forge: a protected branch, the pull request that says what failed, a person who merges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.cli import main
from modelpack.reconcile.settle import Action, Outcome, settle_once
from modelpack.registry import Via
from tests.fakes import git_serving as serving
from tests.fakes.gate import FakeGate, fake_gate
from tests.integration.servers.gitea import ROBOT, Gitea


def test_a_failed_version_goes_by_pull_request_where_nobody_may_push(gitea: Gitea, tmp_path: Path) -> None:
    files = serving.files("v2")
    files["model-images/mpg/model.yaml"] += "pullRequest: {forge: gitea, labels: [rollback]}\n"
    project = gitea.create("settled", files)
    project.protect()
    via = Via.from_environ((f"registry.local/=oci:{tmp_path}/registry",))

    def settle(gate: FakeGate) -> list[Outcome]:
        return list(settle_once(gate.url, project.with_login(), "main", via, lambda image: ""))

    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"), checks=[])
        assert [each.action for each in settle(gate)] == [Action.PROPOSE]
        assert [each.action for each in settle(gate)] == [Action.PROPOSE]
        (pull,) = project.pulls()
        assert pull["title"] == "mpg: back from failed v2 -> v1" and "errors rose" in pull["body"]
        assert [each["name"] for each in pull["labels"]] == ["rollback"]
        assert not gate.rollouts[0]["settled"]
        project.merge(pull["number"])
        assert [each.action for each in settle(gate)] == [Action.ACKNOWLEDGE]
        assert gate.rollouts[0]["settled"] and settle(gate) == []


def test_the_command_names_the_pull_request_and_shows_no_login(
    gitea: Gitea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = serving.files("v2")
    files["model-images/mpg/model.yaml"] += "pullRequest: {forge: gitea}\n"
    project = gitea.create("commanded", files)
    project.protect()
    monkeypatch.setenv("MODELPACK_VIA", f"registry.local/=oci:{tmp_path}/registry")
    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"), checks=[])
        with pytest.raises(SystemExit) as ended:
            main(["settle", "--gate", gate.url, "--repo", project.with_login()])
    said = capsys.readouterr()
    (pull,) = project.pulls()
    assert (ended.value.code, pull["html_url"] in said.out, pull["html_url"] in said.err) == (8, True, True)
    assert said.out.startswith("mpg: proposed, v2 failed, back to v1") and "a person has to merge" in said.err
    assert gitea.tokens[ROBOT] not in said.out + said.err + pull["body"]


@pytest.mark.parametrize("reopened", [False, True])
def test_a_closed_pull_request_is_a_persons_no(gitea: Gitea, tmp_path: Path, reopened: bool) -> None:
    files = serving.files("v2")
    files["model-images/mpg/model.yaml"] += "pullRequest: {forge: gitea}\n"
    project = gitea.create(f"closed-{reopened}".lower(), files)
    project.protect()
    via = Via.from_environ((f"registry.local/=oci:{tmp_path}/registry",))
    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"), checks=[])
        list(settle_once(gate.url, project.with_login(), "main", via, lambda image: ""))
        (pull,) = project.pulls()
        project.close(pull["number"])
        if reopened:
            project.reopen(pull["number"])
        (outcome,) = settle_once(gate.url, project.with_login(), "main", via, lambda image: "")
        assert outcome.action is (Action.PROPOSE if reopened else Action.HOLD)
        assert (gate.rollouts[0]["settled"], len(project.pulls())) == (not reopened, 1)
