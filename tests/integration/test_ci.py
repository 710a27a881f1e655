"""ci/modelpack.sh, run as a runner would: real shells, a real repository, real images, a real rehearsal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ci import SCRIPT
from tests.fakes.git_serving import commit, git
from tests.integration.ci_job import FIRST, Job, program

NewJob = Callable[..., Job]
SHELLS = [pytest.param(("dash",), id="dash"), pytest.param(("bash", "--posix"), id="bash")]


@pytest.fixture(params=SHELLS)
def job(request: pytest.FixtureRequest, tmp_path: Path, new_job: NewJob) -> Job:
    return new_job(tmp_path, request.param)


@pytest.fixture
def dash_job(tmp_path: Path, new_job: NewJob) -> Job:
    return new_job(tmp_path)


@pytest.fixture(scope="module")
def idle_job(tmp_path_factory: pytest.TempPathFactory, new_job: NewJob) -> Job:
    """For what changes nothing."""
    return new_job(tmp_path_factory.mktemp("idle"))


def test_a_pushed_version_is_packaged_rehearsed_and_named_in_git(dash_job: Job) -> None:
    job = dash_job
    before = job.train("v2", 0.05)
    assert job.step("changed").stdout == "mpg\tmodel-images/mpg\tv2\n"
    done = job.step("package", MODELPACK_BASE=git(job.checkout, "rev-parse", f"{before}^"))
    assert (done.returncode, done.stdout.startswith("registry.local/models/mpg:v2")) == (0, True), done.stderr
    done = job.step("rehearse", MODELPACK_SPEED="25", GITHUB_TOKEN="t")
    assert done.returncode == 0, done.stderr
    report = json.loads((job.checkout / "modelpack-ci/report-1/report.json").read_text())
    assert (report["rehearsal"]["result"], report["rollout"]["verdict"]) == ("promoted", "accept")
    assert ":v1@sha256:" in job.served(), "Git is left alone"
    assert job.step("bump").returncode == 0
    assert ":v2@sha256:" in job.served()
    job.pull()
    again = job.step("package")
    assert (again.returncode, again.stdout) == (0, ""), "a bump changes no model"
    for step in ("rehearse", "bump", "comment"):
        assert job.step(step).returncode == 0, step
    assert list((job.folder / "tmp").iterdir()) == []


def test_versions_by_rule(dash_job: Job) -> None:
    job = dash_job
    source = (job.checkout / "model-images/mpg/model.yaml").read_text().replace("/{version}", "")
    job.push({"model-images/mpg/model.yaml": source})

    def tag(**environ: str) -> str:
        done = job.step("package", **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("@")[0].strip().rpartition(":")[2]

    commit_id = git(job.checkout, "rev-parse", "--short=12", "HEAD")
    assert tag() == f"g{commit_id}"
    git(job.checkout, "tag", "mpg/1.0+rc")
    assert tag() == "mpg-1.0-rc"
    assert tag(MODELPACK_VERSION="v9") == "v9"
    job.push({"other": "x"})
    assert tag(MODELPACK_MODEL="mpg").startswith("mpg-1.0-rc-1-g")


def test_a_new_branch_is_compared_with_the_one_that_serves(dash_job: Job) -> None:
    job = dash_job
    job.train("v2")
    git(job.checkout, "checkout", "--quiet", "-b", "topic")
    for version in ("v3", "v4"):
        commit(job.checkout, {f"model-images/mpg/artifacts/{version}/model.json": "0"})
    for zeros in ("0" * 40, ""):
        lines = job.step("changed", MODELPACK_BASE=zeros).stdout.splitlines()
        assert [line.split("\t")[-1] for line in lines] == ["v3", "v4"]


def test_a_checkout_without_history_says_what_to_fetch(dash_job: Job) -> None:
    job = dash_job
    shallow = job.folder / "shallow"
    git(job.folder, "clone", "--quiet", "--depth=1", f"file://{job.folder}/origin.git", str(shallow))
    done = replace(job, checkout=shallow).step("package")
    assert (done.returncode, "fetch-depth: 0" in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_hostile_names_run_nothing(tmp_path: Path, new_job: NewJob, shell: tuple[str, ...]) -> None:
    job = new_job(tmp_path, shell)
    ran = tmp_path / "ran"
    bad = f"$(touch {ran})`touch {ran}`; touch {ran} #"
    bad_name = "$(touch ran)`touch ran`; touch ran #"
    hostile_files = {
        f"model-images/mpg/artifacts/v2/{bad_name}.bin": "x",
        "model-images/mpg/artifacts/v2/new\nline": "x",
        "model-images/$(touch ran)/model.yaml": (job.checkout / "model-images/mpg/model.yaml")
        .read_text()
        .replace("name: mpg", "name: evil")
        .replace("models/mpg", "models/evil")
        .replace("./artifacts/{version}", "."),
    }
    base = git(job.checkout, "rev-parse", "HEAD")
    job.push(hostile_files, bad)
    lines = job.step("changed", MODELPACK_BASE=base).stdout.splitlines()
    assert lines == ["evil\tmodel-images/$(touch ran)\t", "mpg\tmodel-images/mpg\tv2"]
    done = job.step("package", MODELPACK_BASE=base)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr  # a newline in a file's name

    for name, code in {
        "MODELPACK_BASE": 3,
        "MODELPACK_MODEL": 2,
        "MODELPACK_VERSION": 2,
    }.items():
        assert job.step("package", **{name: bad}).returncode == code, name
    for name, code in {"MODELPACK_BRANCH": 2, "MODELPACK_REFS": 2, "MODELPACK_PR": 2, "MODELPACK_REPO": 3}.items():
        done = job.step("bump", **{"MODELPACK_REFS": FIRST, name: bad})
        assert done.returncode == code, (name, done.stderr)
    assert job.step("rehearse", MODELPACK_REFS=bad).returncode == 2
    assert job.step("rehearse", MODELPACK_REFS=FIRST, MODELPACK_SPEED=bad).returncode == 2
    assert job.step("bump", "--", "--version").returncode == 2
    assert job.step("bump", MODELPACK_REFS="--version").returncode == 2
    assert job.step("comment", MODELPACK_REPORT=bad).returncode == 2
    assert job.step("comment", MODELPACK_REPORT="{}", MODELPACK_PR_NUMBER=bad).returncode == 2
    assert job.step("package", MODELPACK_OUT=f"{tmp_path}/{bad_name}", MODELPACK_MODEL="no").returncode == 3
    assert job.step(bad).returncode == 2
    assert not ran.exists() and not (job.checkout / "ran").exists()
    assert "\n::" not in job.step("package", "x\n::error::spoofed").stderr


@pytest.mark.parametrize(
    ("words", "environ", "code", "said"),
    [
        ((), {}, 2, "the steps are changed, package"),
        (("frob",), {}, 2, "frob: the steps are"),
        (("package", "tips"), {}, 3, "model-images/tips/model.yaml: there is no such file"),
        (("package", "../x"), {}, 2, "../x: is not a model's name"),
        (("package",), {"MODELPACK_REGISTRY_PASSWORD": "s3cret"}, 2, "MODELPACK_REGISTRY: is no registry's host"),
        (("package",), {"MODELPACK_REGISTRY_PASSWORD": "s3cret", "MODELPACK_REGISTRY": 'x": {}'}, 2, "is no registry"),
        (("changed",), {"MODELPACK_BASE": "f" * 40}, 3, "fetch more history"),
        (("bump",), {"MODELPACK_REFS": FIRST, "MODELPACK_BRANCH": "-x"}, 2, "-x: is not a branch's name"),
    ],
)
def test_a_mistake_is_one_sentence(
    idle_job: Job, words: tuple[str, ...], environ: dict[str, str], code: int, said: str
) -> None:
    done = idle_job.step(*words, **environ)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "s3cret" not in done.stderr + done.stdout


@pytest.mark.parametrize("kind", ["text", "file"])
def test_a_kubeconfig_reaches_the_training_in_a_file_and_nobody_else(job: Job, kind: str) -> None:
    secret = "users: [{token: s3cr3t}]"
    given = job.folder / "given"
    given.write_text(f"{secret}\n")
    seen = job.folder / "seen"
    program(
        job.folder / "bin" / "modelpack",
        'cat "$KUBECONFIG" >"$SEEN"; stat -c %a "$KUBECONFIG" >>"$SEEN"; ps -eo args >>"$SEEN"; env >>"$SEEN"',
    )
    job.push({"model-images/mpg/a.ipynb": "{}", "model-images/mpg/training.yaml": ""})
    value = secret if kind == "text" else str(given)
    done = job.run([*job.shell, "-x", str(SCRIPT), "train"], {"MODELPACK_KUBECONFIG": value, "SEEN": str(seen)})
    first, mode, rest = seen.read_text().split("\n", 2)
    assert (done.returncode, first, mode if kind == "text" else "600") == (0, secret, "600"), done.stderr
    assert "s3cr3t" not in rest + done.stdout + done.stderr and "MODELPACK_KUBECONFIG" not in rest
    assert list((job.folder / "tmp").iterdir()) == [] and given.exists()


def test_a_login_reaches_the_registry_and_nobody_else(job: Job) -> None:
    program(
        job.folder / "bin" / "modelpack",
        'cat "$DOCKER_CONFIG/config.json" >"$SEEN"; ps -eo args >>"$SEEN"; env >>"$SEEN"',
    )
    job.push({"model-images/mpg/artifacts/v2/model.json": "0"})
    seen = job.folder / "seen"
    login = {
        "MODELPACK_REGISTRY": "ghcr.io",
        "MODELPACK_REGISTRY_USER": "robot",
        "MODELPACK_REGISTRY_PASSWORD": 'p"a$s\\',
    }
    done = job.run([*job.shell, "-x", str(SCRIPT), "package", "mpg"], {**login, "SEEN": str(seen)})
    first, _, rest = seen.read_text().partition("\n")
    assert json.loads(first) == {"auths": {"ghcr.io": {"auth": "cm9ib3Q6cCJhJHNc"}}}
    for secret in (login["MODELPACK_REGISTRY_PASSWORD"], "cm9ib3Q6cCJhJHNc"):
        assert secret not in rest + done.stdout + done.stderr.partition("set +x")[2]
    assert list((job.folder / "tmp").iterdir()) == []


def test_pushed_notebooks_start_their_training(job: Job) -> None:
    names = ["model-images/mpg/train it.ipynb", "a\nb.ipynb", "$(touch ran).ipynb", "-n.ipynb"]
    base = git(job.checkout, "rev-parse", "HEAD")
    job.push(dict.fromkeys([*names, "other.py"], "{}"))
    command = f'printf "%s|" "$1" >>"{job.folder}/trained"'
    done = job.step("train", MODELPACK_BASE=base, MODELPACK_TRAIN=command)
    assert done.returncode == 0, done.stderr
    assert sorted((job.folder / "trained").read_text().split("|")[:-1]) == sorted(f"./{name}" for name in names)
    assert not (job.checkout / "ran").exists()
    done = job.step("train", MODELPACK_BASE=base, MODELPACK_TRAIN="exit 9")
    assert done.returncode == 9
    done = job.step("train", "gone.ipynb", MODELPACK_TRAIN="true")
    assert (done.returncode, "there is no such notebook" in done.stderr) == (3, True)


def test_a_changed_notebook_trains_its_model_once(dash_job: Job) -> None:
    job = dash_job
    program(job.folder / "bin" / "modelpack", f'printf "%s " "$@" >>"{job.folder}/called"; exit 4')
    folder = "model-images/mpg"
    job.push({f"{folder}/{name}": "{}" for name in ("a.ipynb", "deep/b.ipynb", "training.yaml")})
    assert job.step("train").returncode == 4, "the model did not pass"
    assert (job.folder / "called").read_text() == "train --repo . --branch main --wait -- mpg "
    program(job.folder / "bin" / "modelpack", f'printf "%s " "$@" >>"{job.folder}/called"')
    (job.folder / "called").unlink()
    done = job.step(
        "train", f"{folder}/a.ipynb", f"./{folder}/deep/b.ipynb", MODELPACK_REPO="there", MODELPACK_BRANCH="b"
    )
    assert (done.returncode, (job.folder / "called").read_text()) == (0, "train --repo there --branch b --wait -- mpg ")
    (job.folder / "called").unlink()
    job.push(dict.fromkeys(("train.ipynb", "model-images/no/x.ipynb", "model-images/$(touch ran)/x.ipynb"), "{}"))
    done = job.step("train")
    assert (done.returncode, done.stderr.count("belongs to no model with a training.yaml")) == (0, 3)
    assert not (job.folder / "called").exists() and not (job.checkout / "ran").exists()
    job.push({"other": "x"})
    assert "changed no notebook" in job.step("train").stderr
