"""`--via` and MODELPACK_VIA: serve a reference prefix from image layouts on disk instead of a registry.

A rule is `PREFIX=oci:DIR`. There is one layout per repository, in DIR and the rest of the repository's path: with
`registry.local/=oci:./var/registry`, `registry.local/models/mpg` is the layout `./var/registry/models/mpg`. Prefixes
end at a `/`; the longest that fits wins. Relative folders start at the working directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpack.errors import InputError
from modelpack.reference import Reference

VARIABLE = "MODELPACK_VIA"


@dataclass(frozen=True)
class Via:
    """Rules of (prefix without a final slash, folder). Of two rules with one prefix the first holds."""

    rules: tuple[tuple[str, Path], ...] = ()

    @classmethod
    def parse(cls, *rules: str) -> Via:
        """Read rules as people write them; raises InputError for what is none."""
        return cls(tuple(_rule(each) for each in rules))

    @classmethod
    def from_environ(cls, extra: Sequence[str] = ()) -> Via:
        """The rules of the command line, then those of MODELPACK_VIA, separated there by commas or spaces."""
        told = os.environ.get(VARIABLE, "").strip(", \t\n")
        rules = re.split(r"[,\s]+(?=[^,\s=]+=)", told)  # a folder's name may hold a space
        return cls.parse(*extra, *filter(None, rules))

    def path_of(self, reference: Reference) -> Path | None:
        """The layout that stands for a reference's repository, None where the registry itself is asked."""
        fitting = [rule for rule in self.rules if f"{reference.name}/".startswith(f"{rule[0]}/")]
        if not fitting:
            return None
        prefix, folder = max(fitting, key=lambda rule: len(rule[0]))
        return folder / reference.name[len(prefix) :].lstrip("/")


def _rule(text: str) -> tuple[str, Path]:
    prefix, equals, location = text.partition("=")
    prefix = prefix.rstrip("/")
    scheme, colon, folder = location.partition(":")
    if not (prefix and equals and colon and folder and scheme == "oci"):
        raise InputError(text, "is not a via rule", "write PREFIX=oci:DIR, like registry.local/=oci:./var/registry")
    return prefix, Path(os.path.expanduser(folder))  # noqa: PTH111 (pathlib's raises where there is no such user)
