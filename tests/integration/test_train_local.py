"""Runs as processes of this machine: they outlive whoever started them, and leave nothing behind however they end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelpack.gitops import open_repository
from modelpack.runs import Backend, keeper, open_backend
from modelpack.training.ask import Asked, ask
from modelpack.training.run import Seen, State
from tests.command import modelpack
from tests.fakes import training as fake

SLEEPS = 'import os, time; print("at work", flush=True); time.sleep(600)'


class World:
    """A repository, an image layout and a state folder."""

    def __init__(self, root: Path, more: dict[str, str]) -> None:
        self.root = root
        self.repo = fake.repository(root / "repo", more)
        self.via = fake.via(root)
        self.state = root / "runs"

    def asked(self) -> Asked:
        with open_repository(str(self.repo)) as repository:
            words = {"parameters": {}, "known": (), "reason": "asked for", "now": 1.0}
            return ask(repository, str(self.repo), "line", self.via, **words)  # type: ignore[arg-type]

    def backend(self, asked: Asked, repository: str = "") -> Backend:
        return open_backend(asked.training, self.state, self.via, repository=repository)


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    return lambda more=None: World(tmp_path, more or {})


def sleeping(program: str = SLEEPS) -> dict[str, str]:
    return {"fit.py": program}


def until(backend: Backend, asked: Asked, told: Callable[[Seen], bool], seconds: float = 30) -> Seen:
    end = time.monotonic() + seconds
    while True:
        seen = backend.look(asked.run)
        if told(seen):
            return seen
        assert time.monotonic() < end, f"{seen}\n{backend.log(asked.run)}"
        time.sleep(0.1)


def over(seen: Seen) -> bool:
    return seen.state.over


def at_work(backend: Backend, asked: Asked) -> None:
    until(backend, asked, lambda seen: "at work" in backend.log(asked.run))


def processes_in(folder: Path) -> list[int]:
    """Those whose working directory or command lies in a folder, zombies aside."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().decode(errors="replace") + str((each / "cwd").resolve())
        except OSError:
            continue
        if str(folder) in words and int(each.name) != os.getpid():
            found.append(int(each.name))
    return found


def gone(folder: Path, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while processes_in(folder):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def group_of(world: World, asked: Asked) -> int:
    return int(json.loads((world.state / asked.run.id / keeper.STARTED).read_text())["group"])


def keeper_of(world: World, asked: Asked) -> int:
    """The keeper is the parent of the run's first process."""
    stat = Path(f"/proc/{group_of(world, asked)}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_a_run_trains_evaluates_and_packages(world: Callable[..., World]) -> None:
    here = world()
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    seen = until(backend, asked, over)
    assert seen.state is State.SUCCEEDED and seen.result is not None and seen.result.passed
    assert seen.result.image.startswith("registry.local/models/line:v1@sha256:")
    assert 0 < seen.started <= seen.ended
    assert backend.runs("line") == (asked.run,) and backend.runs("other") == ()
    backend.start(asked.run, asked.training)  # asked again, it is not run again
    assert backend.look(asked.run) == seen
    backend.remove(asked.run)
    assert backend.look(asked.run).state is State.LOST and not (here.state / asked.run.id).exists()


def test_started_by_two_at_once_there_is_one_run(world: Callable[..., World]) -> None:
    here = world(sleeping())
    asked = here.asked()
    one, other = here.backend(asked), here.backend(asked)
    one.start(asked.run, asked.training)
    other.start(asked.run, asked.training)
    at_work(one, asked)
    assert one.log(asked.run).count("--- fetch") == 1
    one.cancel(asked.run)
    until(one, asked, over)


def test_cancelled_all_of_it_ends(world: Callable[..., World]) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPS}"
    here = world(sleeping(stubborn))
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    at_work(backend, asked)
    backend.cancel(asked.run)
    seen = until(backend, asked, over)
    assert seen.state is State.CANCELLED and not seen.retryable
    assert gone(here.state / asked.run.id)


def test_what_leaves_the_runs_group_ends_with_it_too(world: Callable[..., World]) -> None:
    leaves = f"""import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", os.getcwd()], start_new_session=True)
{fake.FIT}"""
    here = world({"fit.py": leaves})
    asked = here.asked()
    backend = here.backend(asked)
    began = time.monotonic()
    backend.start(asked.run, asked.training)
    seen = until(backend, asked, over)
    assert seen.state is State.SUCCEEDED and gone(here.state / asked.run.id, 0.5)
    assert time.monotonic() - began < keeper.GRACE  # nobody waited for it


def test_a_runs_folder_is_its_owners_alone(world: Callable[..., World]) -> None:
    here = world()
    asked = here.asked()
    folder = here.state / asked.run.id
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # as whoever writes the training.yaml down makes it
    here.backend(asked).start(asked.run, asked.training)
    assert folder.stat().st_mode & 0o777 == 0o700
    until(here.backend(asked), asked, over)


def test_a_keepers_environment_is_its_own(tmp_path: Path) -> None:
    """Linux gives /proc/PID/environ of a process that is not dumpable to nobody else: proc_pid_environ(5)."""
    program = """if True:
        import ctypes, os, sys
        from pathlib import Path
        from modelpack.runs import keeper
        with open(os.devnull) as lock:
            os.environ[keeper.LOCK] = str(lock.fileno())
            keeper.main(Path(sys.argv[1]), 60.0, [sys.executable, "-c", ""])
        print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"""
    words = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "dumpable 0\n"


def test_out_of_time_it_ends(world: Callable[..., World]) -> None:
    here = world(sleeping())
    asked = here.asked()
    training = replace(asked.training, runs=replace(asked.training.runs, timeout=4.0))
    backend = here.backend(asked)
    backend.start(asked.run, training)
    seen = until(backend, asked, over)
    assert seen.state is State.FAILED and "longer than it may" in seen.message and not seen.retryable
    assert gone(here.state / asked.run.id)


def test_it_goes_on_when_whoever_started_it_is_killed(world: Callable[..., World]) -> None:
    here = world({"fit.py": f"import time; time.sleep(2)\n{fake.FIT}"})
    asked = here.asked()
    script = (
        "import sys, time; from pathlib import Path; from tests.integration.test_train_local import World;"
        "from tests.fakes import training as fake; from modelpack.runs import open_backend;"
        "import modelpack.training.folder as f, modelpack.training.definition as d;"
        "folder = f.Folder(Path(sys.argv[1])); run = folder.run();"
        "training = d.parse(Path(sys.argv[2]).read_bytes(), 'training.yaml');"
        "open_backend(training, Path(sys.argv[3]), fake.via(Path(sys.argv[4]))).start(run, training);"
        "print('started', flush=True); time.sleep(600)"
    )
    given = here.root / "given"
    from modelpack.training.folder import Folder

    Folder(given).put_run(asked.run)
    words = [str(given), str(here.repo / fake.FOLDER / "training.yaml"), str(here.state), str(here.root)]
    starter = subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, start_new_session=True, cwd=Path.cwd()
    )
    assert starter.stdout is not None and starter.stdout.readline() == b"started\n"
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    seen = until(here.backend(asked), asked, over)
    assert seen.result is not None and seen.result.passed


