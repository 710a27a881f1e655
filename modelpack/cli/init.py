"""`modelpack init`: the files a new model starts with."""

from __future__ import annotations

from pathlib import Path

import click

from modelpack import scaffold
from modelpack.cli.options import emit, json_option


@click.command()
@click.argument("name")
@click.option(
    "--image",
    default="",
    metavar="REPOSITORY",
    help="The model containers' repository, without tag [registry.local/models/NAME].",
)
@click.option(
    "--server", default="", metavar="REF", help="The image that serves the model [registry.local/servers/NAME:v1]."
)
@click.option("--source", default=scaffold.Scaffold.source, show_default=True, help="Where the trained versions are.")
@click.option(
    "--serve",
    type=click.Choice(scaffold.SERVES),
    default=scaffold.Scaffold.serve,
    show_default=True,
    help="How the model reaches the server: copied by an init container, or mounted as an image volume.",
)
@click.option(
    "--base", default="", help="What model containers are built on  [host-busybox; none for an image volume]."
)
@click.option(
    "--rehearse-command",
    default=scaffold.Scaffold.rehearse_command,
    show_default=True,
    metavar="COMMAND",
    help="Starts the server from the repository's root, for rehearsals.",
)
@click.option(
    "--dir", "folder", default=".", show_default=True, type=click.Path(path_type=Path), help="The repository's root."
)
@json_option
def init(
    name: str,
    image: str,
    server: str,
    source: str,
    serve: str,
    base: str,
    rehearse_command: str,
    folder: Path,
    as_json: bool,
) -> None:
    """Scaffold the model NAME: definition, gate, golden set, serving Deployment, Canary.

    \b
    Examples:
      modelpack init mpg
      modelpack init mpg --image registry.example.com/models/mpg --source 's3://models/mpg/{version}'
      modelpack init mpg --serve image-volume

    An image volume saves the copy: the kubelet mounts the image itself, read-only. It needs Kubernetes 1.36 (1.35 has
    it as beta, 1.33 behind the feature gate ImageVolume) and, for subPath, containerd 2.2.

    A file that is there already is never overwritten: exit code 4, and nothing is written.
    """
    chosen = scaffold.Scaffold(
        name=name,
        image=image,
        server=server,
        source=source,
        serve=serve,
        base=base,
        rehearse_command=rehearse_command,
    )
    written = scaffold.write(scaffold.render(chosen), folder)
    steps = _next_steps(chosen)
    lines = [f"wrote {path}" for path in written] + ["", "Next:"]
    lines += [f"  {number}. {step}" for number, step in enumerate(steps, 1)]
    emit({"files": [str(path) for path in written], "next": steps}, "\n".join(lines), as_json)


_IMAGE_VOLUMES = (
    "Image volumes need Kubernetes 1.36 (1.35 has them as beta, 1.33 behind the feature gate ImageVolume) and, "
    "for subPath, containerd 2.2"
)


def _next_steps(chosen: scaffold.Scaffold) -> list[str]:
    home = f"model-images/{chosen.name}"
    image = chosen.image or f"registry.local/models/{chosen.name}"
    return [
        f"Put the trained model where {home}/model.yaml says: {chosen.source.replace('{version}', 'v1')}",
        f"Replace {home}/golden.jsonl by requests whose answers you know, and set floor and margin in {home}/gate.yaml",
        f"Write {home}/serve.py, for rehearsals: it serves $MODEL_DIR on $PORT, with GET /healthz and the path that "
        f"{home}/gate.yaml asks the golden set at, POST /v1/models/{chosen.name}:predict",
        f"Commit all this, then: modelpack build {home} --version v1 --push",
        f"modelpack bump {image}:v1",
        "modelpack rehearse --speed 10 --rate 250",
        f"For a cluster: put that server into the image that manifests/{chosen.name}/deployment.yaml names, then: "
        f"kubectl apply --server-side -k manifests/{chosen.name}",
        *([_IMAGE_VOLUMES] if chosen.serve == scaffold.IMAGE_VOLUME else []),
    ]
