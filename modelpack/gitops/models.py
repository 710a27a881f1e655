"""Which model an image belongs to, and which versions of it were rejected: both as the branch's tip says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import yaml

from modelpack.definition import Definition, parse
from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.fields import Fields, compose, nearest
from modelpack.gitops.commit import one_line
from modelpack.gitops.repository import Repository
from modelpack.oci import is_digest
from modelpack.reference import Reference
from modelpack.yamledit import append

ROOT = "model-images/"
_FILE = re.compile(rf"{ROOT}[^/]+/model\.yaml")
REJECTED = "rejected.yaml"


@dataclass(frozen=True)
class Model:
    """A model that the tip defines. `folder` is the path of the folder with its model.yaml."""

    definition: Definition
    folder: str

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def rejected_path(self) -> str:
        return f"{self.folder}/{REJECTED}"


def model_files(paths: Iterable[str]) -> list[str]:
    """Those of a repository's paths that are a model's model.yaml."""
    return [path for path in paths if _FILE.fullmatch(path)]


def rejected_files(paths: Iterable[str]) -> list[str]:
    """Those of a repository's paths that are a model's rejected.yaml."""
    return [path for path in paths if path.startswith(ROOT) and path.endswith(f"/{REJECTED}")]


def by_image(repository: Repository, reference: Reference) -> Model:
    """The one model whose images are in the reference's repository; raises NotFoundError that says what there is."""
    return _only(repository, reference.name, lambda each: each.image.name)


def by_name(repository: Repository, name: str) -> Model:
    """The one model with a name; raises NotFoundError that says what there is."""
    return _only(repository, name, lambda each: each.name)


def every(repository: Repository) -> tuple[Model, ...]:
    """Every model of the tip, by path; raises InputError with file and line for a model.yaml that cannot be read."""
    paths = repository.paths(ROOT)
    files = model_files(paths)
    repository.want([*files, *rejected_files(paths)])
    return tuple(Model(parse(repository.read(path) or b"", path), path.rpartition("/")[0]) for path in files)


def _only(repository: Repository, wanted: str, key: Callable[[Definition], str]) -> Model:
    found, known, broken = [], [], None
    files = model_files(repository.paths(ROOT))
    repository.want(files)
    for path in files:
        try:
            definition = parse(repository.read(path) or b"", path)
        except ModelpackError as error:
            broken = error  # somebody else's model must not stop this one
            continue
        known.append(key(definition))
        if key(definition) == wanted:
            found.append(Model(definition, path.rpartition("/")[0]))
    if len(found) > 1:
        places = " and ".join(f"{each.folder}/model.yaml" for each in found)
        raise RefusedError(wanted, f"two models have it: {places}", "give each its own")
    if found:
        return found[0]
    if broken:
        raise broken
    where = f"no {ROOT}*/model.yaml on {repository.branch} of {repository.place} has it"
    near = nearest(wanted, known)
    raise NotFoundError(
        wanted, where, f"did you mean {near}?" if near else f"known there: {', '.join(known) or 'none'}"
    )


@dataclass(frozen=True)
class Rejected:
    """An entry of rejected.yaml. `model` is the model digest, `image` a reference with digest, `at` ISO 8601 UTC."""

    model: str
    image: str
    version: str
    rollout: str
    reason: str
    at: str

    def names(self, digest: str, model_digest: str = "", version: str = "") -> bool:
        """Whether this entry is about an image digest or a model digest, neither of which "" is.

        One that has no digest, as a person may write it, is about whatever carries its version.
        """
        if self.model or "@" in self.image:
            return bool((digest and self.image.endswith(digest)) or (model_digest and self.model == model_digest))
        return bool(version) and version == self.label

    @property
    def label(self) -> str:
        """The version, else what the image says of it."""
        return self.version or self.image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def rejected(repository: Repository, model: Model) -> tuple[Rejected, ...]:
    """The model's rejected versions, oldest first; raises InputError with file and line for what cannot be read."""
    return read_rejected(repository.read(model.rejected_path) or b"", model.rejected_path)


def read_rejected(data: bytes, path: str) -> tuple[Rejected, ...]:
    """The entries of a rejected.yaml; raises InputError with file and line."""
    documents = compose(data, path)
    if not documents:
        return ()
    if len(documents) > 1 or not isinstance(documents[0], yaml.SequenceNode):
        raise InputError(path, "is not a list of {model, image, version, rollout, reason, at}")
    return tuple(_entry(path, item) for item in documents[0].value)


def _entry(path: str, item: yaml.Node) -> Rejected:
    where = f"{path}:{item.start_mark.line + 1}"
    if not isinstance(item, yaml.MappingNode):
        raise InputError(where, "is not a mapping with model, image, version")
    fields = Fields(path, item)
    entry = Rejected(*(fields.text(key, "") for key in Rejected.__dataclass_fields__))
    fields.done()
    if (entry.model and not is_digest(entry.model)) or not (entry.model or "@" in entry.image or entry.label):
        problem = f"{entry.model!r} is no model digest" if entry.model else "does not say what is rejected"
        raise InputError(where, problem, "write version: v2, or image: with its digest")
    return entry


def with_rejected(data: bytes | None, path: str, entry: Rejected) -> bytes:
    """rejected.yaml with one entry more; `data` is None where there is no such file yet."""
    texts = {key: one_line(value) for key, value in asdict(entry).items()}
    return append(data or b"# Versions that are not proposed again. Remove an entry to lift it.\n", path, texts)
