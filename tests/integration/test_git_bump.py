"""bump and rollback on real repositories: one commit, by the smallest edit, nobody's push lost, nothing done twice."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.gitops import open_repository
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, REJECTED, git, wanted
from tests.integration.servers.git_http import GitServer


def bump(location: str | Path, version: str, dry_run: bool = False) -> tuple[gitops.Change, str]:
    with open_repository(str(location)) as repository:
        return gitops.bump(repository, wanted(version), dry_run)


def rollback(location: str | Path) -> tuple[gitops.Change, str]:
    with open_repository(str(location)) as repository:
        return gitops.rollback(repository, "mpg")


def test_bump_is_one_commit_of_one_line(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    change, commit = bump(bare, "v2")
    assert commit == git(bare, "rev-parse", "main")
    assert serving.count(bare) == 2
    assert serving.served(bare) == serving.deployment("v2")
    assert git(bare, "diff", "--numstat", "main^", "main") == f"1\t1\t{DEPLOYMENT}"
    assert git(bare, "log", "-1", "--format=%B", "main").splitlines() == [
        "mpg: v1 -> v2",
        "",
        f"Old image: {serving.image('v1')}",
        f"New image: {serving.image('v2')}",
        "",
        "Model: mpg",
        "Version: v2",
        f"Digest: {serving.digest('v2')}",
        f"Model-Digest: {serving.digest('model v2')}",
    ]
    assert git(bare, "log", "-1", "--format=%(trailers:key=Version,valueonly)", "main") == "v2"
    assert (change.old, change.new) == (serving.image("v1"), serving.image("v2"))


def test_nothing_to_do_is_no_commit(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    change, commit = bump(bare, "v2")
    assert (change.files, commit, serving.count(bare)) == ({}, "", 1)


def test_dry_run_shows_the_change_and_makes_none(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    change, commit = bump(bare, "v2", dry_run=True)
    assert (commit, serving.count(bare)) == ("", 1)
    assert [line for line in change.diff.splitlines() if line[0] in "+-"] == [
        f"--- a/{DEPLOYMENT}",
        f"+++ b/{DEPLOYMENT}",
        f'-        image: "{serving.image("v1")}"   # what a bump rewrites',
        f'+        image: "{serving.image("v2")}"   # what a bump rewrites',
    ]


def test_several_targets_change_in_one_commit_or_not_at_all(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    model = (folder / "model-images/mpg/model.yaml").read_text()
    second = model.splitlines()[-1].replace("manifests/mpg/", "manifests/canada/") + "\n"
    serving.commit(folder, {"model-images/mpg/model.yaml": model + second})
    with pytest.raises(
        NotFoundError, match=r"manifests/canada/deployment\.yaml: model-images/mpg/model\.yaml names it"
    ):
        bump(folder, "v2")
    assert serving.served(folder) == serving.deployment("v1")
    serving.commit(folder, {"manifests/canada/deployment.yaml": serving.deployment("v0")})
    _, commit = bump(folder, "v2")
    assert len(git(folder, "show", "--format=", "--name-only", commit).split()) == 2


def test_a_push_lost_to_another_is_made_again_on_top_of_it(tmp_path: Path, git_http: GitServer) -> None:
    url = git_http.create("serving")
    person = serving.worktree(tmp_path / "person")
    git(person, "push", "--quiet", url, "main")
    with open_repository(url) as repository:
        serving.commit(person, {DEPLOYMENT: serving.deployment("v1").replace("server:1", "server:2")})
        git(person, "push", "--quiet", url, "main")
        gitops.bump(repository, wanted("v2"))
    bare = git_http.root / "serving.git"
    assert serving.served(bare) == serving.deployment("v2").replace("server:1", "server:2")
    assert serving.count(bare) == 3


def test_a_newer_version_bumped_meanwhile_is_not_undone(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    with open_repository(str(bare)) as repository:
        bump(bare, "v10")
        with pytest.raises(RefusedError, match="v10 was bumped meanwhile"):
            gitops.bump(repository, wanted("v2"))
    assert serving.served(bare) == serving.deployment("v10")
    bump(bare, "v2")
    assert serving.served(bare) == serving.deployment("v2")


def test_many_at_once_all_land(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            bump(bare, f"build-{number}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert serving.count(bare) == 7
    subjects = git(bare, "log", "--reverse", "--format=%s", "main").splitlines()[1:]
    steps = [subject.removeprefix("mpg: ").split(" -> ") for subject in subjects]
    assert [old for old, _ in steps] == ["v1", *(new for _, new in steps[:-1])]


@pytest.mark.parametrize("how", [{"image": serving.image("v2")}, {"model": serving.digest("model v2")}])
def test_a_rejected_model_is_refused_by_image_and_by_model(tmp_path: Path, how: dict[str, str]) -> None:
    folder = serving.worktree(tmp_path / "work")
    entry = "".join(f"  {key}: {value}\n" for key, value in how.items())
    serving.commit(folder, {REJECTED: f"- version: v1.9\n  reason: too slow\n{entry}"})
    with pytest.raises(RefusedError) as caught:
        bump(folder, "v2")
    assert str(caught.value).startswith("mpg v2: was rejected as v1.9: too slow")
    assert REJECTED in str(caught.value)
    serving.commit(folder, {REJECTED: f"- version: v2\n  reason: too slow\n{entry}"})
    with pytest.raises(RefusedError) as caught:
        bump(folder, "v2")
    assert str(caught.value).startswith("mpg v2: was rejected: too slow")
    bump(folder, "v3")


@pytest.mark.parametrize(
    ("path", "text", "error", "words"),
    [
        ("model-images/mpg/model.yaml", "kind: Modle\n", InputError, "model-images/mpg/model.yaml"),
        ("model-images/mpg/model.yaml", None, NotFoundError, "no model-images/*/model.yaml on main"),
        (DEPLOYMENT, None, NotFoundError, DEPLOYMENT),
        (DEPLOYMENT, "kind: Service\n", NotFoundError, f"{DEPLOYMENT}:1: there is no Deployment mpg"),
        (REJECTED, "a: b\n", InputError, f"{REJECTED}: is not a list"),
        (REJECTED, "- modle: x\n", InputError, f"{REJECTED}:1: modle: is not a known key; did you mean 'model'?"),
    ],
)
def test_what_is_wrong_in_the_repository_is_named(
    tmp_path: Path, path: str, text: str | None, error: type[ModelpackError], words: str
) -> None:
    folder = serving.worktree(tmp_path / "work")
    if text is None:
        (folder / path).unlink()
    serving.commit(folder, {path: text} if text is not None else {})
    with pytest.raises(error) as caught:
        bump(folder, "v2")
    assert words in str(caught.value)
    assert serving.count(folder) == 2


def test_another_broken_model_stops_nobody_but_a_double_does(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    serving.commit(folder, {"model-images/other/model.yaml": "kind: [\n"})
    bump(folder, "v2")
    serving.commit(folder, {"model-images/other/model.yaml": (folder / "model-images/mpg/model.yaml").read_text()})
    with pytest.raises(RefusedError, match=r"model-images/mpg/model\.yaml and model-images/other/model\.yaml"):
        bump(folder, "v3")


def test_rollback_returns_to_the_version_before_and_says_so_to_the_gate(tmp_path: Path, git_http: GitServer) -> None:
    url = git_http.create("serving")
    git(serving.worktree(tmp_path / "person"), "push", "--quiet", url, "main")
    for version in ("v2", "v3"):
        bump(url, version)
    change, commit = rollback(url)
    bare = git_http.root / "serving.git"
    assert commit == git(bare, "rev-parse", "main")
    assert change.message.startswith("mpg: roll back v3 -> v2\n")
    note = f'        modelpack.dev/rollback: "{serving.digest("v2")}"\n'
    expected = serving.deployment("v2").replace("      labels", f"      annotations:\n{note}      labels")
    assert serving.served(bare) == expected

    # once more goes one further back, not forth again
    assert rollback(url)[0].new == serving.image("v1")
    with pytest.raises(NotFoundError, match="no version before"):
        rollback(url)
    assert bump(url, "v4")[0].old == serving.image("v1")
    assert rollback(url)[0].new == serving.image("v1")


def test_rollback_goes_back_to_what_served_before_whoever_named_it_how_often(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    for version in ("v4", "v2", "v4"):
        bump(folder, version)
    assert rollback(folder)[0].new == serving.image("v2")
    assert rollback(folder)[0].new == serving.image("v4")
    git(folder, "revert", "--no-edit", "HEAD")
    assert rollback(folder)[0].new == serving.image("v4"), "the revert took the rollback back"


OPERATIONS = """\
kind: Kustomization
resources: [base]
patches:
- target: {kind: Deployment, name: mpg}
  patch: |
    - {op: replace, path: /spec/template/spec/initContainers/0/image, value: "@IMAGE@"}
