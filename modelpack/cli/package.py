"""build, push, inspect, verify, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelpack import fetch, provenance, publish
from modelpack.cli.options import REFERENCE, emit, human, json_option, progress, via_option
from modelpack.definition import VERSION_PLACEHOLDER, check_version, load
from modelpack.errors import InputError
from modelpack.reference import Reference
from modelpack.registry import Via
from modelpack.store import Store


@click.command()
@click.argument("model", type=click.Path(path_type=Path), default=".", metavar="[MODEL_DIR|model.yaml]")
@click.option("--version", metavar="VERSION", help="The version: the image's tag, and {version} in the source.")
@click.option("-t", "--tag", "reference", type=REFERENCE, help="Name the image so instead of <image>:<version>.")
@click.option("--base", metavar="BASE", help="A pinned REF, oci:DIR, host-busybox or none, instead of model.yaml's.")
@click.option("--push", is_flag=True, help="Push while reading: one pass over the model.")
@click.option(
    "--output", "outputs", multiple=True, metavar="oci:DIR|docker|tar:FILE", help="Write the image there as well."
)
@click.option(
    "--metrics", metavar="FILE.json", type=click.Path(path_type=Path), help="The version's evaluation: {name: number}."
)
@click.option(
    "--lineage", multiple=True, metavar="KEY=VALUE", help="What it was made from: data=…, commit=…, run=… (repeatable)."
)
@via_option
@json_option
def build(
    model: Path,
    version: str | None,
    reference: Reference | None,
    base: str | None,
    push: bool,
    outputs: tuple[str, ...],
    metrics: Path | None,
    lineage: tuple[str, ...],
    via: tuple[str, ...],
    as_json: bool,
) -> None:
    """Package a model version as a model container.

    The model is hashed, not copied: `modelpack push` streams it from where it is. Metrics and lineage travel with the
    image, for pull requests to compare; they are no part of the model's digest.

    \b
    Examples:
      modelpack build model-images/mpg --version v2
      modelpack build model-images/mpg --version v2 --push
      modelpack build model-images/mpg --version v2 --output tar:mpg.tar
      modelpack build model-images/mpg --version v2 --metrics metrics.json --lineage data=s3://datasets/mpg/2024-06
    """
    definition = load(model)
    if version is None:
        if reference is None or not reference.tag:
            raise InputError(
                "--version", "is missing", f"say which, like --version v1; it replaces {VERSION_PLACEHOLDER}"
            )
        version = reference.tag
    check_version(version)
    annotations = provenance.to_annotations(
        provenance.read_metrics(metrics) if metrics else {}, provenance.read_lineage(lineage)
    )
    if reference is None:
        reference = definition.image
    elif reference.digest:
        raise InputError(reference, "a build makes the digest", "leave it out of -t")
    reference = reference.at(tag=check_version(reference.tag or version))
    with progress("pushing" if push else "hashing") as tell:
        built = publish.build(
            definition,
            version,
            reference=reference,
            base=base or definition.base,
            via=Via.from_environ(via),
            store=Store(),
            push=push,
            outputs=outputs,
            annotations=annotations,
            progress=tell,
        )
    _report(built, as_json)


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@via_option
@json_option
def push(reference: Reference, via: tuple[str, ...], as_json: bool) -> None:
    """Push a built model container, streaming from its source.

    Layers that the registry has are not sent again; the tag appears last.

    Logins are docker's own. Plain HTTP is spoken to this machine, and to the registries that
    $MODELPACK_INSECURE_REGISTRIES lists (HOST:PORT,…), in every command; those get no login.

    \b
    Example:
      modelpack push registry.example.com/models/mpg:v2
    """
    with progress("pushing") as tell:
        built = publish.push(reference, via=Via.from_environ(via), store=Store(), progress=tell)
    _report(built, as_json)


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@via_option
@json_option
def inspect(reference: Reference, via: tuple[str, ...], as_json: bool) -> None:
    """Show what a reference holds: model, version, digests, platforms, layers.

    \b
    Example:
      modelpack inspect registry.example.com/models/mpg:v2 --json
    """
    content = fetch.inspect(reference, Via.from_environ(via))
    resolved = content.resolved
    value: dict[str, Any] = {
        "reference": str(resolved.reference),
        "model": resolved.model,
        "version": resolved.version,
        "modelDigest": resolved.model_digest,
        "platforms": [str(each) for each in content.platforms],
        "layers": [each.to_json() for each in content.model.layers],
        "size": sum(each.size for each in content.model.layers),
        "metrics": resolved.metrics,
        "lineage": resolved.lineage,
    }
    lines = [
        f"reference     {value['reference']}",
        f"model         {resolved.model} {resolved.version}",
        f"model digest  {resolved.model_digest}",
        f"platforms     {', '.join(value['platforms'])}",
        *(f"metric        {name} {number}" for name, number in resolved.metrics.items()),
        *(f"lineage       {key} {text}" for key, text in resolved.lineage.items()),
        f"model layers  {len(content.model.layers)}, {human(value['size'])}",
        *(f"  {each.digest}  {human(each.size):>10}" for each in content.model.layers),
    ]
    emit(value, "\n".join(lines), as_json)


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@via_option
@json_option
def verify(reference: Reference, via: tuple[str, ...], as_json: bool) -> None:
    """Read every byte of a model container and check it against its digests.

    Exits with 6 if a byte, a digest or a cross-reference is wrong.

    \b
    Example:
      modelpack verify registry.example.com/models/mpg:v2
    """
    verified = fetch.verify(reference, Via.from_environ(via))
    value = {
        "reference": str(verified.resolved.reference),
        "modelDigest": verified.resolved.model_digest,
        "manifests": verified.manifests,
        "blobs": verified.blobs,
        "size": verified.size,
    }
    found = f"{verified.manifests} manifests and {verified.blobs} blobs ({human(verified.size)})"
    emit(value, f"{value['reference']}: {found} are intact", as_json)


@click.command()
@click.argument("reference", type=REFERENCE, metavar="REF")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@via_option
@json_option
def pull(reference: Reference, folder: Path, via: tuple[str, ...], as_json: bool) -> None:
    """Write a model's files into a new or empty folder, verified.

    \b
    Example:
      modelpack pull registry.example.com/models/mpg:v2 ./mpg-v2
    """
    resolved = fetch.pull(reference, folder, Via.from_environ(via))
    value = {"reference": str(resolved.reference), "modelDigest": resolved.model_digest, "folder": str(folder)}
    emit(value, f"{resolved.model} {resolved.version} ({resolved.model_digest}) is in {folder}", as_json)


def _report(built: publish.Built, as_json: bool) -> None:
    value = {
        "reference": str(built.reference),
        "model": built.model,
        "version": built.version,
        "modelDigest": built.model_digest,
        "size": built.size,
        "layers": built.layers,
        "pushed": built.pushed,
    }
    layers = f"{built.layers} model layer{'s' if built.layers != 1 else ''}, {human(built.size)}"
    verb = "pushed" if built.pushed else "built"
    emit(value, f"{verb} {built.reference}\nmodel digest {built.model_digest} ({layers})", as_json)
