"""Others push too, servers refuse, answers are lost, a run is killed anywhere: all land, none twice, nothing stuck."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from modelpack import gitops
from modelpack.errors import ProtectedError, RefusedError, RemoteError
from modelpack.gitops import Style, open_repository
from modelpack.gitops.change import wait
from modelpack.gitops.remote import faster, verdict
from tests.fakes import git_serving as serving
from tests.fakes.git_serving import DEPLOYMENT, git, wanted
from tests.integration.servers.git_http import GitServer


def bump(location: str | Path, version: str) -> tuple[gitops.Change, str]:
    with open_repository(str(location)) as repository:
        return gitops.bump(repository, wanted(version))


# --- refusals


@pytest.mark.parametrize(
    ("line", "is_race"),
    [
        ("[rejected] (fetch first)", True),
        ("[rejected] (non-fast-forward)", True),
        ("[rejected] (stale info)", True),
        ("[remote rejected] (cannot lock ref 'refs/heads/main': is at 1 but expected 2)", True),
        ("[remote rejected] (failed to update ref)", True),
        ("[remote rejected] (incorrect old value provided)", True),
        ("[remote rejected] (denying non-fast-forward refs/heads/main (you should pull first))", False),
        ("[remote rejected] (protected branch hook declined)", False),
        ("[remote rejected] (push declined due to repository rule violations)", False),
        ("[remote rejected] (pre-receive hook declined)", False),
        ("[remote rejected] (branch is currently checked out)", False),
    ],
)
def test_what_a_push_that_did_not_go_through_means(line: str, is_race: bool) -> None:
    by, why = verdict(f"To https://git.example.com/x.git\n!\tabc:refs/heads/main\t{line}\nDone\n")
    assert f"[{by}] ({why})" == line
    assert faster(by, why) is is_race


@pytest.mark.parametrize(
    ("hook", "script", "words"),
    [
        ("pre-receive", "echo 'GH006: Protected branch update failed for refs/heads/main.'", "GH006: Protected branch"),
        (
            "pre-receive",
            "echo 'GitLab: You are not allowed to push code to protected branches on this project.'",
            "GitLab",
        ),
        ("update", "echo 'Not allowed to push to protected branch main'", "(hook declined) Not allowed to push"),
        ("update", "echo 'fetch first: cannot lock ref'", "fetch first: cannot lock ref"),
    ],
)
@pytest.mark.parametrize("kind", ["bare", "http"])
def test_a_protected_branch_is_told_at_once(
    tmp_path: Path, git_http: GitServer, hook: str, script: str, words: str, kind: str
) -> None:
    url = git_http.create("serving")
    git(serving.worktree(tmp_path / "person"), "push", "--quiet", url, "main")
    bare = git_http.root / "serving.git"
    serving.hook(bare, f"echo run >> '{tmp_path}/runs'; {script} >&2; exit 1", hook)
    with pytest.raises(ProtectedError) as caught:
        bump(url if kind == "http" else bare, "v2")
    assert words in str(caught.value) and "failed to push" not in str(caught.value)
    assert (tmp_path / "runs").read_text() == "run\n"
    assert serving.count(bare) == 1


def test_a_server_that_ails_is_no_protected_branch(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    git(bare, "config", "receive.maxInputSize", "1")  # stands for a disk that is full
    with pytest.raises(RemoteError, match="unpacker error"):
        bump(bare, "v2")
    git(bare, "config", "--unset", "receive.maxInputSize")
    serving.hook(bare, "echo 'GitLab: Internal API unreachable' >&2; exit 1")
    with pytest.raises(RemoteError, match="Internal API unreachable"):
        bump(bare, "v2")


def test_a_login_that_may_only_read(tmp_path: Path, git_http: GitServer) -> None:
    url = git_http.create("serving")
    git(serving.worktree(tmp_path / "person"), "push", "--quiet", url, "main")
    git(git_http.root / "serving.git", "config", "http.receivepack", "false")
    with pytest.raises(RefusedError, match=r"this login may not do that: .*403") as caught:
        bump(url, "v2")
    assert not isinstance(caught.value, ProtectedError)


# --- races


def test_waits_grow_with_lost_races_and_shrink_towards_the_end() -> None:
    def longest(lost: int, took: float, left: float) -> float:
        return max(wait(lost, took, left) for _ in range(300))

    assert longest(1, 0.2, 300) <= 0.4 < longest(4, 0.2, 300) <= 3.2 < longest(9, 0.2, 300) <= 30
    assert 0.4 < longest(1, 2, 300) <= 4
    assert longest(9, 2, 8) <= 1


def test_a_lost_answer_is_a_commit_that_landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = serving.bare(tmp_path / "bare")
    lose = '"$real" "$@"; echo "fatal: the remote hung up" >&2; exit 128'
    wrapper(tmp_path, monkeypatch, f"if [ $verb = push ]; then {lose}; fi")
    commit = bump(bare, "v2")[1]
    assert commit == git(bare, "rev-parse", "main")
    assert serving.count(bare) == 2


def test_others_that_are_always_faster_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = serving.bare(tmp_path / "bare")
    there = f"\"$real\" -C '{bare}'"
    other = f"{there} update-ref refs/heads/main $({there} commit-tree -p main -m other 'main^{{tree}}')"
    wrapper(tmp_path, monkeypatch, f"if [ $verb = push ]; then {other}; fi")
    with open_repository(str(bare)) as repository, pytest.raises(RemoteError, match="others were faster on main"):
        gitops.land(repository, lambda tip: gitops.propose_bump(tip, wanted("v2")), patience=1.0)


def test_a_newer_version_is_known_from_history_where_the_file_has_the_digest_alone(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    person = tmp_path / "bare-origin"
    git(person, "remote", "add", "origin", str(bare))
    with open_repository(str(bare)) as late:
        bump(bare, "v10")
        git(person, "pull", "--quiet", "origin", "main")
        path = person / DEPLOYMENT  # a tool that keeps digests only comes after us
        serving.commit(person, {DEPLOYMENT: path.read_text().replace(":v10@", "@")})
        git(person, "push", "--quiet", "origin", "main")
        with pytest.raises(RefusedError, match="v10 was bumped meanwhile"):
            gitops.bump(late, wanted("v2"))


def test_two_rollbacks_at_once_go_back_once(tmp_path: Path) -> None:
    bare = serving.bare(tmp_path / "bare")
    for version in ("v2", "v3"):
        bump(bare, version)
    with open_repository(str(bare)) as late, open_repository(str(bare)) as early:
        gitops.rollback(early, "mpg")
        with pytest.raises(RefusedError, match="v2 was put in the place of v3 meanwhile"):
            gitops.rollback(late, "mpg", style=Style(report="another commit than the early one's"))
    assert serving.image("v2") in serving.served(bare)


def test_a_branch_of_a_checkout_with_a_lock_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = serving.worktree(tmp_path / "work")
    (folder / ".git/index.lock").touch()
    monkeypatch.setattr("modelpack.gitops.checkout.LOCK_SECONDS", 0.5)
    with pytest.raises(RefusedError, match=r"index\.lock.*if none is, remove the lock file"):
        bump(folder, "v2")
    assert serving.count(folder) == 1


# --- killed


def wrapper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let `git` be a shell script that runs first, with $real the true one and $verb the command."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    real = shutil.which("git")
    verb = """\
