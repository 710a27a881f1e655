"""A branch of a repository: read at its tip, and moved forward by commits without losing anyone's work.

Everything is done on objects: no work tree is needed, and a person's is left alone but for a fast-forward that git
itself finds harmless. Where the branch lives decides how it moves: behind a remote by a push that is never forced, in a
work tree without a remote by git's own fast-forward.
"""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError, RemoteError
from modelpack.gitops.checkout import Checkout, checkout_of, remote_of
from modelpack.gitops.clone import clone, is_url, password_for
from modelpack.gitops.commit import Style, Writer, with_trailers
from modelpack.gitops.program import Git
from modelpack.gitops.remote import LOCKED, Remote
from modelpack.gitops.side import Side, own_mark, walk
from modelpack.gitops.view import REGULAR, View

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Repository(View):
    """A branch at its tip. `remote` is what is fetched from and pushed to, None if the branch lives in `git`'s folder;
    `checkout` is None for a temporary clone. `notes` tell what was left as it is, after `publish`."""

    def __init__(
        self, git: Git, branch: str, remote: Remote | None, checkout: Checkout | None, scratch: Path
    ) -> None:  # fmt: skip
        super().__init__(git, branch, remote, scratch)
        self.notes: tuple[str, ...] = ()
        self._checkout = checkout
        self._writer = Writer(git, scratch)
        self._check_name(branch)
        self.refresh()

    @property
    def remote_url(self) -> str:
        """The address that is pushed to, "" if the branch has no remote. It may hold a login: show it to nobody."""
        return self._remote.url() if self._remote else ""

    def credentials(self, url: str) -> str:
        """The password or token that git has for an address, "" if it has none; nobody is asked."""
        return password_for(self._git, url, self.remote_url)

    def refresh(self) -> None:
        """Look at the branch again; raises NotFoundError if it is gone, RemoteError if the server is."""
        if self._remote and not self._remote.fetch(self.branch):
            raise self._no_branch()
        ref = self._remote.ref(self.branch) if self._remote else f"refs/heads/{self.branch}"
        found = self._git.ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if found.code:
            raise self._no_branch()
        self.tip = found.text

    def at(self, place: Side | str) -> Repository:
        """The same repository, read at a side branch or another commit."""
        other = copy.copy(self)
        other.tip = place.tip if isinstance(place, Side) else place
        return other

    def at_commit(self, commit: str) -> Repository:
        """The same, read at a commit of the branch's own past; raises NotFoundError for any other."""
        if commit != self.tip:
            if self._remote:
                self._remote.deepen(self.branch)
            if not _COMMIT.fullmatch(commit) or self._git.ask("merge-base", "--is-ancestor", commit, self.tip).code:
                raise NotFoundError(commit, f"is no commit of {self.branch} in {self.place}")
        return self.at(commit)

    # --- writing

    def commit(
        self,
        files: Mapping[str, bytes],
        message: str,
        *,
        onto: str = "",
        style: Style = Style(),
        side: bool = False,
    ) -> str:
        """Make a commit with these files' new bytes, on the tip or `onto` another; gives its id. No branch moves.

        For a `side` branch it gets the mark by which `side` knows it again. Raises RefusedError if it cannot be signed.
        """
        there = self.at(onto)._entries if onto and onto != self.tip else self._entries
        modes = {path: there[path].mode if path in there else REGULAR[0] for path in files}
        tree = self._writer.tree(onto or self.tip, {path: (modes[path], data) for path, data in files.items()})
        text = with_trailers(message, [own_mark(tree, self.tip)]) if side else message
        return self._writer.commit(tree, onto or self.tip, text, style)

    def publish(self, commit: str) -> bool:
        """Move the branch from `tip` to `commit`; False if somebody was faster: refresh, recompute, try again.

        Raises ProtectedError when the server refuses, RefusedError when a person's uncommitted change is in the way,
        RemoteError when the server cannot be reached.
        """
        if self._remote:
            if not self._push(commit):
                return False
            self.notes = self._checkout.follow(self.branch, commit) if self._checkout else ()
        elif self._checkout:
            problem = self._checkout.advance(self.branch, commit)
            if problem and self._checkout.tip(self.branch) != self.tip:
                return False
            if problem:
                remedy = "commit or stash your changes, then run it again"
                if LOCKED.search(problem):
                    remedy = "another git is at work there; if none is, remove the lock file"
                raise self._git.stuck(problem) or RefusedError(
                    self.place, f"{self.branch} was not moved: {problem}", remedy
                )
        self.tip = commit
        return True

    def _push(self, commit: str) -> bool:
        assert self._remote is not None
        try:
            return self._remote.push(commit, self.branch)
        except RemoteError:
            # the answer may be what was lost, not the push
            try:
                landed = self._remote.fetch(self.branch)
            except ModelpackError:
                landed = False
            if landed and self._git.ask("rev-parse", self._remote.ref(self.branch)).text == commit:
                return True
            raise

    # --- side branches

    def side(self, name: str) -> Side | None:
        """A branch beside this one, None if there is none; raises RemoteError if the server cannot be reached."""
        self._check_side(name)
        if self._remote and not self._remote.fetch(name, depth=2):
            return None
        ref = self._remote.ref(name) if self._remote else f"refs/heads/{name}"
        tip = self._git.ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").text
        if not tip:
            return None
        other, about = walk(self._git, tip)
        if other and self._remote:
            self._remote.deepen(self.branch)
            self._remote.fetch(name, depth=2)
        known = not other or not self._git.ask("merge-base", "--is-ancestor", other, self.tip).code
        return Side(name, tip, known, about)

    def same(self, one: str, other: str) -> bool:
        """Whether two commits have the same files and parents."""
        left, right = (self._git.line("rev-parse", f"{each}^{{tree}}", f"{each}^@") for each in (one, other))
        return left == right

    def is_current(self, side: Side, files: Mapping[str, bytes]) -> bool:
        """Whether a side branch is one commit of ours with just these files, whatever else the base got since."""
        parent = self._git.ask("rev-parse", "--verify", "--quiet", f"{side.tip}^^{{tree}}")
        if not side.ours or parent.code:
            return False
        changed = self._git.do("diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{side.tip}^", side.tip)
        there = self.at(side)
        names = {os.fsdecode(each) for each in changed.split(b"\0")[:-1]}
        return names == set(files) and all(there.read(path) == data for path, data in files.items())

    def put_side(self, name: str, commit: str, expected: str) -> bool:
        """Set a side branch to a commit if it still is at `expected`, "" for one that is not there; else False.

        Raises ProtectedError when the server refuses, RemoteError when it cannot be reached.
        """
        self._check_side(name)
        if self._remote:
            return self._remote.push(commit, name, f"--force-with-lease=refs/heads/{name}:{expected}")
        assert self._checkout is not None
        return self._checkout.set_aside(name, commit, expected)

    def _check_side(self, name: str) -> None:
        if name == self.branch:
            raise InputError(name, "is the base branch itself", "name another for the side branch")
        self._check_name(name)

    def _check_name(self, name: str) -> None:
        odd = name.startswith("-") or name in ("HEAD", "@")
        if odd or self._git.ask("check-ref-format", f"refs/heads/{name}").code:
            raise InputError(name or '""', "is not a branch's name")

    def _no_branch(self) -> NotFoundError:
        return NotFoundError(self.place, f"there is no branch {self.branch}", "name another with --branch")


@contextmanager
def open_repository(location: str, branch: str = "main") -> Iterator[Repository]:
    """Open a branch of a repository at its tip.

    `location` is a URL, the path of a bare repository, or a path inside a work tree: if that has a remote, the branch
    is the remote's, else its own. Raises NotFoundError for what is no repository or has no such branch, RemoteError for
    a server that does not answer.
    """
    if location.startswith(("-", "ext::", "fd::")) or not location:  # these two are programs and pipes
        raise InputError(location or "--repo", "is not a repository")
    try:
        folder = tempfile.TemporaryDirectory(prefix="modelpack-git-", ignore_cleanup_errors=True)
    except OSError as error:
        raise RemoteError(
            tempfile.gettempdir(), f"cannot be written: {error.strerror}", "name another with $TMPDIR"
        ) from error
    with folder as name:
        scratch = Path(name).resolve()
        checkout = None if is_url(location) else checkout_of(Path(location), location)
        if checkout is None:
            git, remote = clone(location, scratch)
            yield Repository(git, branch, remote, None, scratch)
            return
        named = remote_of(checkout.git, branch)
        remote_or_none = Remote(checkout.git, named, thin=False) if named else None
        yield Repository(checkout.git, branch, remote_or_none, checkout, scratch)
