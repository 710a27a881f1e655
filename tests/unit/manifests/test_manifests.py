"""What manifests/ promises beyond what an API server looks at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from modelpack.cli import cli as commands

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"


def documents(folder: str) -> list[dict[str, Any]]:
    files = [path for path in sorted((MANIFESTS / folder).glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [each for path in files for each in yaml.safe_load_all(path.read_text())]


def container(folder: str) -> dict[str, Any]:
    (found,) = (each for each in documents(folder) if each["kind"] == "Deployment")
    spec: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return spec


# -- settle's git


@pytest.fixture(name="git_settings")
def _git_settings(tmp_path: Path) -> dict[str, str]:
    """The environment that git has in settle's pod, with the Secret in a folder that can only be read."""
    secret = tmp_path / "secret" / "credentials"
    secret.parent.mkdir()
    secret.write_text("https://bot:t%2Fken@git.example.com\n")
    values = {each["name"]: each.get("value", "") for each in container("settle")["env"]}
    found = {key: value for key, value in values.items() if key.startswith("GIT_CONFIG_")}
    found = {key: value.replace("/etc/modelpack/git/credentials", str(secret)) for key, value in found.items()}
    assert str(secret) in str(found)
    return found | {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"}


def git(settings: dict[str, str], *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], input=stdin, env=settings, capture_output=True, text=True, timeout=30)


def test_git_finds_its_login_in_the_secret(git_settings: dict[str, str]) -> None:
    said = git(git_settings, "credential", "fill", stdin="protocol=https\nhost=git.example.com\n\n").stdout
    assert said.splitlines()[-2:] == ["username=bot", "password=t/ken"]


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_git_leaves_the_secret_as_it_is(git_settings: dict[str, str], tmp_path: Path, verdict: str) -> None:
    """Both end in an attempt to write, which fails on a mounted Secret, and takes a second each time."""
    secret = tmp_path / "secret" / "credentials"
    before = secret.read_bytes()
    login = "protocol=https\nhost=git.example.com\nusername=bot\npassword=t/ken\n\n"
    said = git(git_settings, "credential", verdict, stdin=login)
    assert (said.returncode, said.stderr, secret.read_bytes()) == (0, "", before)
    assert [path.name for path in secret.parent.iterdir()] == ["credentials"]


def test_commits_have_a_name(git_settings: dict[str, str]) -> None:
    said = git(git_settings, "var", "GIT_COMMITTER_IDENT")
    assert said.stdout.startswith("modelpack settle <")


def test_every_git_setting_is_counted() -> None:
    names = [each["name"] for each in container("settle")["env"]]
    count = next(int(each["value"]) for each in container("settle")["env"] if each["name"] == "GIT_CONFIG_COUNT")
    assert sum(name.startswith("GIT_CONFIG_KEY_") for name in names) == count


def test_the_examples_make_the_secret_that_settle_mounts() -> None:
    folder = MANIFESTS / "settle" / "examples"
    encrypted = yaml.safe_load((folder / "secret.sops.yaml").read_text())
    external = yaml.safe_load((folder / "externalsecret.yaml").read_text())
    assert {each["metadata"]["name"] for each in (encrypted, external)} == {"modelpack-git"}
    assert {each["metadata"]["namespace"] for each in (encrypted, external)} == {"modelpack"}
    assert set(encrypted["stringData"]) == set(external["spec"]["target"]["template"]["data"]) == {"credentials"}
    rule = yaml.safe_load((folder / ".sops.yaml").read_text())["creation_rules"][0]
    assert re.search(rule["path_regex"], "manifests/settle/secret.sops.yaml")
    assert re.search(rule["encrypted_regex"], "stringData") and not re.search(rule["encrypted_regex"], "metadata")


# -- commands


@pytest.mark.parametrize("folder", ["gate", "settle"])
def test_the_pods_words_are_words_of_the_command(folder: str) -> None:
    words = [word for word in container(folder)["args"] if not word.startswith("-")]
    options = {word.partition("=")[0] for word in container(folder)["args"] if word.startswith("-")}
    said = CliRunner().invoke(commands, [*words, "--help"])
    assert (said.exit_code, options) == (0, options & set(re.findall(r"--[a-z-]+", said.output)))


# -- versions


def test_both_dockerfiles_start_from_the_same_base() -> None:
    files = [MANIFESTS / "gate" / "Dockerfile", ROOT / "model-images" / "mpg" / "Dockerfile"]
    bases = [re.search(r"^ARG BASE=(\S+)$", path.read_text(), re.MULTILINE) for path in files]
    assert len({found and found[1] for found in bases}) == 1
    for path in files:
        assert {line.split()[1] for line in path.read_text().splitlines() if line.startswith("FROM")} <= {
            "${BASE}",
            "dependencies",
        }


def test_no_manifest_names_a_version_beside_the_one_place() -> None:
    """A bare name is looked up there; a registry and a tag elsewhere would be overlooked when it changes."""
    named = {each["name"] for each in yaml.safe_load((MANIFESTS / "versions/kustomization.yaml").read_text())["images"]}
    for folder in ("gate", "settle", "prometheus"):
        assert container(folder)["image"] in named


# -- Kubeflow's pipeline


def test_kubeflows_pipeline_hands_the_run_to_a_step(tmp_path: Path) -> None:
    pytest.importorskip("kfp")
    file = tmp_path / "train.yaml"
    words = [sys.executable, str(MANIFESTS / "kubeflow" / "train.py"), str(file), "--image", "registry.example.com/t:1"]
    subprocess.run(words, check=True, timeout=60)
    (found,) = yaml.safe_load_all(file.read_text())
    assert list(found["root"]["inputDefinitions"]["parameters"]) == ["run"]
    (step,) = (each["container"] for each in found["deploymentSpec"]["executors"].values())
    assert (step["image"], step["command"]) == ("registry.example.com/t:1", ["modelpack"])
    words = [each.replace("{{$.inputs.parameters['run']}}", "RUN") for each in step["args"]]
    assert words == ["step", "all", "--folder", "/tmp/run", "--run", "RUN", "--results", "/tmp/results"]
    asked = CliRunner().invoke(commands, ["step", "--help"]).output
    assert all(each in asked for each in ("--folder", "--run", "--results"))
