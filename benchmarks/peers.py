"""How others package the same files and push them: each a shell script, as their users would write it.

A script finds MODEL (the folder of shards), REF, and the program in PATH; it runs in a scratch folder that is also its
HOME and TMPDIR.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

_DOCKERFILE = """\
{ echo FROM scratch; for file in "$MODEL"/*; do echo "COPY $(basename "$file") /models/"; done; } >Dockerfile
"""


@dataclass(frozen=True)
class Peer:
    """`install` says what a machine without the program needs; `daemon` that it wants a Docker daemon."""

    name: str
    program: str
    script: str
    install: str
    daemon: bool = False


PEERS = (
    Peer(
        "docker build + push",
        "docker",
        _DOCKERFILE + 'docker build -q -f Dockerfile -t "$REF" "$MODEL" && docker push -q "$REF"',
        "apt-get install docker.io, as root",
        daemon=True,
    ),
    Peer(
        "buildah build + push",
        "buildah",
        _DOCKERFILE
        + """\
store="--root $PWD/store --runroot $PWD/run"
buildah $store build -q --layers -f Dockerfile -t "$REF" "$MODEL" && buildah $store push -q --tls-verify=false "$REF"
""",
        "apt-get install buildah, as root",
    ),
    Peer(
        "tar + crane append",
        "crane",
        """\
set -e; layers=
for file in "$MODEL"/*; do
    name=$(basename "$file"); tar -cf "$name.tar" -C "$MODEL" "$name"; layers="$layers -f $name.tar"
done
crane append --insecure --oci-empty-base -t "$REF" $layers
""",
        "go install github.com/google/go-containerregistry/cmd/crane@latest",
    ),
    Peer(
        "modelpack oci: + skopeo",
        "skopeo",
        f"""\
{sys.executable} -m modelpack build "$MODEL/.." --version v1 --base none --output "oci:$PWD/layout" &&
skopeo copy -q --all --preserve-digests --dest-tls-verify=false "oci:$PWD/layout:v1" "docker://$REF"
""",
        "apt-get install skopeo",
    ),
    Peer(
        "oras push",
        "oras",
        'cd "$MODEL" && oras push --plain-http --no-tty "$REF" ./*',
        "the oras release from https://oras.land",
    ),
    Peer(
        "kit pack + push",
        "kit",
        """\
set -e; set -- "$MODEL"/*
{ echo 'manifestVersion: 1.0.0'; echo "model: {name: bench, path: $(basename "$1"), parts: ["; shift
  for file; do echo "{path: $(basename "$file")},"; done; echo ']}'; } >Kitfile
kit pack -f Kitfile -t "$REF" "$MODEL" && kit push --plain-http "$REF"
""",
        "the kit release from https://kitops.org",
    ),
    Peer(
        "modctl build + push",
        "modctl",
        """\
set -e; { echo 'NAME bench'; for file in "$MODEL"/*; do echo "MODEL $(basename "$file")"; done; } >Modelfile
modctl build -f Modelfile -t "$REF" "$MODEL" && modctl push --plain-http "$REF"
""",
        "the modctl release from https://github.com/modelpack/modctl",
    ),
)
