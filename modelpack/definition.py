"""`model-images/<name>/model.yaml`: what a model is called, where it comes from, and what a bump rewrites."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelpack.errors import InputError, NotFoundError
from modelpack.fields import Fields, read
from modelpack.reference import Reference
from modelpack.target import Target, read_target

API_VERSION = "modelpack.dev/v1"
VERSION_PLACEHOLDER = "{version}"
DEFAULT_BASE = "none"
MODELPACK_SUFFIX = "-modelpack"
"""The ModelPack manifest of tag `v2` has the tag `v2-modelpack`."""
FORGES = ("github", "gitlab", "gitea")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BARE = r"[^<>\s\x00-\x1f\x7f-\x9f]{1,200}"
# git refuses a name of nothing but punctuation
AUTHOR = re.compile(rf"(?=[^\w<]*\w)([^<>\x00-\x1f\x7f-\x9f\u2028\u2029]{{1,200}}) <({_BARE}@{_BARE})>")
"""A commit's author: name and address."""
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,117}")  # a tag of 128 less the suffix -modelpack
_ORDERED = re.compile(r"v?(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Copy:
    """How the model container copies: from `source` in the image to `to`, a mounted volume."""

    source: str = "/models"
    to: str = "/mnt/models"
    verify: str = "size"


@dataclass(frozen=True)
class Environment:
    """Where a model serves: an overlay of this repository, or another repository.

    `repository` is "" for the one that holds this model.yaml; another one has a model.yaml of its own, and `targets`
    are empty. `branch` is "" for the one at hand. `gate` is the address of the gate that judges there, "" for none.
    """

    name: str
    targets: tuple[Target, ...] = ()
    repository: str = ""
    branch: str = ""
    gate: str = ""


@dataclass(frozen=True)
class CommitStyle:
    """How commits are written. `message` is a jinja2 template of a whole message, "" for the usual one."""

    message: str = ""
    author: str = ""
    signoff: bool = False
    sign: bool = False


@dataclass(frozen=True)
class PullRequestStyle:
    """How pull requests are opened. `forge` and `url` (of its API) are "" where the remote's address tells."""

    forge: str = ""
    url: str = ""
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    auto_merge: bool = False


@dataclass(frozen=True)
class Definition:
    """A parsed model.yaml. `folder` is where relative sources start; None when it was read from Git.

    `targets` are those of the first environment where there are environments.
    """

    name: str
    source: str
    image: Reference
    base: str
    copy: Copy
    targets: tuple[Target, ...]
    folder: Path | None = None
    environments: tuple[Environment, ...] = ()
    commit: CommitStyle = CommitStyle()
    pull_request: PullRequestStyle = PullRequestStyle()

    def source_of(self, version: str) -> str:
        """The source's location for one version: a URL, or a path (relative ones start at `folder`)."""
        location = self.source.replace(VERSION_PLACEHOLDER, check_version(version))
        if "://" in location or self.folder is None:
            return location
        return str(self.folder / location)


def check_version(version: str) -> str:
    """A version is a tag with room for a suffix; raises InputError for what cannot be one."""
    if not _VERSION.fullmatch(version) or version.endswith(MODELPACK_SUFFIX):
        raise InputError(
            version or "version",
            "is not a version",
            f"use letters, digits, dot, dash and underscore, like v2; 118 at most, {MODELPACK_SUFFIX} not last",
        )
    return version


def order(version: str) -> tuple[int, ...] | None:
    """What versions are compared by; None unless it is dotted numbers with an optional v."""
    match = _ORDERED.fullmatch(version)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def load(path: Path) -> Definition:
    """Read `path`, a model.yaml or the folder that holds one."""
    file = path
    try:
        file = path / "model.yaml" if path.is_dir() else path
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(
            file, "there is no such file", "name a folder with a model.yaml, or run modelpack init"
        ) from error
    except OSError as error:
        raise InputError(file, f"cannot be read: {error.strerror}") from error
    return parse(data, str(file), file.parent.resolve())


def parse(data: bytes, name: str, folder: Path | None = None) -> Definition:
    """Read a model.yaml's bytes; `name` is what messages call it."""
    fields = read(data, name)
    fields.choice("apiVersion", [API_VERSION])
    fields.choice("kind", ["Model"])
    metadata = fields.mapping("metadata")
    model = metadata.text("name")
    if not _NAME.fullmatch(model):
        raise metadata.error(
            "name", f"{model!r} is not a name", "use lower case letters, digits and dashes, 63 at most"
        )
    metadata.done()
    source = fields.text("source")
    environments = _environments(fields)
    definition = Definition(
        name=model,
        source=source,
        image=_image(fields),
        base=_base(fields.text("base", DEFAULT_BASE), folder),
        copy=_copy(fields.mapping("copy")),
        targets=environments[0].targets if environments else tuple(map(read_target, fields.mappings("targets"))),
        folder=folder,
        environments=environments,
        commit=_commit(fields.mapping("commit")),
        pull_request=_pull_request(fields.mapping("pullRequest")),
    )
    fields.done()
    return definition


def _base(text: str, folder: Path | None) -> str:
    """The base; an image layout is looked for from model.yaml's folder, as the source is."""
    return f"oci:{folder / text[4:]}" if folder and text.startswith("oci:") else text


def _image(fields: Fields) -> Reference:
    text = fields.text("image")
    try:
        reference = Reference.parse(text)
    except InputError as error:
        raise fields.error("image", str(error)) from error
    if reference.tag or reference.digest:
        raise fields.error("image", f"{text!r} has a tag or digest", "leave it out: the version is the tag")
    return reference


def _copy(fields: Fields) -> Copy:
    copy = Copy(
        source=fields.text("from", Copy.source),
        to=fields.text("to", Copy.to),
        verify=fields.choice("verify", ["size", "sha256"], Copy.verify),
    )
    for key, path in (("from", copy.source), ("to", copy.to)):
        root, *parts = path.removesuffix("/").split("/")
        strange = any(part in ("", ".", "..") or part.startswith(".wh.") for part in parts)
        if root or not parts or strange or not path.isprintable():
            raise fields.error(key, f"{path!r} is not an absolute folder below /")
    source, to = PurePosixPath(copy.source), PurePosixPath(copy.to)
    if source == to or source in to.parents or to in source.parents:
        problem = f"is {copy.to!r}, where the model itself is ({copy.source!r})"
        raise fields.error("to", problem, "mount the volume somewhere else")
    fields.done()
    return copy


def _environments(fields: Fields) -> tuple[Environment, ...]:
    found: list[Environment] = []
    for each in fields.mappings("environments"):
        environment = Environment(
            name=each.text("name"),
            targets=tuple(map(read_target, each.mappings("targets"))),
            repository=each.text("repository", ""),
            branch=each.text("branch", ""),
            gate=each.text("gate", ""),
        )
        each.done()
        if not _NAME.fullmatch(environment.name):
            raise each.error("name", f"{environment.name!r} is not a name", "use lower case letters, digits and dashes")
        if environment.name in (other.name for other in found):
            raise each.error("name", f"there is a second {environment.name!r}")
        if bool(environment.repository) == bool(environment.targets):
            remedy = "give one: the model.yaml of another repository names the targets there"
            raise each.error("targets", "stand beside repository" if environment.targets else "are missing", remedy)
        found.append(environment)
    if found and "targets" in fields:
        raise fields.error("targets", "stand beside environments", "move them into the environment that they serve")
    return tuple(found)


def _commit(fields: Fields) -> CommitStyle:
    style = CommitStyle(
        message=fields.text("message", ""),
        author=fields.text("author", ""),
        signoff=fields.flag("signoff"),
        sign=fields.flag("sign"),
    )
    fields.done()
    if style.author and not AUTHOR.fullmatch(style.author):
        raise fields.error("author", f"{style.author!r} is no author", "write it as Name <address>")
    return style


def _pull_request(fields: Fields) -> PullRequestStyle:
    style = PullRequestStyle(
        forge=fields.choice("forge", FORGES, ""),
        url=fields.text("url", ""),
        labels=fields.texts("labels"),
        reviewers=fields.texts("reviewers"),
        auto_merge=fields.flag("autoMerge"),
    )
    fields.done()
    return style
