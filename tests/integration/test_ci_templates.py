"""The pipelines' templates: their scripts run as GitHub's and GitLab's runners do, and a comment on a real Gitea."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.ci import ACTION, EXAMPLES, ROOT, interpolated
from tests.fakes.git_serving import commit, git
from tests.integration.ci_job import FIRST, Job, fake_python
from tests.integration.ci_job import new_job as whole_job
from tests.integration.conftest import available
from tests.integration.servers.gitea import ROBOT, Gitea
from tests.integration.servers.gotools import go_tool

NewJob = Callable[..., Job]


def test_actionlint() -> None:
    with available(_actionlint) as actionlint:
        done = subprocess.run(
            [actionlint, "-no-color", *sorted(EXAMPLES.glob("github-*.yml"))],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _actionlint() -> Iterator[Path]:
    yield go_tool("actionlint")


@dataclass
class Action:
    """The composite action as GitHub's runner does it: inputs become env, each step is a file for its shell."""

    job: Job
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self, *, env: Mapping[str, str] | None = None, **given: str) -> subprocess.CompletedProcess[str]:
        action = yaml.safe_load(ACTION.read_text())
        inputs = {name: given.get(name, each.get("default")) for name, each in action["inputs"].items()}
        assert None not in inputs.values() and set(given) <= set(inputs)
        output, path = self.job.folder / "output", self.job.folder / "path"
        output.write_text("")
        runner = {
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_PATH": str(path),
            "RUNNER_TEMP": str(self.job.folder / "tmp"),
        }
        for step in action["runs"]["steps"]:
            assert step["shell"] == "sh"
            values = {name: _input(text, inputs) for name, text in step.get("env", {}).items()}
            script = self.job.folder / "step.sh"
            script.write_text(step["run"])
            done = self.job.run(["dash", "-e", str(script)], runner | values | (env or {}))
            if done.returncode:
                break
        found = re.findall(r"^(\w+)<<(\S+)\n(.*?)^\2$", output.read_text(), re.MULTILINE | re.DOTALL)
        self.outputs = {name: text.rstrip("\n") for name, _, text in found}
        return done


def _input(expression: str, inputs: Mapping[str, str]) -> str:
    """An env entry's value; what follows `||` is the event's, and these tests give those two inputs."""
    found = re.fullmatch(r"\$\{\{ inputs\.(\w+)(?: \|\| .*)? \}\}", expression)
    assert found, expression
    return inputs[found[1]]


def test_the_actions_jobs_hand_refs_and_reports_on(tmp_path: Path, new_job: NewJob) -> None:
    job = new_job(tmp_path)
    action = Action(job)
    before = git(job.checkout, "rev-parse", "HEAD")
    job.train("v2", 0.5)
    done = action.run(command="package", base=before, branch="main")
    assert done.returncode == 0, done.stderr
    refs = action.outputs["refs"]
    assert refs.startswith("registry.local/models/mpg:v2")
    page = {"GITHUB_STEP_SUMMARY": str(job.folder / "page")}
    done = action.run(command="rehearse", refs=refs, speed="25", branch="main", env=page)
    assert done.returncode == 7, "off by 0.5, where 0.1 more than the primary is allowed\n" + done.stderr
    assert "**Rehearsal: rolled back**" in (job.folder / "page").read_text()
    report = action.outputs["report"]
    assert (report.count("\n"), json.loads(report)["rehearsal"]["result"]) == (0, "rolled back")
    done = action.run(command="bump", refs=refs, branch="main")
    assert (done.returncode, ":v2@sha256:" in job.served()) == (0, True), done.stderr
    job.push({"x.ipynb": "{}"})
    done = action.run(command="train", base=f"{before}", train='printf "%s" "$1" >trained')
    assert (done.returncode, (job.checkout / "trained").read_text()) == (0, "./x.ipynb"), done.stderr
    assert action.run(command="$(touch ran)").returncode == 2
    assert not (job.checkout / "ran").exists()


def test_the_actions_installation_of_modelpack(tmp_path: Path, new_job: NewJob) -> None:
    """Without a modelpack on PATH; `python3` is a stub here."""
    job = new_job(tmp_path)
    install = yaml.safe_load(ACTION.read_text())["runs"]["steps"][0]["run"]
    (job.folder / "bare").mkdir()
    fake_python(job.folder / "bare" / "python3")
    for name in ("sh", "mkdir", "cp"):
        (job.folder / "bare" / name).symlink_to(str(shutil.which(name)))
    environ = {
        "PATH": str(job.folder / "bare"),
        "RUNNER_TEMP": str(job.folder / "t"),
        "GITHUB_ACTION_PATH": "/a b",
        "GITHUB_PATH": str(job.folder / "path"),
        "CALLS": str(job.folder / "calls"),
    }
    dash = str(shutil.which("dash"))
    done = job.run([dash, "-ec", install], environ)
    assert done.returncode == 0, done.stderr
    assert (job.folder / "calls").read_text() == "-m pip install --quiet /a b[s3,rehearse]\n"
    assert (job.folder / "path").read_text() == f"{job.folder}/t/modelpack/bin\n"


def gitlab(job: Job, name: str, given: Mapping[str, object], **environ: str) -> subprocess.CompletedProcess[str]:
    """One job of the component as GitLab's runner does it: variables, then before_script and script in one shell."""
    jobs = interpolated({"source": "x", "ref": "x"} | given)
    base, own = jobs[".modelpack"], jobs[name]
    assert own["extends"] == ".modelpack"
    values = {key: each["value"] if isinstance(each, dict) else each for key, each in base["variables"].items()}
    always = {
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_URL": str(job.folder / "origin"),
        "MODELPACK_CI": str(ROOT / "ci"),
    }
    return job.script("\n".join([*base["before_script"], *own["script"]]), **(values | always | environ))


