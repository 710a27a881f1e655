"""Many bump at once, each a process with a clone of its own, over HTTP: `python -m benchmarks.bumpers`

Once each its own of as many models, which have to land all; once all of them the same model, each another version, of
which the highest has to stay and none may follow a higher one. All have read the branch before the first may push.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Empty
from typing import Any

from benchmarks.measure import table
from modelpack import gitops
from modelpack.errors import ModelpackError, RefusedError
from modelpack.gitops import Wanted
from modelpack.reference import Reference
from tests.fakes import git_serving as serving
from tests.integration.servers.git_http import GitServer, git_http

BUMPERS = 100
WITHIN = 600  # seconds
_SEED = 5
_LOG = "%(trailers:key=Model,valueonly,separator=%x2C)\t%(trailers:key=Version,valueonly,separator=%x2C)"


@dataclass(frozen=True)
class Bump:
    """What one bumper wants: a version of a model."""

    model: str
    version: str

    @property
    def image(self) -> str:
        return serving.image(self.version).replace("mpg", self.model)


@dataclass(frozen=True)
class End:
    """What became of it. `pushes` includes the one that landed; `seconds` count from the moment that all may begin."""

    bump: Bump
    commit: str
    pushes: int
    seconds: float
    refused: str = ""
    failed: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bumpers", type=int, default=BUMPERS, help=f"{BUMPERS} unless told")
    parser.add_argument("--within", type=float, default=WITHIN, help=f"seconds each, {WITHIN} unless told")
    options = parser.parse_args()
    many = [Bump(f"model-{number:03}", "v2") for number in range(options.bumpers)]
    one = [Bump("mpg", f"v{number + 2}") for number in range(options.bumpers)]
    random.Random(_SEED).shuffle(one)
    rows, problems = [], list[str]()
    with tempfile.TemporaryDirectory(prefix="modelpack-bumpers-") as folder, git_http(Path(folder) / "git") as server:
        for name, bumps, check in (("a model each", many, _each_landed), ("one model, rising", one, _highest_stays)):
            url = _repository(server, Path(folder), sorted({each.model for each in bumps}))
            ends = _race(url, bumps, options.within)
            bare = server.root / f"{Path(url).stem}.git"
            problems += [f"{name}: {problem}" for problem in check(bare, bumps, ends)]
            rows.append(_row(name, ends, serving.count(bare) - 1))
    print(f"{options.bumpers} bumpers at once, {len(os.sched_getaffinity(0))} cores, {_git_version()} over HTTP\n")
    print(table(("", "s", "landed", "newer was there", "failed", "commits", "pushes", "most by one", "median s"), rows))
    print(*(problems or ["all landed, none lost, none doubled, none downgraded"]), sep="\n")
    return int(bool(problems))


def _row(name: str, ends: Sequence[End], commits: int) -> Sequence[str]:
    return (
        name,
        f"{max(end.seconds for end in ends):.1f}",
        str(sum(bool(end.commit) for end in ends)),
        str(sum(bool(end.refused) for end in ends)),
        str(sum(bool(end.failed) for end in ends)),
        str(commits),
        str(sum(end.pushes for end in ends)),
        str(max(end.pushes for end in ends)),
        f"{statistics.median(end.seconds for end in ends):.1f}",
    )


def _repository(server: GitServer, folder: Path, models: Sequence[str]) -> str:
    """A serving repository with these models, each at v1."""
    name = f"serving-{len(models)}"
    work = serving.worktree(folder / name)
    files = {
        path.replace("mpg", model): text.replace("mpg", model)
        for model in models
        for path, text in serving.files("v1").items()
    }
    if "mpg" not in models:
        serving.git(work, "rm", "--quiet", "-r", "model-images", "manifests")
        serving.commit(work, files, "the models")
    url = server.create(name)
    # as one commit, so that what comes after it can be counted
    serving.git(work, "checkout", "--quiet", "--orphan", "first")
    serving.git(work, "commit", "--quiet", "--message", "serve")
    serving.git(work, "push", "--quiet", url, "HEAD:main")
    return url


def _race(url: str, bumps: Sequence[Bump], within: float) -> list[End]:
    """Let all of them go at once. Who has not come back in time has failed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fakes.git_serving"])  # or each would spend its time on imports
    barrier, answers = context.Barrier(len(bumps)), context.Queue()
    rest = (barrier, answers, within)
    processes = [context.Process(target=_bump, args=(url, bump, *rest), daemon=True) for bump in bumps]
    for process in processes:
        process.start()
    ends: dict[Bump, End] = {}
    last = time.monotonic() + 2 * within  # opening the repository, and the race
    while len(ends) < len(bumps):
        try:
            end = answers.get(timeout=max(0.0, last - time.monotonic()))
        except Empty:
            break
        ends[end.bump] = end
        print(f"{len(ends)}/{len(bumps)}  {end.bump.model} {end.bump.version}", file=sys.stderr, flush=True)
    for process in processes:
        process.kill()
        process.join()
    return [ends.get(bump, End(bump, "", 0, within, failed="did not come back")) for bump in bumps]


