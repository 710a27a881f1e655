"""`./start.sh --cluster` and `--down`: what they say where something is missing, and the whole job on a real one."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.environment import Environment
from tests.cluster.images import SERVER, versions
from tests.integration.servers.gotools import go_tools

ROOT = Path(__file__).parents[2]
OVERLAY = Path(__file__).with_name("overlay")
PASSING = "events,events.events.k8s.io,leases.coordination.k8s.io,endpointslices.discovery.k8s.io,endpoints"
SECONDS = 900

pytestmark = pytest.mark.xdist_group("cluster")  # a checkout runs one start.sh --cluster at a time

# -- what has to be given

CONTEXT = "*current-context*) echo mine ;;"
SERVER_VERSION = "version*|*' version '*) echo Server Version: v1.36.0 ;;"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for the programs that a case has, beside the system's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, *answers: str) -> Path:
    """Answers by the pattern that its words fit, and writes them down; returns where."""
    calls = folder / f"{name}.calls"
    lines = ["#!/bin/sh", f'echo "$*" >>"{calls}"', 'case "$*" in', *answers, "esac"]
    (folder / name).write_text("\n".join(lines) + "\n")
    (folder / name).chmod(0o755)
    calls.touch()
    return calls


def start(programs: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(programs), **more}
    command = [str(ROOT / "start.sh"), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cluster", "--frob"], "unknown word --frob"),
        (["--down", "--registry"], "--registry needs a value"),
        (["--cluster", "--registry", "https://127.0.0.1:1"], "without https://"),
        (["--cluster"], "give --registry PREFIX"),
        (["--cluster", "--registry", "127.0.0.1:1", "--server-image", "s:1", "--modelpack-image", "m:1"], "add --yes"),
    ],
)
def test_what_has_to_be_given(programs: Path, words: list[str], said: str) -> None:
    calls = program(programs, "kubectl", CONTEXT, SERVER_VERSION, "*) ;;")
    done = start(programs, *words)
    assert (done.returncode, said in done.stderr) == (2, True), done
    assert "apply" not in calls.read_text()


def test_a_table_of_what_is_missing_comes_before_the_question(programs: Path) -> None:
    program(
        programs, "kubectl", CONTEXT, SERVER_VERSION, "*' modelpack-gate '*) echo deployment/modelpack-gate ;;", "*) ;;"
    )
    done = start(programs, "--cluster", "--registry", "127.0.0.1:1", "--server-image", "s:1")
    rows = {line[2:15].strip(): line[16:].split("  ")[0] for line in done.stdout.splitlines()}
    wanted = {"cluster": "mine, Kubernetes v1.36.0", "router": "missing", "flagger": "missing", "prometheus": "missing"}
    assert rows | wanted | {"gate": "modelpack/modelpack-gate"} == rows, done.stdout + done.stderr


@pytest.mark.parametrize("words", [["--cluster", "--registry", "127.0.0.1:1", "--yes"], ["--down"]])
def test_without_a_context_it_is_one_sentence(programs: Path, words: list[str]) -> None:
    program(programs, "kubectl", "*) exit 1 ;;")
    done = start(programs, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"start\.sh: there is no kube context: [^\n]*\n", done.stderr)


def test_a_cluster_that_does_not_answer(programs: Path) -> None:
    program(programs, "kubectl", CONTEXT, "*) exit 1 ;;")
    done = start(programs, "--down")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True), done


def test_nothing_is_removed_unasked(programs: Path) -> None:
    record = "*' modelpack-start '*) echo Job.v1.batch default mpg-traffic ;;"
    calls = program(programs, "kubectl", CONTEXT, SERVER_VERSION, record, "*) ;;")
    done = start(programs, "--down")
    assert (done.returncode, "add --yes" in done.stderr, "Job default/mpg-traffic" in done.stdout) == (2, True, True), (
        done
    )
    assert "delete" not in calls.read_text()


def test_nothing_to_remove(programs: Path) -> None:
    program(programs, "kubectl", CONTEXT, SERVER_VERSION, "*) ;;")
    done = start(programs, "--down")
    assert (done.returncode, done.stdout) == (0, "nothing of this script is in context mine\n"), done


def test_no_cluster_is_made_without_a_question(programs: Path) -> None:
    program(programs, "kubectl", "*) exit 1 ;;")
    calls = [program(programs, name, "*) ;;") for name in ("kind", "docker")]
    done = start(programs, "--cluster")
    assert (done.returncode, "add --yes" in done.stderr) == (2, True), done
    assert "made by kind" in done.stdout
    assert [each.read_text() for each in calls] == ["", ""]


# -- on the real cluster


@pytest.fixture
def bare(cluster: Environment) -> Iterator[Environment]:
    """The cluster without what its overlay installs and what scenarios left; a user's own is taken as it is."""
    if cluster.state is None:
        yield cluster
        return
    services = cluster.get("services", "modelpack")["items"]
    kubectl(cluster, "delete", "kustomizations.kustomize.toolkit.fluxcd.io", "--all", "--namespace=flux-system")
    kubectl(cluster, "wait", "--for=delete", "pods,canaries", "--all", "--namespace=default", f"--timeout={SECONDS}s")
    kubectl(cluster, "delete", "-k", str(OVERLAY), "--ignore-not-found")
    try:
        yield cluster
    finally:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "modelpack"}})
        cluster.apply(*(same_address(each) for each in services))  # Environment knows them
        kubectl(cluster, "apply", "--server-side", "--force-conflicts", "-k", str(OVERLAY))
        kubectl(cluster, "wait", "deployments", "-A", "--all", "--for=condition=Available", f"--timeout={SECONDS}s")