def test_gitlabs_jobs(tmp_path: Path, new_job: NewJob) -> None:
    job = new_job(tmp_path, ("bash", "--posix"))
    before = git(job.checkout, "rev-parse", "HEAD")
    job.train("v2", 0.05)
    done = gitlab(job, "modelpack-package", {}, CI_MERGE_REQUEST_DIFF_BASE_SHA=before, CI_COMMIT_BEFORE_SHA="0" * 40)
    assert (done.returncode, done.stdout.startswith("registry.local/models/mpg:v2")) == (0, True), done.stderr
    done = gitlab(job, "modelpack-rehearse", {"speed": 25}, GITLAB_TOKEN="t")
    assert done.returncode == 0, done.stderr
    assert (job.checkout / "modelpack-ci/reports").read_text() == "./modelpack-ci/report-1/report.json\n"
    done = gitlab(job, "modelpack-bump", {}, CI_COMMIT_BEFORE_SHA=before)
    assert (done.returncode, ":v2@sha256:" in job.served()) == (0, True), done.stderr
    job.push({"x.ipynb": "{}"})
    hostile = 'printf "%s" "$1" >trained; : "$CI_DEFAULT_BRANCH"'
    done = gitlab(job, "modelpack-train", {"train": hostile, "notebooks": True}, CI_COMMIT_BEFORE_SHA="0" * 40)
    assert (done.returncode, (job.checkout / "trained").read_text()) == (0, "./x.ipynb"), done.stderr


def test_gitlabs_installation_of_modelpack(tmp_path: Path, new_job: NewJob) -> None:
    """Without MODELPACK_CI; the repository is a small one, `python3` a stub."""
    job = new_job(tmp_path)
    source = job.folder / "modelpack source"
    git(job.folder, "init", "--quiet", str(source))
    made = commit(source, {"ci/modelpack.sh": "#!/bin/sh\necho scripts of the source: $1\n"})
    (source / "ci/modelpack.sh").chmod(0o755)
    made = commit(source, {})
    fake_python(job.folder / "bin" / "python3")
    calls = job.folder / "calls"
    done = gitlab(
        job, "modelpack-package", {"source": f"file://{source}", "ref": made}, MODELPACK_CI="", CALLS=str(calls)
    )
    assert (done.returncode, done.stdout) == (0, "scripts of the source: package\n"), done.stderr
    assert calls.read_text().startswith("-m pip install --quiet /") and calls.read_text().endswith(
        "/source[s3,rehearse]\n"
    )


def test_one_comment_on_the_pull_request_and_a_bump_over_http(gitea: Gitea, tmp_path: Path) -> None:
    project = gitea.create("ci", {"README.md": "x"})
    job = whole_job(tmp_path, remote=project.with_login())
    job.train("v2", 0.5)
    git(job.checkout, "push", "--quiet", "origin", "HEAD:refs/heads/topic")
    commit(job.checkout, {"more": "x"})
    git(job.checkout, "push", "--quiet", "origin", "HEAD:refs/heads/topic")
    number = project.api("POST", "/pulls", {"head": "topic", "base": "main", "title": "a person's"})["number"]
    git(job.checkout, "remote", "set-url", "origin", project.url)  # the runner's checkout keeps no login

    action = Action(job)
    ci = {
        "GITHUB_REF": f"refs/pull/{number}/head",
        "GITEA_TOKEN": gitea.tokens[ROBOT],
        "CI_JOB_URL": "https://ci.example.com/1",
    }
    for result in ("rolled back", "promoted"):
        report = {
            "rehearsal": {"result": result, "model": "mpg", "image": FIRST},
            "rollout": {"reason": "@alice fixes #1\n/close", "checks": []},
        }
        done = action.run(command="comment", report=json.dumps(report), branch="main", env=ci)
        assert done.returncode == 0, done.stderr
        assert gitea.tokens[ROBOT] not in done.stdout + done.stderr
    comments = [each["body"] for each in project.api("GET", f"/issues/{number}/comments")]
    assert len(comments) == 1
    assert comments[0].startswith(
        "<!-- modelpack report mpg -->\n### Model mpg: v1\n\n**Rehearsal: promoted**: @&#8203;alice"
    )

    done = job.step("package", MODELPACK_MODEL="mpg", MODELPACK_VERSION="v2")
    assert done.returncode == 0, done.stderr
    environ = {"CI_SERVER_URL": gitea.url, "CI_PROJECT_URL": project.url.removesuffix(".git")}
    done = gitlab(job, "modelpack-bump", {}, **environ)
    assert done.returncode in (4, 5), "no login"
    done = gitlab(job, "modelpack-bump", {}, **environ, GITLAB_TOKEN=gitea.tokens[ROBOT])
    assert done.returncode == 0, done.stderr
    assert gitea.tokens[ROBOT] not in done.stdout + done.stderr
    git(job.checkout, "remote", "set-url", "origin", project.with_login())
    assert ":v2@sha256:" in job.served()

    project.protect()
    done = job.step("package", MODELPACK_MODEL="mpg", MODELPACK_VERSION="v3")
    assert done.returncode == 3, "there is no v3\n" + done.stderr
    job.environ["GITEA_TOKEN"] = gitea.tokens[ROBOT]
    assert action.run(command="bump", refs=FIRST, branch="main").returncode == 4, "protected"
    for _ in range(2):
        done = action.run(command="bump", refs=FIRST, branch="main", pr="true")
        assert done.returncode == 0, done.stderr
    assert [each["head"]["ref"] for each in project.pulls()] == ["modelpack/mpg", "topic"]
