"""A serving repository whose changes are proposed: real Git, a forge in memory, and a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from modelpack.gitops import Change, Repository, open_repository, propose_bump
from modelpack.gitops.beside import push_side
from modelpack.gitops.proposal import Kind, proposed, write
from modelpack.gitops.pull import Pulled, open_pull
from modelpack.gitops.rollback import rollback_of
from tests.fakes import git_serving as serving
from tests.fakes.forge import FakeForge
from tests.fakes.git_serving import git, wanted

BRANCH = "modelpack/mpg"
NOTES = "manifests/mpg/notes.md"


@dataclasses.dataclass
class World:
    """A bare repository that serves v1, its forge, and a person with a clone."""

    folder: Path
    forge: FakeForge

    @property
    def bare(self) -> Path:
        return self.folder / "bare"

    def bump(self, version: str, **given: object) -> Pulled:
        return self.pull(lambda tip: propose_bump(tip, wanted(version)), **given)

    def pull(self, propose: Callable[[Repository], Change] | None, kind: Kind = Kind.BUMP, **given: object) -> Pulled:
        with open_repository(str(self.bare)) as repository:
            return open_pull(
                repository,
                self.forge,
                propose or rollback_of(repository, "mpg"),
                branch=BRANCH,
                compose=lambda change: write(change, kind=kind),
                **given,  # type: ignore[arg-type]
            )

    def put_aside(self, version: str, branch: str = "next", **given: object) -> tuple[Change, str]:
        """Push a bump to a branch, and no more."""
        with open_repository(str(self.bare)) as repository:
            return push_side(repository, lambda tip: propose_bump(tip, wanted(version)), branch=branch, **given)  # type: ignore[arg-type]

    def commit(self, content: dict[str, str], branch: str = "main") -> str:
        """A person's commit on top of a branch."""
        clone = self.folder / "person"
        if not clone.exists():
            git(self.folder, "clone", "--quiet", str(self.bare), str(clone))
        git(clone, "fetch", "--quiet")
        git(clone, "checkout", "--quiet", "-B", branch, f"origin/{branch}")
        commit = serving.commit(clone, content)
        git(clone, "push", "--quiet", "origin", branch)
        return commit

    def merge(self, number: int, how: str = "merge") -> None:
        """What the forge does when a person merges."""
        branch = self.forge.pulls[number].branch
        head = git(self.bare, "rev-parse", branch)
        clone = self.folder / f"merge-{number}"
        git(self.folder, "clone", "--quiet", str(self.bare), str(clone))
        git(clone, "merge", "--quiet", *(("--squash",) if how == "squash" else ("--no-ff",)), f"origin/{branch}")
        if how == "squash":
            git(clone, "commit", "--quiet", "--message", "squashed")
        git(clone, "push", "--quiet", "origin", "main")
        self.forge.merge(number)
        self.forge.pulls[number] = dataclasses.replace(self.forge.pulls[number], head=head)

    def head(self, branch: str = BRANCH) -> str:
        return git(self.bare, "rev-parse", branch)

    def log(self, branch: str = BRANCH) -> list[str]:
        return git(self.bare, "log", "--format=%s", f"main..{branch}").splitlines()

    def says(self, number: int) -> tuple[str, str]:
        """The title and the digest of a pull request."""
        return self.forge.pulls[number].title, proposed(self.forge.pulls[number].body)[0]
