"""bump, rollback and settle as a person calls them: one line, one exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modelpack.cli import main
from tests.command import argv
from tests.fakes import git_serving as serving
from tests.fakes.gate import fake_gate
from tests.fakes.git_serving import git

IMAGE = "registry.local/models/mpg"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in a work tree whose v1 and v2 are in a layout on disk; its exit code, stdout and stderr."""
    folder = serving.worktree(tmp_path / "work", "v0")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MODELPACK_VIA", f"registry.local/=oci:{tmp_path}/registry")
    monkeypatch.setenv("MODELPACK_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    for version in ("v1", "v2"):
        (folder / "artifacts" / version).mkdir(parents=True)
        (folder / "artifacts" / version / "model").write_text(version)
        assert run("build", "model-images/mpg", "--version", version, "--push")[0] == 0
    (folder / ".git/info/exclude").write_text("artifacts\n")
    return run


def test_a_person_bumps_and_rolls_back(run: Run) -> None:
    code, out, _ = run("bump", f"{IMAGE}:v1")
    commit = git(Path(), "rev-parse", "--short=7", "HEAD")
    assert (code, out.startswith("mpg: v0 -> v1 (sha256:"), f"committed {commit} to main" in out) == (0, True, True)
    code, out, _ = run("bump", f"{IMAGE}:v1")
    assert (code, out.startswith("mpg: already v1"), serving.count(Path())) == (0, True, 2)
    code, out, _ = run("bump", f"{IMAGE}:v2", "--dry-run")
    assert (code, out.startswith("--- a/manifests"), serving.count(Path())) == (0, True, 2)
    code, out, _ = run("bump", f"{IMAGE}:v2", "--json")
    assert (code, json.loads(out)["commit"]) == (0, git(Path(), "rev-parse", "HEAD"))
    code, out, _ = run("rollback", "mpg")
    assert (code, out.startswith("mpg: v2 -> v1 (")) == (0, True)
    assert run("rollback", f"{IMAGE}:v1", "--dry-run")[0] == 0
    assert git(Path(), "status", "--porcelain") == ""


def test_a_tag_that_is_another_image_than_the_digest_is_refused(run: Run) -> None:
    first = json.loads(run("bump", f"{IMAGE}:v1", "--json")[1])["digest"]
    code, _, err = run("bump", f"{IMAGE}:v2@{first}")
    assert (code, "tag v2 is another image, sha256:" in err, serving.count(Path())) == (4, True, 2)
    assert run("bump", f"{IMAGE}:v1@{first}")[0] == 0


def test_what_settle_rejected_is_refused_under_any_tag(run: Run) -> None:
    assert run("bump", f"{IMAGE}:v1")[0] == 0
    primary = json.loads(run("bump", f"{IMAGE}:v2", "--json")[1])
    with fake_gate() as gate:
        assert run("settle", "--gate", gate.url) == (0, "nothing to settle\n", "")
        gate.add(image=primary["new"], primary_image=primary["old"])
        code, out, _ = run("settle", "--gate", gate.url)
        assert (code, out.startswith("mpg: reverted, v2 failed, back to v1: errors rose to 20 % (commit ")) == (0, True)
        gate.add(image=primary["old"], primary_image=primary["old"])
        code, _, err = run("settle", "--gate", gate.url, "--json")
        assert (code, err) == (8, "error: mpg rollout r2: a person has to look; Git was left as it is\n")
        gate.add(image=primary["old"], primary_image=primary["old"])
        gate.add(image=primary["old"], primary_image=primary["old"], model="gone", namespace="other")
        code, out, err = run("settle", "--gate", gate.url)  # what was done is told, and the exit code is the error's
        assert (code, out.startswith("mpg: held, v1 failed")) == (3, True) and "gone" in err
        gate.status = 503
        assert run("settle", "--gate", gate.url)[0] == 5
    run("build", "model-images/mpg", "--version", "v2", "--tag", f"{IMAGE}:again", "--push")
    code, _, err = run("bump", f"{IMAGE}:again")
    assert (code, err.startswith("error: mpg again: was rejected as v2: errors rose to 20 %")) == (4, True)


def test_a_watching_settle_outlives_a_refused_push(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare", "v2")
    serving.hook(bare, "echo frozen >&2; exit 1")
    with fake_gate() as gate:
        gate.add(image=serving.image("v2"), primary_image=serving.image("v1"))
        command = argv("settle", "--gate", gate.url, "--repo", bare, "--watch")
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr and "frozen" in process.stderr.readline()
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)
            finally:
                process.kill()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bump", "not a reference/at all"], 2, "not an image reference"),
        (["bump", "mpg:v2"], 2, "mpg:v2: is not a model's image; write registry/repository:tag"),
        (["bump", f"{IMAGE}:v9"], 3, "no tag v9"),
        (["bump", f"{IMAGE}:v1", "--repo", "nothing"], 3, "error: nothing: there is no such folder"),
        (["bump", f"{IMAGE}:v1", "--branch", "nothing"], 3, "there is no branch nothing"),
        (
            ["bump", f"{IMAGE}:v1", "--target", "file: ../../etc/passwd, images: x"],
            2,
            "not a path inside the repository",
        ),
        (["bump", f"{IMAGE}:v1", "--target", "file: .git/config, images: x"], 2, "not a path inside"),
        (["bump", f"{IMAGE}:v1", "--target", "file: a, file: b, images: x"], 2, "'file' is given twice"),
        (["bump", f"{IMAGE}:v1", "--target", "file: gone.yaml, images: x"], 3, "--target names it as a target, but it"),
        (["rollback", "mgp"], 3, "did you mean mpg?"),
        (["rollback", "mpg"], 3, "has no version before this one"),
        (["settle", "--gate", "http://127.0.0.1:9"], 5, "the gate cannot be reached"),
        (["settle", "--gate", "nonsense"], 5, "the gate cannot be reached"),
    ],
)
def test_mistakes_are_one_line(run: Run, arguments: list[str], code: int, words: str) -> None:
    ended, out, err = run(*arguments)
    assert (ended, out) == (code, "")
    assert words in err
    assert code == 2 or len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("commit", "words"),
    [
        ({"message": "{{ ''.__class__.__mro__ }}"}, "access to attribute '__class__' of 'str' object is unsafe"),
        ({"message": "{{ 'x' * 1000000000 }}"}, "too much memory"),
        ({"author": "Ada \x1b[31m<ada@example.com>"}, "is no author; write it as Name <address>"),
    ],
)
def test_a_hostile_style_in_model_yaml_is_one_line_and_no_commit(run: Run, commit: dict[str, str], words: str) -> None:
    model = Path("model-images/mpg/model.yaml")
    serving.commit(Path(), {str(model): f"{model.read_text()}commit: {json.dumps(commit)}\n"})
    code, out, err = run("bump", f"{IMAGE}:v1")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err and err.rstrip("\n").isprintable()
    assert serving.count(Path()) == 2
