"""Runs the `git` program, so that people's credential helpers, signing, hooks and configuration simply work.

Never interactive, always in English (its words are classified), always with a time limit.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.errors import NotFoundError, RemoteError

LOCAL_SECONDS = 60.0
NETWORK_SECONDS = 300.0

# set while git runs a hook: they would point our commands at somebody else's repository
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
)
_OURS = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_LITERAL_PATHSPECS": "1", "GIT_EDITOR": "false"}
_SETTINGS = ("gc.auto=0", "maintenance.auto=false", "i18n.commitEncoding=UTF-8", "submodule.recurse=false")


@dataclass(frozen=True)
class Answer:
    """What a run of git ended with. `words` is its stderr as one line, without hints and progress."""

    code: int
    out: bytes
    words: str

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace").strip()


@dataclass(frozen=True)
class Git:
    """git in one folder. `place` names the repository in messages."""

    folder: Path
    place: str
    env: Mapping[str, str] = field(default_factory=dict)

    def ask(self, *arguments: str, stdin: bytes = b"", seconds: float = LOCAL_SECONDS) -> Answer:
        """Run `git ARGUMENTS` and return whatever it ends with; raises RemoteError when the time is up."""
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        environment = {key: value for key, value in os.environ.items() if key not in _FOREIGN} | _OURS | dict(self.env)
        try:
            # a session of its own: no terminal to prompt on, and its children end with it
            process = subprocess.Popen(
                ["git", *settings, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise NotFoundError("git", "the program is not installed", "install git and put it on PATH") from error
        with process:
            try:
                out, stderr = process.communicate(stdin, timeout=seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise RemoteError(self.place, f"git {arguments[0]} took more than {seconds:.0f} s") from error
                raise
        return Answer(process.returncode, out, _words(stderr.decode(errors="replace")))

    def do(self, *arguments: str, stdin: bytes = b"", seconds: float = LOCAL_SECONDS) -> bytes:
        """Run `git ARGUMENTS` and return its output; raises RemoteError with git's words when it fails."""
        answer = self.ask(*arguments, stdin=stdin, seconds=seconds)
        if answer.code:
            raise RemoteError(self.place, f"git {arguments[0]} failed: {answer.words or f'exit code {answer.code}'}")
        return answer.out

    def line(self, *arguments: str, stdin: bytes = b"") -> str:
        """The output of `do` as text without its final newline."""
        return self.do(*arguments, stdin=stdin).decode(errors="replace").strip()


def _words(stderr: str) -> str:
    lines = (line.split("\r")[-1].strip() for line in stderr.splitlines())
    kept = (line.removeprefix("remote: ").strip() for line in lines if not line.startswith("hint:"))
    return without_login(" ".join(line for line in kept if line and line != "remote:"))


def without_login(text: str) -> str:
    """A text whose URLs show neither user nor password."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)
