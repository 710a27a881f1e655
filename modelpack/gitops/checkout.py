"""A person's own repository: which branch moves how, and what is left as it is."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack.errors import InputError, NotFoundError, RefusedError
from modelpack.gitops.program import Git
from modelpack.gitops.remote import LOCK_SECONDS, LOCKED, in_the_way

_NO_REPOSITORY = "name a repository's folder or URL with --repo"


@dataclass(frozen=True)
class Checkout:
    """Branches of a repository with a work tree."""

    git: Git

    def tip(self, branch: str) -> str:
        """A branch's commit, "" if there is no such branch."""
        return self.git.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}").text

    def advance(self, branch: str, commit: str) -> str:
        """Fast-forward a branch; "" or git's words why not. A checked out one takes its files along, if that loses
        nothing of what the person changed."""
        folder = self._folder(branch)
        if folder is None:
            git = self.git
            command = ["fetch", "--quiet", "--no-write-fetch-head", ".", f"{commit}:refs/heads/{branch}"]
        else:
            git = replace(self.git, folder=folder)
            command = ["merge", "--quiet", "--ff-only", "--no-overwrite-ignore", "--no-autostash"]
            command += ["--no-verify-signatures", commit]
        until = time.monotonic() + LOCK_SECONDS
        before = self.tip(branch)
        while True:
            answer = git.ask(*command)
            if answer.code == 0:
                return ""
            waits = LOCKED.search(answer.words) and self.tip(branch) == before
            if not waits or time.monotonic() > until:
                return answer.words or "git says nothing"
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311

    def follow(self, branch: str, commit: str) -> tuple[str, ...]:
        """Take the person's branch along to a commit that was pushed; sentences about why it stays where it is."""
        mine = self.tip(branch)
        if not mine:
            return ()
        ahead = int(self.git.ask("rev-list", "--count", f"{commit}..{mine}").text or 0)
        if ahead:
            are = "commit that is" if ahead == 1 else "commits that are"
            return (f"your checkout has {ahead} {are} not pushed: it stays as it is",)
        problem = self.advance(branch, commit)
        return (f"your checkout stays as it is: {problem}",) if problem else ()

    def set_aside(self, name: str, commit: str, expected: str) -> bool:
        """Set a branch that nobody has checked out, if it still is what is expected; "" where there was none."""
        if self._folder(name):
            raise RefusedError(self.git.place, f"{name} is checked out", "switch to another branch")
        answer = self.git.ask("update-ref", f"refs/heads/{name}", commit, expected or "0" * len(commit))
        if problem := in_the_way(answer.words):
            raise RefusedError(self.git.place, f"there can be no branch {name}: {problem}", "rename that one")
        if answer.code and self.tip(name) == expected and not LOCKED.search(answer.words):
            raise RefusedError(self.git.place, f"{name} was not set: {answer.words}")
        return not answer.code

    def _folder(self, branch: str) -> Path | None:
        """The work tree that has the branch checked out."""
        folder = None
        for line in self.git.line("worktree", "list", "--porcelain").splitlines():
            word, _, rest = line.partition(" ")
            if word == "worktree":
                folder = Path(rest)
            elif word == "branch" and rest == f"refs/heads/{branch}" and folder is not None and folder.is_dir():
                return folder
        return None


def checkout_of(path: Path, location: str) -> Checkout | None:
    """The work tree that holds a folder; None for a bare repository. Raises NotFoundError for what is neither."""
    if not path.is_dir():
        raise NotFoundError(location, "there is no such folder", _NO_REPOSITORY)
    git = Git(path.resolve(), location)
    answer = git.ask("rev-parse", "--is-inside-work-tree")
    if answer.code:
        if "not a git repository" in answer.words:
            raise NotFoundError(location, "is not a Git repository", _NO_REPOSITORY)
        raise RefusedError(location, f"git will not read it: {answer.words}")
    if answer.text != "true":
        return None
    return Checkout(Git(Path(git.line("rev-parse", "--show-toplevel")), location))


def remote_of(git: Git, branch: str) -> str:
    """The remote that a work tree's branch belongs to, "" if there is none; raises InputError where it might be any."""
    remotes = git.line("remote").split()
    configured = git.ask("config", "--get", f"branch.{branch}.remote").text
    if configured in remotes:
        return configured
    if "origin" in remotes:
        return "origin"
    if len(remotes) > 1:
        remedy = f"set it with git config branch.{branch}.remote"
        raise InputError(git.place, f"{branch} may belong to any of {', '.join(remotes)}", remedy)
    return "".join(remotes)