for each; do
  case $before$each in -c*) before=;; *) verb=$each; break;; esac
  [ "$each" != -c ] || before=-c
done"""
    (programs / "git").write_text(f'#!/bin/sh\nreal={real}\n{verb}\n{script}\nexec "$real" "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


def apart(location: Path, version: str) -> BaseProcess:
    """A process that bumps."""
    process = multiprocessing.get_context("fork").Process(target=bump, args=(location, version))
    process.start()
    return process


@pytest.mark.parametrize("kind", ["work", "clone", "bare"])
def test_killed_after_any_step_the_next_run_finishes_and_never_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bare = serving.bare(tmp_path / "bare")
    location = serving.worktree(tmp_path / "work") if kind == "work" else bare
    if kind == "clone":
        location = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", "bare", "clone")
    ends = location if kind == "work" else bare
    count = tmp_path / "count"
    kill = '"$real" "$@" >/dev/null 2>&1; kill -9 "$PPID"; exit 137'
    wrapper(tmp_path, monkeypatch, f"n=$(cat '{count}'); echo $((n - 1)) > '{count}'; if [ $n = 1 ]; then {kill}; fi")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    step, ended = 0, False
    while not ended:
        step += 1
        version, before = f"v{step + 1}", serving.count(ends)
        count.write_text(f"{step}\n")
        process = apart(location, version)
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
        ended = process.exitcode == 0
        count.write_text("0\n")
        bump(location, version)
        assert serving.count(ends) == before + 1
        assert serving.served(ends) == serving.deployment(version)
        assert not list(location.rglob("*.lock"))
        assert kind == "bare" or git(location, "status", "--porcelain") == ""
    assert step > 10


def test_ctrl_c_leaves_no_half_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = serving.worktree(tmp_path / "work")
    wrapper(tmp_path, monkeypatch, f"if [ $verb = merge ]; then touch '{tmp_path}/merging'; sleep 1; fi")
    process = apart(folder, "v2")
    until = time.monotonic() + 20
    while not (tmp_path / "merging").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert process.pid
    os.kill(process.pid, signal.SIGINT)
    process.join(20)
    assert process.exitcode
    assert serving.count(folder) == 2
    assert serving.served(folder) == serving.deployment("v2")
    assert git(folder, "status", "--porcelain") == ""
    assert not list(folder.rglob("*.lock"))


@pytest.mark.parametrize("words", ["No space left on device", "Read-only file system", "Disk quota exceeded"])
@pytest.mark.parametrize("verb", ["hash-object", "commit-tree", "merge", "fetch"])
def test_a_disk_that_takes_no_more_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, words: str
) -> None:
    folder = serving.worktree(tmp_path / "work")
    location = serving.bare(tmp_path / "bare") if verb == "fetch" else folder
    fail = f"echo 'fatal: cannot write: {words}' >&2; exit 128"
    wrapper(tmp_path, monkeypatch, f"if [ $verb = {verb} ]; then {fail}; fi")
    with pytest.raises(RemoteError, match=f"cannot be written: {words}"):
        bump(location, "v2")
    assert serving.count(location) == 1


def test_a_dozen_at_once_all_land_over_http(tmp_path: Path, git_http: GitServer) -> None:
    url = git_http.create("serving")
    git(serving.worktree(tmp_path / "person"), "push", "--quiet", url, "main")
    errors: list[BaseException] = []

    def run(version: str) -> None:
        try:
            bump(url, version)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"build-{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    bare = git_http.root / "serving.git"
    assert serving.count(bare) == 13
    subjects = git(bare, "log", "--reverse", "--format=%s", "main").splitlines()[1:]
    steps = [subject.removeprefix("mpg: ").split(" -> ") for subject in subjects]
    assert [old for old, _ in steps] == ["v1", *(new for _, new in steps[:-1])]
