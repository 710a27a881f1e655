"""A repository whose model trains by a backend that is only files: whoever looks sees what a test wrote there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelpack import lineage
from modelpack.gitops.proposal import write
from modelpack.gitops.pull import Pulled, branch_of, open_pull
from modelpack.quality.evaluation import Evaluation, Row
from modelpack.reconcile.look import Rooms
from modelpack.reconcile.loop import LOOPS, reconcile_once
from modelpack.reconcile.outcome import Outcome
from modelpack.reconcile.state import Memory
from modelpack.reference import Reference
from modelpack.registry import Via, open_repository
from modelpack.training.definition import Training
from modelpack.training.folder import seen_from_json, seen_to_json
from modelpack.training.run import Result, Run, Seen, State, from_json, to_json
from tests.fakes import training, versions
from tests.fakes.forge import FakeForge
from tests.fakes.git_serving import commit, git

IMAGE = Reference.parse("registry.local/models/line")
POINTS = f"{training.FOLDER}/points.csv"
NOW = 1_800_000_000.0


@dataclass
class FakeBackend:
    """Runs as files of a folder. `automatic`: a look at one that goes on ends it well, as `end` does."""

    folder: Path
    via: Via
    automatic: bool = False
    error: Exception | None = None

    def start(self, run: Run, training: Training) -> None:
        self._fail()
        path = self.folder / f"{run.id}.json"
        if not path.exists():
            with (self.folder / "started").open("a") as log:
                log.write(f"{run.id}\n")
            self._write(run, Seen(State.RUNNING, started=run.created))

    def look(self, run: Run) -> Seen:
        self._fail()
        path = self.folder / f"{run.id}.json"
        if not path.exists():
            return Seen(State.LOST, "nothing is known of it", retryable=True)
        seen = seen_from_json(json.loads(path.read_bytes())["seen"])
        if self.automatic and not seen.state.over:
            return self.end(run, passed=True)
        return seen

    def cancel(self, run: Run) -> None:
        self._write(run, Seen(State.CANCELLED))

    def log(self, run: Run) -> str:
        return ""

    def remove(self, run: Run) -> None:
        self._fail()
        (self.folder / f"{run.id}.json").unlink(missing_ok=True)

    def runs(self, model: str) -> tuple[Run, ...]:
        found = (from_json(json.loads(each.read_bytes())["run"]) for each in sorted(self.folder.glob("*.json")))
        return tuple(each for each in found if each.model == model)

    def end(self, run: Run, *, passed: bool, ended: float = 0.0, dvc: str = "") -> Seen:
        """What the last step of a run does: records in the registry, and the model if it passed."""
        if run.kind == "experiment":
            found, image = compared(run, passed=passed, ended=ended or run.created), ""
        else:
            found, image = package(self.via, run, passed=passed, ended=ended or run.created, dvc=dvc)
        seen = Seen(State.SUCCEEDED, "", run.created, ended or run.created, Result(passed, found.reason, image, found))
        self._write(run, seen)
        return seen

    def put(self, run: Run, seen: Seen) -> None:
        self._write(run, seen)

    def _write(self, run: Run, seen: Seen) -> None:
        path = self.folder / f"{run.id}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"run": to_json(run), "seen": seen_to_json(seen)}))
        part.replace(path)

    def _fail(self) -> None:
        if self.error:
            raise self.error


def named(location: str, branch: str) -> str:
    """The version that Git names; on a server, where tests merge last, the first one."""
    if "://" in location:
        return "v0"
    text = git(Path(location), "show", f"{branch}:manifests/line.yaml")
    return text.partition("models/line:")[2].partition('"')[0].partition("@")[0]


def compared(run: Run, *, passed: bool, ended: float) -> Evaluation:
    """What a comparison of two pipelines leaves: a table, and nothing in the registry."""
    reason = "not worse than production" if passed else "mae is worse by more than 0.05"
    rows = (Row("folds", "", "mae", 60, 0.5, 0.4 if passed else 0.9, verdict="pass" if passed else "fail"),)
    about = ("line", "experimental", "production", passed, reason, 0.95, rows)
    return Evaluation(*about, data=run.data, code=run.code, run=run.id, ended=ended)


def package(via: Via, run: Run, *, passed: bool, ended: float, dvc: str = "") -> tuple[Evaluation, str]:
    """A version in the registry, as a run leaves it."""
    reason = "not worse than the current model" if passed else "mae is worse by more than 0.05"
    rows = (Row("held-out", "", "mae", 40, 0.5, 0.4 if passed else 0.9, verdict="pass" if passed else "fail"),)
    found = Evaluation(
        "line",
        run.version,
        named(run.repository, run.branch),
        passed,
        reason,
        0.95,
        rows,
        data=run.data,
        code=run.code,
        run=run.id,
        ended=ended,
    )
    if not passed:
        lineage.put_evaluation(IMAGE.at(tag=run.version), found, via)
        return found, ""
    image = versions.package(open_repository(IMAGE, via), run.version)
    lineage.put_evaluation(image, found, via)
    about = versions.origin(
        run.version, run=run.id, commit=run.commit, folder=run.folder, data=run.data, code=run.code, dvc=dvc
    )
    lineage.put_provenance(image, about, via)
    return found, str(image)


@dataclass
class Scene:
    """A repository at `location`, all that reconcilers look at beside it, and a clock that the test moves."""

    root: Path
    propose: str = "commit"
    more: str = ""
    now: float = NOW
    forge: FakeForge = field(default_factory=FakeForge)
    gate: str = ""
    location: str = ""
    branch: str = "main"
    open_forge: Callable[[str], FakeForge] | None = None
    backend: FakeBackend = field(init=False)
    via: Via = field(init=False)
    request: Callable[..., Pulled] | None = field(init=False)

    def __post_init__(self) -> None:
        text = f"{training.TRAINING}propose: {self.propose}\n{self.more}"
        self.worktree = training.repository(self.root / "repo", {"training.yaml": text})
        self.via = training.via(self.root)
        (self.root / "backend").mkdir()
        self.backend = FakeBackend(self.root / "backend", self.via)
        self.request = self._request
        if not self.location:
            self.location = str(self.worktree)
        if self.propose != "commit":
            git(self.root, "clone", "--quiet", "--bare", "repo", "bare")
            self.location = str(self.root / "bare")
            git(self.worktree, "remote", "add", "origin", self.location)
            git(self.worktree, "fetch", "--quiet", "origin")
            git(self.worktree, "branch", "--quiet", "--set-upstream-to", "origin/main")

    @property
    def rooms(self) -> Rooms:
        folder = self.root / "home/runs"
        given: dict[str, Any] = {
            "now": lambda: self.now,
            "open_backend": lambda training, rooms: self.backend,
            "open_forge": self.open_forge or (lambda url: self.forge),
        }
        return Rooms(self.location, self.branch, folder, self.via, self.gate, **given)

    def memory(self) -> Memory:
        return Memory(self.root / "home")

    def round(self, only: Sequence[str] = LOOPS) -> list[Outcome]:
        with self.memory() as memory:
            return list(reconcile_once(self.rooms, memory, (), only, self.request))

    def rest(self, rounds: int = 12) -> list[Outcome]:
        """Rounds until one does nothing; what all of them did."""
        done: list[Outcome] = []
        for _ in range(rounds):
            found = self.round()
            done += [each for each in found if not each.idle]
            if all(each.idle for each in found) and not any(each.action == "waiting" for each in found):
                return done
        raise AssertionError(f"it never rests: {found}")

    def end(self, *, passed: bool = True, dvc: str = "") -> Run:
        """The run that goes on comes to its end."""
        run = next(each for each in self.backend.runs("line") if not self.backend.look(each).state.over)
        self.backend.end(run, passed=passed, ended=self.now, dvc=dvc)
        return run

    def put(self, seen: Seen) -> Run:
        run = next(each for each in self.backend.runs("line") if not self.backend.look(each).state.over)
        self.backend.put(run, replace(seen, ended=seen.ended or self.now))
        return run

    @property
    def started(self) -> list[str]:
        path = self.root / "backend/started"
        return path.read_text().split() if path.exists() else []

    def change(self, content: dict[str, str] | None = None, slope: float = 2.0) -> str:
        """Somebody pushes other data, or other files."""
        made = commit(self.worktree, content or {POINTS: training.points(slope=slope)}, "a person's commit")
        if self.propose != "commit":
            git(self.worktree, "pull", "--quiet", "--rebase", "origin", "main")
            git(self.worktree, "push", "--quiet", "origin", "main")
        return made

    def named(self) -> str:
        return named(self.location, self.branch)

    def log(self) -> list[str]:
        return git(Path(self.location), "log", "--format=%s", self.branch).splitlines()

    def _request(
        self, repository: Any, propose: Any, *, model: str, environment: str, judged: Any, dry_run: bool, **rest: Any
    ) -> Pulled:
        return open_pull(
            repository,
            self.forge,
            propose,
            branch=branch_of(model, environment),
            compose=lambda change: write(change, judged=judged, environment=environment),
            requested=rest["requested"],
            furnished=rest["furnished"],
            dry_run=dry_run,
        )


def lines(outcomes: Sequence[Outcome]) -> list[str]:
    """What was done, in words."""
    return [f"{each.what} {each.action}" for each in outcomes]
