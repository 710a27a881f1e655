"""A remote: what is fetched from it, what is pushed to it, and what its refusals mean."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Collection

from modelpack.errors import ModelpackError, NotFoundError, ProtectedError, RefusedError, RemoteError
from modelpack.gitops.program import NETWORK_SECONDS, Answer, Git

LOCKED = re.compile(r"cannot lock ref|unable to update local ref|\.lock': File exists")
LOCK_SECONDS = 10.0
"""For how long another git's lock is waited for: one that stays longer was left behind by a git that crashed."""

_FASTER = ("fetch first", "non-fast-forward", "stale info", "remote ref updated since checkout")
_FASTER_THERE = re.compile(
    r"incorrect old value|cannot lock ref|failed to update ref|failed to lock|already exists|\.lock': File exists"
)
_IN_THE_WAY = re.compile(r"'refs/heads/([^']+)' exists; cannot create")
_VERDICT = re.compile(r"^!\t[^\t]*\t\[(rejected|remote rejected|remote failure)\] \((.*)\)$", re.MULTILINE)
_AILING = re.compile(
    r"API is not accessible|Internal API (?:error|unreachable)|internal server error|unpacker error|permanent storage",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(
    r"returned error: 403|Permission to \S+ denied|access to repository not granted|not allowed to push code to this"
    r"|marked as read.only|push access denied",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|Permission denied \(|Host key verification failed"
)
_ABSENT = re.compile(
    r"does not appear to be a git repository|repository '?.*'? not found|does not exist|not a git repository"
)
_NO_BRANCH = "couldn't find remote ref"
_WHOLE_ONLY = re.compile(r"shallow|filter|dumb http", re.IGNORECASE)


class Remote:
    """A remote by its name in `git`. A `thin` one is a temporary clone's: of its branches only the tips are fetched,
    and of these only the files that are asked for, as far as the server can do that."""

    def __init__(self, git: Git, name: str, *, thin: bool) -> None:
        self._git = git
        self._name = name
        self._thin = thin
        self._lacking = False  # whether the server left files out
        self._brought: set[str] = set()

    def ref(self, branch: str) -> str:
        """Where a branch of the remote is kept here."""
        return f"refs/remotes/{self._name}/{branch}"

    def url(self) -> str:
        """The address that is pushed to, login included."""
        return self._git.line("remote", "get-url", "--push", self._name).splitlines()[0]

    def fetch(self, branch: str, depth: int = 1) -> bool:
        """Look at a branch again; False if there is none. Raises RemoteError if the server cannot be reached."""
        answer = self._fetch(branch, f"--depth={depth}", "--filter=blob:none") if self._thin else self._fetch(branch)
        if self._thin and answer.code and _WHOLE_ONLY.search(answer.words):
            self._thin = False
            for key in ("promisor", "partialclonefilter"):  # what the try left would make git ask for ever
                self._git.ask("config", "--unset", f"remote.{self._name}.{key}")
            answer = self._fetch(branch)
        if answer.code and _NO_BRANCH not in answer.words:
            raise self.unreachable(answer.words)
        self._lacking = self._thin and "filtering not recognized" not in answer.words
        return not answer.code

    def deepen(self, branch: str) -> None:
        """Fetch the whole history of a branch, without its files."""
        if self._thin and self._git.line("rev-parse", "--is-shallow-repository") == "true":
            answer = self._fetch(branch, "--unshallow", "--filter=blob:none")
            if answer.code:
                raise self.unreachable(answer.words)

    def bring(self, objects: Collection[str]) -> None:
        """Fetch the files that the server left out, all in one request."""
        lacking = [each for each in dict.fromkeys(objects) if each not in self._brought] if self._lacking else []
        if not lacking:
            return
        # git fetches what it lacks by itself too, one file a time
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--filter=blob:none")
        names = "".join(f"{each}\n" for each in lacking).encode()
        noop = ("-c", "fetch.negotiationAlgorithm=noop")
        self._git.ask(*noop, "fetch", *options, "--stdin", self._name, stdin=names, seconds=NETWORK_SECONDS)
        self._brought.update(lacking)

    def _fetch(self, branch: str, *options: str) -> Answer:
        refspec = f"+refs/heads/{branch}:{self.ref(branch)}"
        command = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", *options)
        until = time.monotonic() + LOCK_SECONDS
        while True:
            answer = self._git.ask(*command, self._name, refspec, seconds=NETWORK_SECONDS)
            if not answer.code or not LOCKED.search(answer.words) or time.monotonic() > until:
                return answer
            time.sleep(random.uniform(0, 0.2))  # noqa: S311  # two of us lock each other out for a moment

    def push(self, commit: str, branch: str, *options: str) -> bool:
        """Push a commit to a branch; False if somebody was faster.

        Raises ProtectedError when the server refuses, RefusedError when a hook of the person's does or a login does not
        suffice, RemoteError when the server cannot be reached.
        """
        ours = ("--porcelain", "--no-follow-tags", "--no-signed", "--recurse-submodules=no", "--no-progress")
        refspec = f"{commit}:refs/heads/{branch}"
        answer = self._git.ask("push", *ours, *options, self._name, refspec, seconds=NETWORK_SECONDS)
        if answer.code == 0:
            return True
        if problem := in_the_way(answer.words):
            raise RefusedError(self._git.place, f"there can be no branch {branch}: {problem}", "rename that one")
        by, why = verdict(answer.text)
        if faster(by, why):
            return False
        words = answer.words.split("error: failed to push some refs")[0].strip()
        said = f"{f'({why}) ' if why else ''}{words}".strip()
        if by == "remote rejected" and not _AILING.search(said):
            raise ProtectedError(self._git.place, f"the push to {branch} was refused: {said}")
        if not by and "fatal:" not in words and "error:" not in words:  # pre-push says no before the server is asked
            raise RefusedError(self._git.place, f"the push to {branch} was refused by a hook here: {said}")
        raise self.unreachable(said)

    def unreachable(self, words: str) -> ModelpackError:
        """What it means that git failed with these words."""
        place = self._git.place
        if _ABSENT.search(words):
            return NotFoundError(place, "is not a Git repository", "name a repository's folder or URL with --repo")
        if _FORBIDDEN.search(words):
            return RefusedError(place, f"this login may not do that: {words}", "use one that may write")
        remedy = "try again"
        if _LOGIN.search(words):
            remedy = "give git a login for it that works: a credential helper, or an SSH key and the host's own"
        return self._git.stuck(words) or RemoteError(place, f"Git failed: {words}", remedy)


def verdict(porcelain: str) -> tuple[str, str]:
    """Who refused a ref, and why, from what `git push --porcelain` prints; "" if nobody got as far as that."""
    found = _VERDICT.search(porcelain)
    return (found[1], found[2]) if found else ("", "")


def in_the_way(words: str) -> str:
    """Which branch keeps another from being made, as `a` and `a/b` cannot both be; "" if that is not the trouble."""
    found = _IN_THE_WAY.search(words)
    return f"the branch {found[1]} is in the way" if found else ""


def faster(by: str, why: str) -> bool:
    """Whether a refusal means that somebody else moved the branch, or is just doing so."""
    return why in _FASTER if by == "rejected" else by == "remote rejected" and bool(_FASTER_THERE.search(why))