def test_killed_as_a_whole_it_is_lost(world: Callable[..., World]) -> None:
    here = world(sleeping())
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    at_work(backend, asked)
    for pid in processes_in(here.state / asked.run.id):
        os.kill(pid, signal.SIGKILL)
    seen = until(backend, asked, over)
    assert seen.state is State.LOST and seen.retryable
    backend.start(asked.run, asked.training)  # another attempt is another run
    assert backend.look(asked.run).state is State.LOST


def test_without_its_keeper_nothing_of_it_is_left(world: Callable[..., World]) -> None:
    here = world(sleeping())
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    at_work(backend, asked)
    os.kill(keeper_of(here, asked), signal.SIGKILL)
    assert until(backend, asked, over).state is State.LOST
    assert gone(here.state / asked.run.id)


def test_killed_by_the_kernel_it_may_be_tried_again(world: Callable[..., World]) -> None:
    here = world(sleeping())
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    at_work(backend, asked)
    os.kill(group_of(here, asked), signal.SIGKILL)  # the step alone, as where memory runs out
    seen = until(backend, asked, over)
    assert seen.state is State.FAILED and seen.retryable and "SIGKILL" in seen.message
    assert gone(here.state / asked.run.id)


def test_a_training_that_fails_says_why(world: Callable[..., World]) -> None:
    here = world({"fit.py": "raise SystemExit('no such column')"})
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    seen = until(backend, asked, over)
    assert seen.state is State.FAILED and not seen.retryable
    assert "python fit.py: ended with exit code 1" in seen.message
    assert "no such column" in backend.log(asked.run)


def test_a_log_is_bounded_and_its_end_is_kept(world: Callable[..., World]) -> None:
    noise = f'for n in range({3 * keeper.LOG_BYTES} // 1000): print("x" * 999)\nprint("the last words", flush=True)'
    here = world({"fit.py": f"{noise}\nraise SystemExit(1)"})
    asked = here.asked()
    backend = here.backend(asked)
    backend.start(asked.run, asked.training)
    until(backend, asked, over, 60)
    text = backend.log(asked.run)
    assert len(text) < 2.2 * keeper.LOG_BYTES and "the last words" in text


def test_logins_are_told_to_nobody(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "hush-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-key")
    here = world({"fit.py": f"import os; print(dict(os.environ), flush=True)\n{fake.FIT}"})
    asked = here.asked()
    backend = here.backend(asked, repository=f"file://robot:hush-login@localhost{here.repo}")
    backend.start(asked.run, asked.training)
    seen = until(backend, asked, over)
    assert seen.result is not None and seen.result.passed, seen
    for file in (here.state / asked.run.id).rglob("*"):
        if file.is_file():
            assert b"hush" not in file.read_bytes(), file


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_is_a_failure_that_may_be_tried_again(world: Callable[..., World]) -> None:
    here = world({"points.csv": fake.points(30_000)})
    asked = here.asked()
    here.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(here.state)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.decode()}")
    try:
        backend = here.backend(asked)
        backend.start(asked.run, asked.training)
        seen = until(backend, asked, over)
        assert seen.state in (State.FAILED, State.LOST) and seen.retryable, seen
    finally:
        subprocess.run(["umount", str(here.state)], check=True)
        shutil.rmtree(here.state)


def test_a_disk_without_room_for_a_run_leaves_none_and_uses_up_no_version(world: Callable[..., World]) -> None:
    here = world()
    here.state.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(here.state)]
    mounted = subprocess.run(words, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.decode()}")
    via = f"registry.local/=oci:{here.root / 'images'}"
    try:
        for filled in (0, 4096):  # no room beside two files, none at all
            (here.state / "filled").write_bytes(b"x" * filled)
            done = modelpack("train", "line", "--repo", here.repo, "--state", here.state, "--via", via, cwd=here.root)
            assert done.code == 5 and "No space left on device" in done.sentence
            assert [*here.state.glob("line-*")] == []
    finally:
        subprocess.run(["umount", str(here.state)], check=True)
        here.state.rmdir()
