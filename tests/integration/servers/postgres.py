"""PostgreSQL itself (Debian's), on a loopback port, with a password, as a user that is not root."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.servers.process import MissingError, ServerError, free_port, running

USER = "gate"
_NOBODY = "postgres"  # who runs it where this is root, which it refuses; the package makes the user


def _bin() -> Path:
    """Where its programs are: Debian keeps them off the PATH. Raises MissingError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[4]))
    if not found:
        raise MissingError("postgres", "apt-get install postgresql")
    return found[-1].parent


@contextmanager
def postgres() -> Iterator[str]:
    """An empty database; yields its SQLAlchemy URL, password included.

    Its folder is one of its own below the system's for temporary files: other users may pass through to no other.
    """
    programs, password = _bin(), secrets.token_hex(12)
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        data, as_user = folder / "data", list[str]()
        (folder / "password").write_text(password)
        if os.geteuid() == 0:
            user = pwd.getpwnam(_NOBODY)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
            for each in (folder, folder / "password"):
                os.chown(each, user.pw_uid, user.pw_gid)
        login = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        made = [*as_user, str(programs / "initdb"), "-D", str(data), "-N", "-E", "UTF8", "--locale=C", *login]
        ran = subprocess.run(made, capture_output=True, text=True, cwd=folder, timeout=120, check=False)
        if ran.returncode:
            raise ServerError(f"initdb ended with {ran.returncode}: {ran.stderr}")
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        argv = [*as_user, str(programs / "postgres"), "-D", str(data)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        url = f"postgresql+psycopg://{USER}:{password}@127.0.0.1:{port}/postgres"
        with running(argv, folder / "log", lambda log: "ready to accept connections" in log) as process:
            try:
                yield url
            finally:
                process.send_signal(signal.SIGINT)  # SIGTERM would have it wait for its clients
                process.wait(15)
    finally:
        shutil.rmtree(folder)
