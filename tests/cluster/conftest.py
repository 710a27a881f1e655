"""The cluster of a test run. What a machine lacks skips the tests, and fails them where MODELPACK_TESTS=all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import images, machine, tekton, training
from tests.cluster.environment import Environment
from tests.cluster.layout import State
from tests.integration.conftest import available, everything_must_run
from tests.integration.servers.s3 import S3

pytest.register_assert_rewrite("tests.cluster.scenarios")

# read now: tests/conftest.py hides the user's own variables from the tests
_BY_HAND = State.default()
_GIVEN = Environment.given(os.environ)
if _GIVEN and _GIVEN.kubeconfig == _BY_HAND.kubeconfig:
    _GIVEN = None  # from `env`: it is ours, and its components may be killed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that want no cluster come first: a machine can have only one."""
    items.sort(key=lambda item: "no_cluster" not in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Environment]:
    """The user's own by variables, else one that runs already and is left so, else one for this run."""
    if _GIVEN:
        yield _GIVEN
    elif machine.running(_BY_HAND):
        print(f"the cluster in {_BY_HAND.folder} ran before the tests, and is left up")
        yield Environment.ours(_BY_HAND)
    else:
        with available(_up) as environment:
            yield environment


@pytest.fixture(scope="session")
def training_cluster(cluster: Environment) -> Iterator[Environment]:
    """The cluster with Tekton, what manifests/tekton installs, and the image that training runs in."""
    images.push(cluster.registry, images.training())
    tekton.install(cluster)
    cluster.kubectl("apply", "--server-side", "-k", str(training.MANIFESTS))
    yield cluster
    cluster.kubectl("delete", "-k", str(training.MANIFESTS), "--timeout=50s")


@pytest.fixture(scope="session")
def s3(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with training.storage(tmp_path_factory.mktemp("s3"), cluster) as server:
        yield server


@pytest.fixture
def no_cluster() -> Iterator[State]:
    """A state folder for a test that starts and ends a cluster itself."""
    if _GIVEN or machine.running(_BY_HAND):
        said = "a machine has one cluster, and one was up before the tests: python -m tests.cluster down"
        pytest.fail(said) if everything_must_run() else pytest.skip(said)
    with available(_folder) as state:
        yield state


@contextmanager
def _up() -> Iterator[Environment]:
    with _folder() as state:
        machine.up(state)
        yield Environment.ours(state)


@contextmanager
def _folder() -> Iterator[State]:
    """Short, for unix sockets."""
    machine.check()
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        state = State(Path(folder) / "c")
        try:
            yield state
        finally:
            machine.down(state)
