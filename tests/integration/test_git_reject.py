"""A person rejects and lifts: entries come and go byte by byte, and nobody proposes what is rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.cli import main
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import REJECTED, git

V2 = serving.image("v2")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in a work tree that serves v1, beside a registry that has nothing."""
    monkeypatch.chdir(serving.worktree(tmp_path / "work"))
    monkeypatch.setenv("MODELPACK_VIA", f"registry.local/=oci:{tmp_path}/registry")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def entries(run: Run, *arguments: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(run("rejected", *arguments, "--json")[1])["rejected"]
    return found


def test_a_rejected_version_is_not_proposed_until_it_is_lifted(run: Run) -> None:
    code, out, _ = run("reject", V2, "--reason", "wrong\ndata")
    assert (code, out.startswith("mpg: v2 rejected, committed ")) == (0, True)
    (entry,) = entries(run, "mpg")
    assert (entry["image"], entry["version"], entry["reason"], entry["name"]) == (V2, "v2", "wrong data", "mpg")
    assert git(Path(), "log", "-1", "--format=%(trailers:key=Rejected-Digest,valueonly)") == serving.digest("v2")
    assert run("reject", V2) == (0, "mpg: v2 is rejected already\n", "")
    assert run("unreject", "v2", "mpg", "--reason", "it was right")[0] == 0
    assert entries(run) == [] and run("rejected")[1] == "nothing is rejected\n"
    assert git(Path(), "log", "-1", "--format=%(trailers:key=Reason,valueonly)") == "it was right"
    assert serving.count(Path()) == 3


def test_a_team_s_template_is_for_versions_that_serve(run: Run) -> None:
    path = Path("model-images/mpg/model.yaml")
    serving.commit(Path(), {str(path): path.read_text() + "commit: {message: 'Serve {{ version }}', signoff: true}\n"})
    assert run("reject", V2, "--reason", "wrong data")[0] == 0
    said = git(Path(), "log", "-1", "--format=%B")
    assert said.startswith("mpg: reject v2\n\nwrong data\n") and "Signed-off-by: " in said


def test_the_bytes_around_an_entry_stay(run: Run) -> None:
    before = f"# ours\n- {{version: v0}}   # long ago\n\n- image: {V2}\n  reason: 'x'\n# the end\n"
    serving.commit(Path(), {REJECTED: before})
    run("reject", serving.image("v3"), "--reason", "y")
    assert Path(REJECTED).read_text().startswith(before)
    assert run("unreject", serving.image("v3"))[0] == 0
    assert Path(REJECTED).read_text() == before
    assert run("unreject", serving.digest("v2"), "mpg")[0] == 0
    assert Path(REJECTED).read_text() == "# ours\n- {version: v0}   # long ago\n\n# the end\n"


@pytest.mark.parametrize(
    "entry",
    ["{version: v2}", "{image: 'registry.local/models/mpg:v2'}", "{image: '" + V2 + "'}", "{model: '" + "m" + "'}"],
)
def test_an_entry_that_a_person_wrote_counts(run: Run, entry: str) -> None:
    from modelpack import gitops
    from modelpack.errors import RefusedError

    serving.commit(Path(), {REJECTED: f"- {entry.replace(repr('m'), repr(serving.digest('model v2')))}\n"})
    with gitops.open_repository(".") as repository:
        with pytest.raises(RefusedError, match="modelpack unreject v2 mpg"):
            gitops.bump(repository, serving.wanted("v2"))
        gitops.bump(repository, serving.wanted("v3"))


def test_a_hand_written_version_is_lifted_by_its_name(run: Run) -> None:
    serving.commit(Path(), {REJECTED: "- {version: v2}\n- {version: v2, reason: twice}\n- {version: v3}\n"})
    assert run("unreject", "registry.local/models/mpg:v2")[0] == 0
    assert [each["version"] for each in entries(run)] == ["v3"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("reject", "registry.local/models/mpg:v9"), 3, "registry/models/mpg: there is no"),
        (("reject", V2.replace("mpg", "tips")), 3, "no model-images/*/model.yaml"),
        (("unreject", "v9", "mpg"), 3, "model-images/mpg/rejected.yaml has no such entry; rejected there: v2"),
        (("unreject", "v2"), 2, "name its model: modelpack unreject v2 MODEL"),
        (("rejected", "tips"), 3, "known there: mpg"),
    ],
)
def test_what_is_not_there_is_said(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    serving.commit(Path(), {REJECTED: "- {version: v2}\n"})
    ended, _, err = run(*words)
    assert (ended, said in err, err.count("\n")) == (code, True, 1), err


def test_a_dry_run_shows_the_entry(run: Run) -> None:
    code, out, _ = run("reject", V2, "--dry-run")
    assert (code, f'+- model: ""\n+  image: "{V2}"' in out, serving.count(Path())) == (0, True, 1)
