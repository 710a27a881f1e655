"""Runs the `git` program, so that people's credential helpers, signing, hooks and configuration simply work.

Never interactive, always in English (its words are classified), always with a time limit.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelpack.errors import ModelpackError, NotFoundError, RemoteError

LOCAL_SECONDS = 60.0
NETWORK_SECONDS = 300.0
_GOODBYE_SECONDS = 5.0  # for git to remove its lock files after SIGTERM

# set while git runs a hook, or by a person for one command: they would point ours at somebody else's repository
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
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_REPLACE_REF_BASE",
    "GIT_ATTR_SOURCE",
)
_TRACE = "GIT_TRACE"  # and all that start with it: what they print holds logins
_OURS = {
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_EDITOR": "false",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a person's replacements are not what the server has
}
_SETTINGS = ("gc.auto=0", "maintenance.auto=false", "i18n.commitEncoding=UTF-8", "submodule.recurse=false")
QUIET = ("core.fsmonitor=false", "core.splitIndex=false", "core.hooksPath=/dev/null", "core.autocrlf=false")
"""Settings for an index and a folder of our own, of which nothing of the person's has to know."""
_STUCK = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|insufficient permission"
    r"|Input/output error|Permission denied(?! \(|,)|File too large"
)


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
    """git in one folder. `place` names the repository in messages; `settings` are for this repository alone."""

    folder: Path
    place: str
    env: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    def ask(self, *arguments: str, stdin: bytes = b"", seconds: float = LOCAL_SECONDS) -> Answer:
        """Run `git ARGUMENTS` and return whatever it ends with; raises RemoteError when the time is up."""
        settings = [word for setting in (*_SETTINGS, *self.settings) for word in ("-c", setting)]
        inherited = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
        environment = {key: value for key, value in inherited.items() if not key.startswith(_TRACE)}
        try:
            # a session of its own: no terminal to prompt on, and its children end with it
            process = subprocess.Popen(
                ["git", *settings, *arguments],
                cwd=self.folder,
                env=environment | _OURS | dict(self.env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise NotFoundError("git", "the program is not installed", "install git and put it on PATH") from error
        except OSError as error:
            raise RemoteError("git", f"cannot be started: {error.strerror}", "try again") from error
        with process:
            try:
                out, stderr = process.communicate(stdin, timeout=seconds)
            except subprocess.TimeoutExpired as error:
                _end(process)
                raise RemoteError(
                    self.place, f"git {arguments[0]} took more than {seconds:.0f} s", "try again"
                ) from error
            except KeyboardInterrupt:
                if seconds <= LOCAL_SECONDS:  # soon over; cut short, it could leave a work tree half changed
                    with suppress(subprocess.TimeoutExpired):
                        process.communicate(timeout=seconds)
                _end(process)
                raise
            except BaseException:
                _end(process)
                raise
        return Answer(process.returncode, out, _words(stderr.decode(errors="replace")))

    def do(self, *arguments: str, stdin: bytes = b"", seconds: float = LOCAL_SECONDS) -> bytes:
        """Run `git ARGUMENTS` and return its output; raises RemoteError with git's words when it fails."""
        answer = self.ask(*arguments, stdin=stdin, seconds=seconds)
        if answer.code:
            words = answer.words or f"exit code {answer.code}"
            raise self.stuck(words) or RemoteError(self.place, f"git {arguments[0]} failed: {words}")
        return answer.out

    def line(self, *arguments: str, stdin: bytes = b"") -> str:
        """The output of `do` as text without its final newline."""
        return self.do(*arguments, stdin=stdin).decode(errors="replace").strip()

    def stuck(self, words: str) -> ModelpackError | None:
        """The error for a disk that takes nothing more, if git's words are about that."""
        found = _STUCK.search(words)
        if found is None:
            return None
        return RemoteError(self.place, f"cannot be written: {found[0]}: {words}", "nothing was pushed")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and its children: by SIGTERM, on which git removes its lock files, else by SIGKILL."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GOODBYE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _words(stderr: str) -> str:
    lines = (line.split("\r")[-1].strip() for line in stderr.splitlines())
    kept = (line.removeprefix("remote: ").strip() for line in lines if not line.startswith("hint:"))
    return without_login(" ".join(line for line in kept if line and line != "remote:"))


def without_login(text: str) -> str:
    """A text whose URLs show neither user nor password."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)
