"""A branch of a repository as it is read: its files at the tip, and what it says of the past.

Everything is read from objects, byte for byte: no work tree, no filter, no setting comes between.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelpack.errors import RefusedError, RemoteError
from modelpack.gitops import log
from modelpack.gitops.program import NETWORK_SECONDS, QUIET, Git
from modelpack.gitops.remote import Remote

REGULAR = ("100644", "100755")
"""The modes of a file, and of one that is executable."""


@dataclass(frozen=True)
class Entry:
    """A file in the tip's tree."""

    mode: str
    object: str


@dataclass(frozen=True)
class Revision:
    """A commit on the branch that touched a path; `data` is None where it removed the file.

    `message` is the commit's, of a merge with that of what it brought in.
    """

    commit: str
    data: bytes | None
    message: str = ""


class View:
    """A branch read at its tip. `remote` is where it comes from, None if it lives in `git`'s folder."""

    def __init__(self, git: Git, branch: str, remote: Remote | None, scratch: Path) -> None:
        self.branch = branch
        self.tip = ""
        self._git = git
        self._remote = remote
        self._scratch = scratch
        self._listed: tuple[str, dict[str, Entry]] = ("", {})  # the commit that the files are of
        self._files: dict[str, bytes] = {}

    @property
    def place(self) -> str:
        """The repository as messages call it."""
        return self._git.place

    def read(self, path: str) -> bytes | None:
        """A file's bytes at the tip, None if there is no such file. Raises RefusedError for a symbolic link."""
        entry = self._entries.get(path)
        if entry is None:
            return None
        if entry.mode not in REGULAR:
            raise RefusedError(path, "is a symbolic link or a submodule in Git", "name the file it stands for")
        self.want([path])
        if entry.object not in self._files:
            raise RemoteError(path, f"cannot be read from {self.place}: its object is missing", "try again")
        return self._files[entry.object]

    def want(self, paths: Collection[str]) -> None:
        """Say which files are going to be read, so that they come all at once."""
        objects = [self._entries[each].object for each in paths if each in self._entries]
        lacking = [each for each in dict.fromkeys(objects) if each not in self._files]
        for name, data in zip(lacking, self.objects(lacking), strict=True):
            if data is not None:
                self._files[name] = data

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """Every file at the tip whose path starts with `prefix`, sorted."""
        return tuple(sorted(path for path in self._entries if path.startswith(prefix)))

    def export(self, folder: Path) -> None:
        """Write every file of the tip below `folder`, byte for byte as Git has it: executable bits and links kept."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._remote:
            self._remote.bring([entry.object for entry in self._entries.values()])
        # a folder of Git's own without the person's settings: no filter of theirs alters a byte
        git = Git(self._scratch, self.place)
        bare = self._scratch / "export.git"
        if not bare.exists():
            git.do("init", "--quiet", "--bare", "--template=", str(bare))
            (bare / "info").mkdir(exist_ok=True)
            attributes = "* !text !eol !crlf !filter !ident !working-tree-encoding\n"
            (bare / "info/attributes").write_text(attributes)
        objects = self._git.folder / self._git.line("rev-parse", "--git-path", "objects")
        env = {"GIT_DIR": str(bare), "GIT_OBJECT_DIRECTORY": str(objects), "GIT_INDEX_FILE": str(bare / "index")}
        git = replace(git, env=env, settings=(*QUIET, "core.symlinks=true", "core.bare=false"))
        git.do("read-tree", self.tip)
        options = (f"--work-tree={folder.absolute()}", "checkout-index", "--all", "--force")
        git.do(*options, seconds=NETWORK_SECONDS)

    def history(self, path: str, limit: int = 1000) -> tuple[Revision, ...]:
        """The branch's own commits that touched `path`, newest first; may fetch the whole history."""
        found = list(log.parse(self.log([path], "--no-renames", f"--max-count={limit}")))
        files = self.contents([each.after for _, changes in found for each in changes if each.after])
        merges = [commit for commit, _ in found if len(commit.parents) > 1]
        merged = self.objects([each.parents[1] for each in merges])
        brought = {each.id: (text or b"").decode(errors="replace") for each, text in zip(merges, merged, strict=True)}
        data = iter(files)
        return tuple(
            Revision(
                commit.id,
                next((next(data) for each in changes if each.after), None),
                f"{commit.message}\n{brought.get(commit.id, '')}".strip(),
            )
            for commit, changes in found
        )

    def log(self, paths: Collection[str], *options: str) -> bytes:
        """What `git log` prints about the branch's own commits that touched these paths, for `log.parse`.

        May fetch the whole history; raises RefusedError for a shallow checkout of the person's, whose past is cut off.
        """
        if self._remote:
            self._remote.deepen(self.branch)
        self._check_whole()
        return self._git.do("log", *log.OPTIONS, *options, self.tip, "--", *paths, seconds=NETWORK_SECONDS)

    def _check_whole(self) -> None:
        """What came before the cut would be told as never having been, and gone back over."""
        if self._git.line("rev-parse", "--is-shallow-repository") != "true":
            return
        cut = (self._git.folder / self._git.line("rev-parse", "--git-path", "shallow")).read_text().split()
        oldest = self._git.line("rev-list", "--first-parent", "--max-parents=0", self.tip).split()
        if not set(oldest).isdisjoint(cut):
            remedy = "run git fetch --unshallow there, or name the remote itself with --repo"
            raise RefusedError(self.place, f"is shallow: it lacks the history of {self.branch}", remedy)

    def object_at(self, path: str) -> str:
        """The object of a file at the tip, "" if there is no such file."""
        return self._entries[path].object if path in self._entries else ""

    def contents(self, names: Sequence[str]) -> list[bytes]:
        """The bytes of objects that have to be there; raises RemoteError where one is missing."""
        found = [each for each in self.objects(names) if each is not None]
        if len(found) < len(names):
            raise RemoteError(self.place, "objects of its history are missing", "git fsck says more where it is broken")
        return found

    def objects(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of objects, all in one go; None for one that is not there."""
        if not names:
            return []
        if self._remote:
            self._remote.bring(names)
        lines = "".join(f"{each}\n" for each in names).encode()
        answer = self._git.do("cat-file", "--batch", stdin=lines, seconds=NETWORK_SECONDS)
        found: list[bytes | None] = []
        at = 0
        for _ in names:
            end = answer.index(b"\n", at)
            head, at = answer[at:end], end + 1
            if head.endswith(b" missing"):
                found.append(None)
                continue
            size = int(head.split()[-1])
            found.append(answer[at : at + size])
            at += size + 1
        return found

    @property
    def _entries(self) -> dict[str, Entry]:
        if self._listed[0] != self.tip:
            found = {}
            for line in self._git.do("ls-tree", "-r", "-z", "--full-tree", self.tip).split(b"\0")[:-1]:
                head, _, path = line.partition(b"\t")
                mode, kind, name = head.decode().split()
                if kind == "blob":
                    found[os.fsdecode(path)] = Entry(mode, name)
            self._listed = (self.tip, found)
        return self._listed[1]
