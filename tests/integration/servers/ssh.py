"""Git over SSH: Debian's sshd for the current user alone, with keys of its own and none of the machine's settings."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.servers.process import free_port, program, running

HOST = "git.example.com"
"""What clients call the server besides 127.0.0.1: their configuration leads there."""

_PRIVILEGE_SEPARATION = Path("/run/sshd")  # where Debian's sshd, run by root, goes to drop its rights
_SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/known.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
"""
_CLIENT = """\
Host {host}
  HostName 127.0.0.1
  Port {port}
Host *
  User {user}
  IdentityFile {folder}/{key}
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/{hosts}
  StrictHostKeyChecking yes
"""


@dataclass(frozen=True)
class SshServer:
    """`url` is the address before a repository's path. Each command is for GIT_SSH_COMMAND or core.sshCommand:
    `command` has the right key, `stranger` another one, `wary` does not know the server's."""

    url: str
    command: str
    stranger: str
    wary: str


@contextmanager
def ssh(folder: Path) -> Iterator[SshServer]:
    """Any repository of this machine that the current user can reach, by its path."""
    sshd, keygen = (
        program("sshd", "apt-get install openssh-server"),
        program("ssh-keygen", "apt-get install openssh-client"),
    )
    folder.mkdir()
    for key in ("host", "known", "unknown"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(folder / key)], check=True)
    (folder / "hosts").write_text(f"* {(folder / 'host.pub').read_text()}")
    (folder / "no-hosts").write_text("")
    port = free_port()
    (folder / "sshd_config").write_text(_SERVER.format(port=port, folder=folder))
    commands = []
    for key, hosts in (("known", "hosts"), ("unknown", "hosts"), ("known", "no-hosts")):
        config = folder / f"{key}-{hosts}"
        of = {"host": HOST, "port": port, "user": getpass.getuser(), "folder": folder, "key": key, "hosts": hosts}
        config.write_text(_CLIENT.format(**of))
        commands.append(f"ssh -F {config}")
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)  # and stays, as other sshds may need it
    argv = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
    with running(argv, folder / "sshd.log", lambda text: "Server listening on" in text):
        yield SshServer(f"ssh://127.0.0.1:{port}", *commands)