def same_address(service: dict[str, Any]) -> dict[str, Any]:
    spec = {key: service["spec"][key] for key in ("clusterIP", "selector", "ports")}
    metadata = {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def kubectl(cluster: Environment, *words: str) -> None:
    subprocess.run(["kubectl", *words], env=environ(cluster), check=True, timeout=SECONDS)


def environ(cluster: Environment) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{go_tools('kubernetes')}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        "MODELPACK_INSECURE_REGISTRIES": cluster.registry,
    }


def objects(cluster: Environment) -> set[str]:
    """Every object there is, but those that come and go by themselves."""
    kinds = set(cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()) - set(PASSING.split(","))
    listed = cluster.kubectl(
        "get",
        ",".join(sorted(kinds)),
        "-A",
        "--output=jsonpath={range .items[*]}{.kind} {.metadata.namespace} {.metadata.name}\n{end}",
    )
    return set(listed.splitlines())


def git(*words: str) -> str:
    command = ["git", f"--git-dir={ROOT / 'var' / 'cluster' / 'git' / 'mpg.git'}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_whole_job_and_nothing_is_left(bare: Environment) -> None:
    before = objects(bare)
    images = [
        f"--modelpack-image={bare.registry}/{versions()['modelpack']}",
        f"--server-image={bare.registry}/{SERVER}",
    ]
    words = [word for each in images for word in each.split("=", 1)]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "start.sh"), *words]
        return subprocess.run(
            command, env=environ(bare), capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )

    try:
        done = run("--cluster", "--registry", bare.registry, *words, "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        ends = re.findall(r"^  (v\d)  (.*)$", done.stdout, re.MULTILINE)
        assert [(version, how.split(":")[0]) for version, how in ends] == [
            ("v1", "initialized"),
            ("v2", "promoted"),
            ("v3", "failed"),
            ("v4", "failed"),
        ]
        assert len(git("log", "--format=%s").splitlines()) == 7, "v1 to v4 by commit, two reverts"
        assert re.findall(r'version: "?(\w+)', git("show", "main:model-images/mpg/rejected.yaml")) == ["v3", "v4"]
        primary = bare.get("deployment", "default", "mpg-primary")["spec"]["template"]["spec"]["initContainers"]
        assert f"{bare.registry}/models/mpg:v2@sha256:" in primary[0]["image"]
        assert re.search(r"^Traffic: 200: \d+, 50\d: \d+$", done.stdout, re.MULTILINE), done.stdout
    finally:
        down = run("--down", "--yes")
    assert down.returncode == 0, down.stdout + down.stderr
    deadline = time.monotonic() + 60  # pods and replica sets follow their Deployments
    while (left := objects(bare)) != before and time.monotonic() < deadline:
        time.sleep(2)
    assert left == before
    assert "nothing of this script" in run("--down").stdout
