"""The steps of a run, one after another, in one folder: what each leaves, when they stop, what a repetition does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from modelpack import fetch, lineage
from modelpack.errors import InputError, ModelpackError, NotFoundError, RemoteError
from modelpack.gitops import open_repository
from modelpack.lineage.records import EVALUATION
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.registry import open_repository as open_images
from modelpack.training.ask import ask
from modelpack.training.context import Context
from modelpack.training.folder import Folder
from modelpack.training.run import Run, Seen, State
from modelpack.training.steps import KINDS, check_passed, parse, run_steps
from tests.fakes import registry
from tests.fakes import training as fake
from tests.fakes.git_serving import commit

IMAGE = Reference.parse("registry.local/models/line")


@dataclass
class World:
    """A repository with the model, a place for images, and runs that are asked for one after another."""

    root: Path
    repo: Path
    via: Via
    said: list[str] = field(default_factory=list)

    def run(self, **changes: Any) -> Run:
        with open_repository(str(self.repo)) as repository:
            found = ask(repository, str(self.repo), "line", self.via, parameters={}, known=(), reason="new", now=1.0)
        return replace(found.run, **changes)

    def context(self, run: Run | None = None) -> Context:
        run = run or self.run()
        folder = Folder(self.root / "runs" / run.id)
        if not folder.run_file.exists():
            folder.put_run(run)
        return Context(folder, run, self.via, self.said.append, lambda: 100.0)

    def all(self, run: Run | None = None) -> Seen:
        return run_steps(KINDS["train"], self.context(run), resume=True)

    def serve(self, image: str) -> None:
        """Name an image in Git."""
        commit(self.repo, {"manifests/line.yaml": fake.DEPLOYMENT.replace("registry.local/models/line:v0", image)})

    def change(self, **files: str) -> None:
        commit(self.repo, {f"{fake.FOLDER}/{name.replace('_', '.')}": text for name, text in files.items()})


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    def make(more: dict[str, str] | None = None) -> World:
        return World(tmp_path, fake.repository(tmp_path / "repo", more), fake.via(tmp_path))

    return make


def with_training(old: str, new: str) -> dict[str, str]:
    assert old in fake.TRAINING
    return {"training.yaml": fake.TRAINING.replace(old, new)}


def test_a_model_that_passes_is_an_image_with_its_records(world: Callable[..., World]) -> None:
    here = world()
    run = here.run(parameters={"slope": 2.0002})
    seen = here.all(run)
    assert seen.state is State.SUCCEEDED and seen.result is not None and seen.result.passed
    resolved = fetch.resolve(Reference.parse(seen.result.image), here.via)
    assert (resolved.model, resolved.version) == ("line", "v1")
    assert set(resolved.metrics) == {"mae", "rows"}
    assert resolved.lineage == {"data": run.data, "code": run.code, "commit": run.commit, "run": run.id}
    (version,) = lineage.versions(IMAGE, here.via)
    assert version.passed and version.evaluation == seen.result.evaluation
    assert version.origin is not None
    assert dict(version.origin.parameters) == {"slope": 2.0002} and version.origin.commit == run.commit
    assert version.evaluation is not None and version.evaluation.digests is not None
    assert set(version.evaluation.digests) == {"held-out"}


def test_a_model_that_does_not_pass_is_no_image_but_a_record(world: Callable[..., World]) -> None:
    here = world()
    seen = here.all(here.run(parameters={"slope": 1.0}))
    assert seen.state is State.SUCCEEDED and seen.result is not None
    assert not seen.result.passed and not seen.result.image and "mae" in seen.result.reason
    (version,) = lineage.versions(IMAGE, here.via)
    assert version.version == "v1" and version.reference is None and version.passed is False
    with pytest.raises(ModelpackError, match="mae"):
        check_passed(seen)
    assert here.run().version == "v2"  # v1 is taken


def test_a_candidate_is_held_against_what_git_names(world: Callable[..., World]) -> None:
    here = world()
    first = here.all()
    assert first.result is not None and first.result.evaluation is not None
    assert first.result.evaluation.against == ""
    here.serve(first.result.image)
    seen = here.all(here.run(parameters={"slope": 2.002}))  # within the limit, and worse than v1
    assert seen.result is not None and seen.result.evaluation is not None
    assert seen.result.evaluation.against == "v1" and not seen.result.passed
    (row,) = [each for each in seen.result.evaluation.rows if not each.group]
    assert row.old is not None and row.new is not None and row.old < row.new < 0.5


def test_a_current_model_that_is_lost_is_no_reason_to_pass(world: Callable[..., World]) -> None:
    here = world()
    first = here.all()
    assert first.result is not None
    here.serve(f"{first.result.image.partition('@')[0]}@sha256:{'0' * 64}")
    with pytest.raises(NotFoundError, match="Git names it, and it cannot be had"):
        here.all()


def test_the_current_model_is_asked_by_the_code_that_it_was_made_with(world: Callable[..., World]) -> None:
    here = world()
    first = here.all()
    assert first.result is not None
    here.serve(first.result.image)
    here.change(fit_py=fake.FIT.replace("model.json", "line.json"), ask_py=fake.ASK.replace("model.json", "line.json"))
    seen = here.all()
    assert seen.result is not None and seen.result.passed and seen.result.evaluation is not None
    assert seen.result.evaluation.against == "v1"


def test_a_current_model_that_cannot_be_asked_is_no_reason_to_pass(world: Callable[..., World]) -> None:
    here = world()
    first = here.all()
    assert first.result is not None
    here.serve(first.result.image)
    broken = fake.ASK.replace('"model.json"', '"line.json"')
    here.change(fit_py=fake.FIT.replace("model.json", "line.json"), ask_py=broken)
    run = here.run()
    for path in (here.root / "images").rglob("index.json"):  # an image that does not tell its commit
        assert path.is_file()
    context = here.context(run)
    run_steps(("fetch", "validate", "test", "train"), context)
    (context.folder.model_folder(run) / "ask.py").write_text("raise SystemExit(3)")
    with pytest.raises(InputError, match="could not ask the candidate: it ended with exit code 3"):
        run_steps(("evaluate",), context)
    seen = context.folder.seen()
    assert seen is not None and seen.state is State.FAILED and not seen.retryable


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("import sys; sys.exit(0)", "import sys; sys.exit(7)", "ended with exit code 7"),
        ("key: [x]}", "key: [x], checks: data.yaml}", "the data did not pass"),
    ],
)
def test_what_fails_before_training_stops_the_run(world: Callable[..., World], old: str, new: str, reason: str) -> None:
    checks = "apiVersion: modelpack.dev/v1\nkind: DataChecks\ncolumns:\n- {name: x, type: number, high: 10}\n"
    here = world({**with_training(old, new), "data.yaml": checks})
    seen = here.all()
    assert seen.state is State.SUCCEEDED and seen.result is not None
    assert not seen.result.passed and reason in seen.result.reason and seen.result.evaluation is None
    assert not here.context().folder.model.exists()
    assert lineage.versions(IMAGE, here.via) == ()


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise SystemExit(3)", "python fit.py: ended with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL, out of memory perhaps"),
        ("pass", "left no file in its output folder"),
    ],
)
def test_a_training_that_fails_says_how(world: Callable[..., World], program: str, problem: str) -> None:
    here = world({"fit.py": program})
    context = here.context()
    with pytest.raises(InputError, match=problem):
        run_steps(KINDS["train"], context)
    seen = context.folder.seen()
    assert seen is not None and seen.state is State.FAILED and not seen.retryable and problem in seen.message


def test_a_program_that_is_not_there(world: Callable[..., World]) -> None:
    here = world(with_training("[python, fit.py]", "[no-such-program]"))
    with pytest.raises(NotFoundError, match="no such program"):
        here.all()


def test_a_run_that_is_taken_up_again_does_not_train_twice(world: Callable[..., World]) -> None:
    here = world()
    context = here.context()
    run_steps(("fetch", "validate", "test", "train"), context)
    before = (context.folder.model / "model.json").stat().st_mtime_ns
    seen = here.all(context.run)
    assert seen.result is not None and seen.result.passed
    assert (context.folder.model / "model.json").stat().st_mtime_ns == before
    again = here.all(context.run)
    assert again.result == seen.result


def test_a_version_that_somebody_else_made_is_not_overwritten(world: Callable[..., World]) -> None:
    here = world()
    mine, other = here.run(id="mine"), here.run(id="other", parameters={"slope": 2.0002})
    first = here.all(mine)
    assert first.result is not None
    with pytest.raises(InputError, match="is another model's already"):
        here.all(other)
    assert str(fetch.resolve(IMAGE.at(tag="v1"), here.via).reference) == first.result.image


def test_another_attempt_that_comes_to_the_same_model_adds_nothing(world: Callable[..., World]) -> None:
    here = world()
    one, other = here.run(id="first"), here.run(id="second")
    first, second = here.all(one), here.all(other)
    assert first.result is not None and second.result is not None
    assert first.result.image == second.result.image
    assert len(lineage.versions(IMAGE, here.via)) == 1


def test_a_commit_of_the_past_is_what_is_trained(world: Callable[..., World]) -> None:
    here = world()
    run = here.run()
    here.change(fit_py="raise SystemExit(1)")
    seen = here.all(run)
    assert seen.result is not None and seen.result.passed
    with pytest.raises(NotFoundError, match="no commit of main"):
        here.all(replace(run, id="other", commit="0" * 40))


def test_programs_are_told_no_logins(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "MODELPACK_RUNS_TOKEN", "MODELPACK_REPOSITORY_TOKEN"):
        monkeypatch.setenv(name, "hush")
    out = "import os, pathlib; pathlib.Path(os.environ['MODELPACK_OUTPUT'], 'env').write_text(repr(dict(os.environ)))"
    here = world({"fit.py": f"{out}\n{fake.FIT}"})
    context = here.context()
    run_steps(("fetch", "train"), context)
    told = (context.folder.model / "env").read_text()
    assert "hush" not in told and "MODELPACK_DATA" in told and str(context.folder.home) in told


def test_words_that_are_no_steps() -> None:
    assert parse(["all"]) == (KINDS["train"], True)
    assert parse(["all"], "experiment")[0][-1] == "compare"
    assert parse(["train", "fetch"]) == (("train", "fetch"), False)
    with pytest.raises(InputError, match="did you mean train"):
        parse(["trian"])


@pytest.fixture
def remote(world: Callable[..., World]) -> Iterator[tuple[World, registry.FakeRegistry]]:
    with registry.serving() as server:
        model = fake.MODEL.replace("registry.local/", f"{server.address}/")
        here = world({"model.yaml": model})
        here.serve(f"{server.address}/models/line:v0")
        yield World(here.root, here.repo, Via()), server


def test_broken_off_anywhere_packaging_comes_to_one_image_and_one_record(
    remote: tuple[World, registry.FakeRegistry],
) -> None:
    here, server = remote
    context = here.context()
    run_steps(("fetch", "validate", "test", "train", "evaluate"), context)
    broken = 0
    for number in range(60):
        server.faults[:] = [registry.Fault("PUT", "", status=400, skip=number, times=1)]
        try:
            seen = run_steps(("package",), context)
        except ModelpackError:
            broken += 1
            continue
        break
    server.faults.clear()
    seen = run_steps(("package",), context)
    assert broken > 3 and seen.result is not None and seen.result.passed
    image = Reference.parse(seen.result.image)
    repository = open_images(image, Via())
    records = repository.referrers(image.digest)
    kinds = [each.artifact_type for each in records]
    assert len(kinds) == len(set(kinds)) == 2, kinds
    put = [each.rpartition("/")[2] for each in server.manifests]
    last = max(records, key=lambda each: put.index(each.digest))
    assert last.artifact_type == EVALUATION, "with it the version may be deployed: what it came from has to be there"
    names = {each.rpartition("/")[2] for each in server.manifests}
    assert {each for each in names if not each.startswith("sha256")} == {"v1", "v1-modelpack"}


def test_a_registry_that_is_away_is_tried_again_later(remote: tuple[World, registry.FakeRegistry]) -> None:
    here, server = remote
    context = here.context()
    run_steps(("fetch", "validate", "test", "train", "evaluate"), context)
    server.faults[:] = [registry.Fault("GET", "", status=503), registry.Fault("HEAD", "", status=503)]
    with pytest.raises(RemoteError):
        run_steps(("package",), context)
    seen = context.folder.seen()
    assert seen is not None and seen.state is State.FAILED and seen.retryable


def test_files_that_are_no_outcome_count_as_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert folder.seen() is None
    for text in ("", "[]", '{"state": "dancing"}', "[" * 100_000, json.dumps({"state": "failed", "result": 3})):
        folder.outcome.write_text(text)
        assert folder.seen() is None
