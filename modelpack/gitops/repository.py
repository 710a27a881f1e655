"""A branch of a repository: read at its tip, and moved forward by commits without losing anyone's work.

Everything is done on objects: no work tree is needed, and a person's is left alone but for a fast-forward that git
itself finds harmless. Where the branch lives decides how it moves: behind a remote by a push that is never forced, in a
work tree without a remote by git's own fast-forward.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.gitops.program import NETWORK_SECONDS, Git, without_login

_FALLBACK_NAME = "modelpack"
_FALLBACK_EMAIL = "modelpack@localhost"
_REGULAR = ("100644", "100755")
_LOCKED = re.compile(r"cannot lock ref|unable to update local ref|\.lock': File exists")
_RACE = re.compile(
    r"fetch first|non-fast-forward|stale info|incorrect old value|cannot lock ref|failed to update ref|failed to lock"
)
_ABSENT = re.compile(
    r"does not appear to be a git repository|repository '?.*'? not found|does not exist|not a git repository"
)


@dataclass(frozen=True)
class Entry:
    """A file in the tip's tree."""

    mode: str
    object: str


@dataclass(frozen=True)
class Revision:
    """A commit on the branch that touched a path; `data` is None where it removed the file."""

    commit: str
    data: bytes | None


class Repository:
    """A branch at its tip. `remote` is what is fetched from and pushed to, "" if the branch lives in `git`'s folder."""

    def __init__(self, git: Git, branch: str, remote: str, scratch: Path, *, ours: bool) -> None:
        self.branch = branch
        self.tip = ""
        self._git = git
        self._remote = remote
        self._scratch = scratch
        self._ours = ours  # a temporary clone, shallow until its history is asked for
        self._entries: dict[str, Entry] = {}
        self.refresh()

    @property
    def place(self) -> str:
        """The repository as messages call it."""
        return self._git.place

    # --- reading

    def refresh(self) -> None:
        """Look at the branch again; raises NotFoundError if it is gone, RemoteError if the server is."""
        ref = f"refs/heads/{self.branch}"
        if self._remote:
            ref = f"refs/remotes/{'tip' if self._ours else self._remote}/{self.branch}"
            self._fetch(ref, *(("--depth=1",) if self._ours else ()))
        found = self._git.ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if found.code:
            raise self._no_branch()
        self.tip = found.text
        self._entries = self._tree(self.tip)

    def read(self, path: str) -> bytes | None:
        """A file's bytes at the tip, None if there is no such file. Raises RefusedError for a symbolic link."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        if entry.mode not in _REGULAR:
            raise RefusedError(path, "is a symbolic link or a submodule in Git", "name the file it stands for")
        return self._git.do("cat-file", "blob", entry.object)

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """Every file at the tip whose path starts with `prefix`, sorted."""
        return tuple(sorted(path for path in self._entries if path.startswith(prefix)))

    def export(self, folder: Path) -> None:
        """Write every file of the tip below `folder`, as a checkout would: executable bits and links kept."""
        folder.mkdir(parents=True, exist_ok=True)
        git = self._indexed("export")
        git.do("read-tree", self.tip)
        options = ("-c", "core.autocrlf=false", f"--work-tree={folder.absolute()}")
        git.do(*options, "checkout-index", "--all", "--force", seconds=NETWORK_SECONDS)

    def history(self, path: str, limit: int = 1000) -> tuple[Revision, ...]:
        """The branch's own commits that touched `path`, newest first; may fetch the whole history."""
        if self._ours and self._git.line("rev-parse", "--is-shallow-repository") == "true":
            self._fetch(f"refs/remotes/tip/{self.branch}", "--unshallow")
        log = self._git.line("log", "--first-parent", "--format=%H", f"--max-count={limit}", self.tip, "--", path)
        commits = log.split()
        answer = self._git.do("cat-file", "--batch", stdin="".join(f"{each}:{path}\n" for each in commits).encode())
        found = []
        for commit in commits:
            head, _, answer = answer.partition(b"\n")
            size = -1 if head.endswith(b" missing") else int(head.split()[-1])
            found.append(Revision(commit, None if size < 0 else answer[:size]))
            answer = answer[size + 1 :]
        return tuple(found)

    def _tree(self, commit: str) -> dict[str, Entry]:
        entries = {}
        for line in self._git.do("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, kind, name = head.decode().split()
            if kind == "blob":
                entries[os.fsdecode(path)] = Entry(mode, name)
        return entries

    # --- writing

    def commit(self, files: Mapping[str, bytes], message: str) -> str:
        """Make a commit on the tip with these files' new bytes, and return its id. No branch moves."""
        git = self._indexed("commit")
        git.do("read-tree", self.tip)
        for path, data in files.items():
            mode = self._entries[path].mode if path in self._entries else _REGULAR[0]
            blob = git.line("hash-object", "-w", "--stdin", stdin=data)
            git.do("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}")
        tree = git.line("write-tree")
        signed = git.ask("config", "--type=bool", "--get", "commit.gpgSign").text == "true"
        return git.line(
            "commit-tree", *(("-S",) if signed else ()), "-p", self.tip, "-F", "-", tree, stdin=message.encode()
        )

    def publish(self, commit: str) -> bool:
        """Move the branch from `tip` to `commit`; False if somebody was faster: refresh, recompute, try again.

        Raises RefusedError when a hook, a protected branch or a person's uncommitted change is in the way, RemoteError
        when the server cannot be reached.
        """
        if self._remote:
            if not self._push(commit):
                return False
            if not self._ours:
                self._advance(commit)  # a fast-forward of the person's branch, if it loses nothing
        else:
            problem = self._advance(commit)
            if problem:
                moved = self._git.ask("rev-parse", f"refs/heads/{self.branch}").text != self.tip
                if moved or _LOCKED.search(problem):
                    return False
                raise RefusedError(
                    self.place,
                    f"{self.branch} was not moved: {problem}",
                    "commit or stash your changes, then run it again",
                )
        self.tip = commit
        self._entries = self._tree(commit)
        return True

    def _push(self, commit: str) -> bool:
        refspec = f"{commit}:refs/heads/{self.branch}"
        options = ("--porcelain", "--no-follow-tags", "--recurse-submodules=no")
        answer = self._git.ask("push", *options, self._remote, refspec, seconds=NETWORK_SECONDS)
        if answer.code == 0:
            return True
        verdict = next((line for line in answer.text.splitlines() if line.startswith("!")), "").split("\t")[-1]
        if _RACE.search(verdict):
            return False
        by_own_hook = not verdict and "fatal:" not in answer.words  # pre-push says no before the server is asked
        if "rejected]" in verdict or by_own_hook:
            words = answer.words.split("error: failed to push some refs")[0].strip()
            raise RefusedError(self.place, f"the push to {self.branch} was refused: {verdict} {words}".strip())
        raise self._unreachable(answer.words)

    def _advance(self, commit: str) -> str:
        """Fast-forward the local branch; "" or git's words why not. A checked out branch takes its files along."""
        worktree = self._worktree()
        if worktree is None:
            answer = self._git.ask(
                "fetch", "--quiet", "--no-write-fetch-head", ".", f"{commit}:refs/heads/{self.branch}"
            )
        else:
            git = replace(self._git, folder=worktree)
            answer = git.ask("merge", "--quiet", "--ff-only", "--no-autostash", "--no-verify-signatures", commit)
        return "" if answer.code == 0 else answer.words or "git says nothing"

    def _worktree(self) -> Path | None:
        """The work tree that has the branch checked out."""
        folder = None
        for line in self._git.line("worktree", "list", "--porcelain").splitlines():
            word, _, rest = line.partition(" ")
            if word == "worktree":
                folder = Path(rest)
            elif word == "branch" and rest == f"refs/heads/{self.branch}" and folder is not None and folder.is_dir():
                return folder
        return None

    # --- git

    def _fetch(self, ref: str, *options: str) -> None:
        refspec = f"+refs/heads/{self.branch}:{ref}"
        command = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", *options)
        for _ in range(10):  # two of us in one repository lock each other out for a moment
            answer = self._git.ask(*command, self._remote, refspec, seconds=NETWORK_SECONDS)
            if not answer.code or not _LOCKED.search(answer.words):
                break
        if answer.code:
            raise self._unreachable(answer.words)

    def _unreachable(self, words: str) -> Exception:
        if "couldn't find remote ref" in words:
            return self._no_branch()
        if _ABSENT.search(words):
            return NotFoundError(self.place, "is not a Git repository", "name a repository's folder or URL with --repo")
        return RemoteError(self.place, f"Git failed: {words}", "try again")

    def _no_branch(self) -> Exception:
        return NotFoundError(self.place, f"there is no branch {self.branch}", "name another with --branch")

    def _indexed(self, name: str) -> Git:
        """git with an index of its own, and with an identity if the person has none."""
        index = self._scratch / f"index-{name}"
        index.unlink(missing_ok=True)
        env = {"GIT_INDEX_FILE": str(index)}
        for role in ("AUTHOR", "COMMITTER"):
            if self._git.ask("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT").code:
                env |= {f"GIT_{role}_NAME": _FALLBACK_NAME, f"GIT_{role}_EMAIL": _FALLBACK_EMAIL}
        return replace(self._git, env=env)


@contextmanager
def open_repository(location: str, branch: str = "main") -> Iterator[Repository]:
    """Open a branch of a repository at its tip.

    `location` is a URL, the path of a bare repository, or a path inside a work tree: if that has a remote, the branch
    is the remote's, else its own. Raises NotFoundError for what is no repository or has no such branch, RemoteError for
    a server that does not answer.
    """
    if location.startswith("-") or not location:
        raise InputError(location or "--repo", "is not a repository")
    if branch.startswith("-") or not branch:
        raise InputError(branch or "--branch", "is not a branch")
    with tempfile.TemporaryDirectory(prefix="modelpack-git-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        found = _worktree_of(location)
        if found is not None:
            yield Repository(found, branch, _remote_of(found, branch), scratch, ours=False)
            return
        remote = location if _is_url(location) else str(Path(location).resolve())
        clone = Git(scratch / "clone.git", without_login(location))
        Git(scratch, clone.place).do("init", "--quiet", "--bare", str(clone.folder))
        yield Repository(clone, branch, remote, scratch, ours=True)


def _is_url(location: str) -> bool:
    return not Path(location).exists() and (":" in location.split("/")[0])


def _worktree_of(location: str) -> Git | None:
    """git in the work tree that holds `location`; None for a URL or a bare repository."""
    if _is_url(location):
        return None
    path = Path(location)
    if not path.is_dir():
        raise NotFoundError(location, "there is no such folder", "name a repository's folder or URL with --repo")
    git = Git(path.resolve(), location)
    answer = git.ask("rev-parse", "--is-inside-work-tree")
    if answer.code:
        if "not a git repository" in answer.words:
            raise NotFoundError(location, "is not a Git repository", "name a repository's folder or URL with --repo")
        raise RefusedError(location, f"git will not read it: {answer.words}")
    if answer.text != "true":
        return None
    return Git(Path(git.line("rev-parse", "--show-toplevel")), location)


def _remote_of(git: Git, branch: str) -> str:
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