def _bump(url: str, bump: Bump, barrier: Barrier, answers: Any, within: float) -> None:
    wanted = Wanted(Reference.parse(bump.image), bump.version, serving.digest(f"{bump.model} {bump.version}"))
    pushes, started, commit, refused, failed = 0, 0.0, "", "", ""
    try:
        with gitops.open_repository(url) as repository:
            publish = repository.publish

            def counted(commit: str) -> bool:
                nonlocal pushes
                pushes += 1
                return publish(commit)

            repository.publish = counted  # type: ignore[method-assign]
            barrier.wait(within)
            started = time.monotonic()
            _, commit = gitops.bump(repository, wanted)
    except RefusedError as error:
        refused = str(error)
    except (ModelpackError, OSError, RuntimeError) as error:
        failed = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started if started else within
    answers.put(End(bump, commit, pushes, seconds, refused, failed))


def _landed(bare: Path) -> list[Bump]:
    """The bumps that the branch's commits name, oldest first."""
    lines = serving.git(bare, "log", "--reverse", "--first-parent", f"--format={_LOG}", "main").splitlines()
    return [Bump(*line.split("\t")) for line in lines if "\t" in line.strip()]


def _served(bare: Path, bump: Bump) -> bool:
    text = serving.git(bare, "show", f"main:{serving.DEPLOYMENT.replace('mpg', bump.model)}")
    return text + "\n" == serving.deployment(bump.version).replace("mpg", bump.model)


def _each_landed(bare: Path, bumps: Sequence[Bump], ends: Sequence[End]) -> list[str]:
    landed = collections.Counter(_landed(bare))
    return [
        *_failures(ends),
        *(f"{end.bump.model} was refused: {end.refused}" for end in ends if end.refused),
        *(f"{bump.model} has {landed[bump]} commits" for bump in bumps if landed[bump] != 1),
        *(f"{bump.model} is not what was bumped" for bump in bumps if not _served(bare, bump)),
    ]


def _highest_stays(bare: Path, bumps: Sequence[Bump], ends: Sequence[End]) -> list[str]:
    order = {bump: int(bump.version[1:]) for bump in bumps}
    landed = _landed(bare)
    versions = [order[each] for each in landed]
    highest = max(bumps, key=order.__getitem__)
    said = {end.bump for end in ends if end.commit}
    return [
        *_failures(ends),
        *(f"v{now} came after v{before}" for before, now in itertools.pairwise(versions) if now <= before),
        *([] if _served(bare, highest) else [f"{highest.version} is not what stayed"]),
        *([] if said == set(landed) else ["who says that it landed is not who did"]),
    ]


def _failures(ends: Sequence[End]) -> list[str]:
    kinds = collections.Counter(end.failed for end in ends if end.failed)
    return [f"{count} failed: {words}" for words, count in kinds.most_common(5)]


def _git_version() -> str:
    return subprocess.run(["git", "--version"], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
