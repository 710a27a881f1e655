"""An S3 server: versitygw on a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.servers.gotools import go_tool
from tests.integration.servers.process import ServerError, free_port, listening, running

REGION = "us-east-1"
_ATTEMPTS = 3  # somebody else may take the port between choosing and binding it


@dataclass(frozen=True)
class S3:
    """`endpoint` is http://host:port; each folder below `buckets` is a bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    buckets: Path
    pid: int

    @property
    def environ(self) -> dict[str, str]:
        """The variables that AWS clients read."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def s3(folder: Path, host: str = "127.0.0.1") -> Iterator[S3]:
    """An S3 server without buckets that keeps everything below `folder`; `host` is the address it listens on."""
    binary = str(go_tool("versitygw"))
    buckets, metadata = folder / "buckets", folder / "metadata"
    buckets.mkdir(parents=True)
    metadata.mkdir()
    access, secret = "tests", "tests-secret"
    for attempt in range(1, _ATTEMPTS + 1):
        port = free_port()
        env = {key: value for key, value in os.environ.items() if not key.startswith(("VGW_", "ROOT_"))}
        env |= {"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
        argv = [binary, "--quiet", "--port", f"{host}:{port}", "--region", REGION]
        argv += ["posix", "--sidecar", str(metadata), str(buckets)]
        started = False
        try:
            with running(argv, folder / "s3.log", lambda _, port=port: listening(port, host), env=env) as process:  # type: ignore[misc]
                started = True
                yield S3(f"http://{host}:{port}", access, secret, buckets, process.pid)
            return
        except ServerError:
            if started or attempt == _ATTEMPTS:
                raise
