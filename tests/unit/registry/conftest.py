"""A misbehaving registry, and a login for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelpack.reference import Reference
from modelpack.registry.remote import RemoteRepository
from modelpack.registry.wire import Patience
from tests.fakes.registry import PASSWORD, USER, FakeRegistry, serving

QUICK = Patience(tries=3, first=0.01, longest=0.02, longest_asked=0.05)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def repository(fake: FakeRegistry) -> RemoteRepository:
    return RemoteRepository(Reference.parse(f"{fake.address}/models/mpg"), QUICK)


@pytest.fixture
def log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write Docker's config.json with a login for an address."""

    def write(address: str, user: str = USER, password: str = PASSWORD) -> None:
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    return write
