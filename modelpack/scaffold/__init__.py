"""The first files of a model: definition, gate, golden set, serving Deployment, Canary.

In goes a `Scaffold` (a name and a few images), out come paths with bytes, rendered from the jinja2 templates beside
this file; `write` puts them below a folder, all of them or none. The example in `model-images/mpg` is what this
renders, and a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from modelpack import definition
from modelpack.errors import InputError, RefusedError, RemoteError
from modelpack.reference import Reference

# Flagger makes Services NAME, NAME-canary and NAME-primary; a Service's name starts with a letter and has 63 characters
# at most.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,53}[a-z0-9])?")

INIT_CONTAINER = "init-container"
IMAGE_VOLUME = "image-volume"
SERVES = (INIT_CONTAINER, IMAGE_VOLUME)

# path below the repository -> template
_TEMPLATES = {
    "model-images/{name}/.gitignore": "gitignore.j2",
    "model-images/{name}/model.yaml": "model.yaml.j2",
    "model-images/{name}/gate.yaml": "gate.yaml.j2",
    "model-images/{name}/golden.jsonl": "golden.jsonl.j2",
    "model-images/{name}/kustomization.yaml": "kustomization-model.yaml.j2",
    "manifests/{name}/deployment.yaml": "deployment.yaml.j2",
    "manifests/{name}/autoscaler.yaml": "autoscaler.yaml.j2",
    "manifests/{name}/route.yaml": "route.yaml.j2",
    "manifests/{name}/access.yaml": "access.yaml.j2",
    "manifests/{name}/kustomization.yaml": "kustomization.yaml.j2",
    "flagger/{name}/canary.yaml": "canary.yaml.j2",
    "flagger/{name}/kustomization.yaml": "kustomization-canary.yaml.j2",
}


@dataclass(frozen=True)
class Scaffold:
    """What the templates are filled with. `image`, `server` and `base` get a default where they are ""."""

    name: str
    image: str = ""  # the model containers' repository, without tag
    server: str = ""  # the image that serves the model
    source: str = "./artifacts/{version}"
    serve: str = INIT_CONTAINER  # how the model reaches the server, one of SERVES
    base: str = ""  # what the copy script needs: the host's busybox, and nothing for an image volume
    rehearse_command: str = "python model-images/{name}/serve.py"  # on a machine without containers, from the root


def render(scaffold: Scaffold) -> Mapping[str, bytes]:
    """Every file of a new model by its path. Raises InputError for a name or an image that cannot be one."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    name = scaffold.name
    if scaffold.serve not in SERVES:
        raise InputError(scaffold.serve, "is no way to serve a model", f"choose one of {', '.join(SERVES)}")
    if not _NAME.fullmatch(name):
        raise InputError(
            name or "name", "is not a name", "start with a letter, use a-z, 0-9 and dashes, 55 characters at most"
        )
    values = {
        **asdict(scaffold),
        "image": scaffold.image or f"registry.local/models/{name}",
        "base": scaffold.base or ("none" if scaffold.serve == IMAGE_VOLUME else "host-busybox"),
        "mounted": scaffold.serve == IMAGE_VOLUME,
        "server": scaffold.server or f"registry.local/servers/{name}:v1",
        "rehearse_command": scaffold.rehearse_command.replace("{name}", name),
    }
    Reference.parse(values["server"])
    environment = Environment(
        loader=PackageLoader("modelpack.scaffold"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML, not HTML; every value from outside passes `scalar`
    )
    environment.filters["scalar"] = _scalar
    files = {
        path.format(name=name): environment.get_template(template).render(values).encode()
        for path, template in _TEMPLATES.items()
    }
    model = f"model-images/{name}/model.yaml"
    definition.parse(files[model], model)
    return files


def write(files: Mapping[str, bytes], folder: Path) -> tuple[Path, ...]:
    """Write the files below `folder`. Raises RefusedError, before anything is written, if one of them is there."""
    paths = {folder / path: data for path, data in files.items()}
    for path in paths:
        if path.is_symlink() or path.exists():
            raise RefusedError(
                path, "is there already, nothing was written", "choose another name or folder, or remove it"
            )
    written: list[Path] = []
    try:
        for path, data in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                written.append(path)
                file.write(data)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        raise RemoteError(error.filename or folder, f"cannot be written: {error.strerror}") from error
    return tuple(paths)


def _scalar(text: str) -> str:
    """One line of YAML that reads back as exactly this text: plain where that is possible, else quoted."""
    return yaml.safe_dump(text, width=2**31, allow_unicode=True).removesuffix("...\n").strip()