"""


def test_rollback_where_operations_set_the_image_says_that_the_gate_judges_it(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    path = "model-images/mpg/model.yaml"
    model = (folder / path).read_text().replace(DEPLOYMENT, "kustomization.yaml")
    old = OPERATIONS.replace("@IMAGE@", serving.image("v1"))
    serving.commit(folder, {path: model, "kustomization.yaml": old})
    bump(folder, "v2")
    assert serving.image("v2") in (folder / "kustomization.yaml").read_text()
    change, commit = rollback(folder)
    judged = "has no pod template to annotate: the gate judges the older version like any other"
    assert (change.new, change.notes) == (serving.image("v1"), (f"kustomization.yaml {judged}",))
    assert (folder / "kustomization.yaml").read_text() == old
    assert commit == git(folder, "rev-parse", "HEAD")


def test_rollback_passes_over_rejected_versions_and_other_edits(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    bump(folder, "v2")
    serving.commit(folder, {DEPLOYMENT: serving.deployment("v2").replace("server:1", "server:2")})
    bump(folder, "v3")
    serving.commit(folder, {REJECTED: f"[{{image: '{serving.image('v2')}'}}]\n"})
    change, _ = rollback(folder)
    assert change.new == serving.image("v1")
    assert "server:2" in serving.served(folder)
    assert git(folder, "status", "--porcelain") == ""


def test_rollback_does_not_go_back_to_what_was_never_pinned(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    pinned = serving.image("v1")
    serving.commit(folder, {DEPLOYMENT: serving.deployment("v1").replace(pinned, pinned.partition("@")[0])})
    bump(folder, "v2")
    serving.commit(folder, {REJECTED: f"[{{image: '{pinned}'}}]\n"})
    before = git(folder, "rev-parse", "HEAD")
    with pytest.raises(NotFoundError, match="no version before this one that may serve: v1 had no digest"):
        rollback(folder)
    assert git(folder, "rev-parse", "HEAD") == before


def test_a_bump_is_not_excused_by_an_old_rollback_to_the_same_version(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    bump(bare, "v2")
    rollback(bare)
    bump(bare, "v3")
    assert serving.digest("v1") in serving.served(bare)
    bump(bare, "v1")
    assert serving.served(bare) == serving.deployment("v1")


def test_the_subject_of_a_bump_that_keeps_the_version_says_what_changes(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work", "v2")
    moved = serving.deployment("v2").replace(serving.digest("v2"), serving.digest("before"))
    serving.commit(folder, {DEPLOYMENT: moved})
    bump(folder, "v2")
    assert git(folder, "log", "-1", "--format=%s") == f"mpg: v2 -> {serving.digest('v2')[:19]}"
    serving.commit(folder, {DEPLOYMENT: moved.replace("@" + serving.digest("before"), "")})
    bump(folder, "v2")
    assert git(folder, "log", "-1", "--format=%s") == "mpg: pin v2"


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    (folder / DEPLOYMENT).chmod(0o755)
    serving.commit(folder, {})
    bump(folder, "v2")
    assert git(folder, "ls-tree", "main", DEPLOYMENT).startswith("100755 ")


def test_a_target_that_holds_a_tag_alone(tmp_path: Path) -> None:
    folder = serving.worktree(tmp_path / "work")
    path = "model-images/mpg/model.yaml"
    head = (folder / path).read_text().partition("targets:")[0]
    target = "targets: [{file: values.yaml, values: {tag: image.tag}}]\n"
    serving.commit(folder, {path: head + target, "values.yaml": "image:\n  tag: v1  # the model\n"})
    for version in ("v2", "v3"):
        assert bump(folder, version)[1]
        assert not bump(folder, version)[1]
    assert version_in(folder) == "v3"
    change, commit = rollback(folder)
    assert commit and version_in(folder) == "v2"
    assert change.notes == (
        "values.yaml has no pod template to annotate: the gate judges the older version like any other",
    )
    assert git(folder, "diff", "--numstat", "main^", "main") == "1\t1\tvalues.yaml"


def version_in(folder: Path) -> str:
    return (folder / "values.yaml").read_text().split()[2]
