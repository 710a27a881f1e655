"""From scheduled to ready: a pod with a model, by four ways, on a cluster of one node. `python -m benchmarks.start`

The cluster is the tests' own (`python -m tests.cluster up`), or a user's by the same variables. Cold, the node has
none of the model's layers; warm, it has them all. Pods run in turn, round after round; the table shows medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import model
from benchmarks.measure import MIB, FailedError, run, table
from benchmarks.pods import DROP_CACHES, Images, Pods, Start, drop_caches, namespace, node
from benchmarks.push import in_bytes
from tests.cluster.environment import Environment
from tests.cluster.layout import State
from tests.integration.servers.gotools import go_tool
from tests.integration.servers.process import program
from tests.integration.servers.s3 import REGION

SHARDS = 4
_S3_PORT = 7070
_LOGIN = ("bench", "bench-secret")
_MOUNT = {"name": "model", "mountPath": "/mnt/models"}
_DOCKERFILE = """\
FROM scratch
COPY tools/ /
"""
_MODEL_LAYERS = "".join(
    f"COPY model/shards/model-{number}-of-{SHARDS}.bin /models/\n" for number in range(1, SHARDS + 1)
)


@dataclass(frozen=True)
class Way:
    """How a model gets into a pod. `image` is what a cold node has to pull for it, "" where that is nothing."""

    name: str
    image: str
    spec: Mapping[str, Any]


def main() -> int:
    options = _options()
    cluster = Environment.given(os.environ) or Environment.ours(State.default())
    if not cluster.kubeconfig.exists():
        sys.exit("there is no cluster: run python -m tests.cluster up, or set the variables that its env prints")
    images = Images(shlex.split(options.ctr)) if options.ctr else _images(cluster)
    work = Path(tempfile.mkdtemp(prefix="modelpack-start-", dir=options.work))
    try:
        _say("building and pushing the images")
        tools, built, ours = _prepare(work, cluster.registry, options.size)
        shutil.rmtree(work / "model")
        with namespace(cluster.kubeconfig, options.within) as pods, _s3(pods, tools, options.size) as urls:
            runs = _measure(pods, _ways(tools, built, ours, urls), images, options)
        if images:
            for image in (tools, built, ours):
                images.remove(image)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n{options.size / MIB:.0f} MiB in {SHARDS} files, medians of {options.rounds}")
    print(f"{node(cluster.kubeconfig)}; {len(os.sched_getaffinity(0))} cores, {platform.machine()}")
    print(_table(runs), *_notes(images, options), sep="\n")
    if options.json:
        value = {"bytes": options.size, "node": node(cluster.kubeconfig), "runs": runs}
        options.json.write_text(json.dumps(value, indent=2) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=in_bytes, default="2GiB", help="of the model, 2GiB unless told")
    parser.add_argument("--rounds", type=int, default=3, help="3 unless told")
    parser.add_argument("--within", type=float, default=600, metavar="SECONDS", help="a pod may take, 600 unless told")
    parser.add_argument("--work", type=Path, help="where the model and the builder's layers go")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run there")
    parser.add_argument("--keep-caches", action="store_true", help="do not empty the page cache before every pod")
    parser.add_argument(
        "--ctr",
        default="",
        help="how to reach the node's containerd, as in 'docker exec kind-control-plane ctr -n k8s.io'",
    )
    return parser.parse_args()


def _images(cluster: Environment) -> Images | None:
    """The tests' own node: its containerd listens in the namespaces below the supervisor."""
    if cluster.state is None or os.geteuid() != 0:
        return None
    outer = json.loads(cluster.state.process.read_text())["pid"]
    init = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0]
    socket = f"/proc/{init}/root/run/containerd/containerd.sock"
    return Images((str(go_tool("containerd", "ctr")), "--address", socket, "--namespace", "k8s.io"))


def _prepare(work: Path, registry: str, size: int) -> tuple[str, str, str]:
    """The images of the tools, of the model by buildah, and of the model by modelpack; all are in the registry."""
    model.make(work / "model", size, SHARDS)
    root = work / "tools"
    for folder in ("bin", "tmp"):
        (root / folder).mkdir(parents=True)
    busybox = program("busybox", "apt-get install busybox-static")
    shutil.copy(busybox, root / "bin" / "busybox")
    for applet in ("sh", "cp", "wget", "sleep", "head", "mkdir"):
        (root / "bin" / applet).symlink_to("busybox")
    _with_libraries(go_tool("versitygw"), root)
    tools, built = f"{registry}/models/bench-tools:v1", f"{registry}/models/bench-buildah:v1"
    for image, text in ((tools, _DOCKERFILE), (built, _DOCKERFILE + _MODEL_LAYERS)):
        (work / "Dockerfile").write_text(text)
        store = [program("buildah", "apt-get install buildah"), f"--root={work}/store", f"--runroot={work}/run"]
        run([*store, "build", "-q", "--layers", "-f", f"{work}/Dockerfile", "-t", image, str(work)], work)
        run([*store, "push", "-q", "--tls-verify=false", image], work)
    env = {**os.environ, "MODELPACK_HOME": str(work / "home"), "MODELPACK_INSECURE_REGISTRIES": registry}
    run(model.build_and_push(work / "model", registry, base="host-busybox"), work, env=env)
    return tools, built, f"{registry}/models/bench:v1"


def _with_libraries(binary: Path, root: Path) -> None:
    """Copy a program to `root`/bin, and the libraries that it is linked to."""
    shutil.copy(binary, root / "bin" / binary.name)
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, timeout=30).stdout  # static: none
    for path in (word for line in listed.splitlines() for word in line.split() if word.startswith("/")):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path[1:])


@contextmanager
def _s3(pods: Pods, tools: str, size: int) -> Iterator[list[str]]:
    """An S3 server in a pod, with as many bytes in as many objects as the model; yields their signed addresses."""
    names = [f"model-{number}-of-{SHARDS}.bin" for number in range(1, SHARDS + 1)]
    make = "mkdir -p /data/buckets/models /data/meta && cd /data/buckets/models"
    make += "".join(f" && head -c {size // SHARDS} /dev/urandom >{name}" for name in names)
    serve = ["versitygw", "--quiet", "--port", f":{_S3_PORT}", "--region", REGION]
    serve += ["posix", "--sidecar", "/data/meta", "/data/buckets"]
    variables = zip(("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"), _LOGIN, strict=True)
    data = [{"name": "data", "mountPath": "/data"}]
    server = _container("s3", tools, serve, data, env=[{"name": name, "value": value} for name, value in variables])
    server["readinessProbe"] = {"tcpSocket": {"port": _S3_PORT}, "periodSeconds": 1}
    first = _container("make", tools, ["sh", "-c", make], data)
    volumes = [{"name": "data", "emptyDir": {}}]
    with pods.running({"initContainers": [first], "containers": [server], "volumes": volumes}, "s3-") as (_, address):
        yield [_signed(f"http://{address}:{_S3_PORT}", name) for name in names]


def _signed(endpoint: str, name: str) -> str:
    import boto3
    from botocore.config import Config

    access, secret = _LOGIN
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    return str(client.generate_presigned_url("get_object", {"Bucket": "models", "Key": name}, ExpiresIn=6 * 3600))


def _container(
    name: str, image: str, command: Sequence[str], mounts: Sequence[Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    always = {"name": name, "image": image, "volumeMounts": mounts, "imagePullPolicy": "IfNotPresent", **more}
    return {**always, "command": command} if command else always


def _ways(tools: str, built: str, ours: str, urls: Sequence[str]) -> list[Way]:
    # a server that finds no model ends, and its pod never becomes ready again
    look = ["sh", "-c", f"test -s /mnt/models/model-{SHARDS}-of-{SHARDS}.bin && exec sleep 86400"]
    scratch = [{"name": "model", "emptyDir": {}}]
    image = [{"name": "model", "image": {"reference": ours, "pullPolicy": "IfNotPresent"}}]
    server = [_container("server", tools, look, [_MOUNT])]
    part = [{**_MOUNT, "subPath": "models", "readOnly": True}]
    loads = [f"wget -q -O /mnt/models/model-{n}-of-{SHARDS}.bin '{url}' & p{n}=$!" for n, url in enumerate(urls, 1)]
    download = "\n".join([*loads, *(f"wait $p{n} || exit 1" for n in range(1, len(urls) + 1))])

    def copied(image: str, *command: str) -> dict[str, Any]:
        first = _container("model", image, command, [_MOUNT])
        return {"initContainers": [first], "containers": server, "volumes": scratch}

    nothing = {"containers": [_container("server", tools, ["sleep", "86400"], [_MOUNT])], "volumes": scratch}
    mounted = {"containers": [_container("server", tools, look, part)], "volumes": image}
    return [
        Way("no model at all", "", nothing),
        Way("modelpack, image volume", ours, mounted),
        Way("modelpack, init container", ours, copied(ours)),
        Way("docker-built image, cp", built, copied(built, "sh", "-c", "cp /models/* /mnt/models/")),
        Way("S3 download", "", copied(tools, "sh", "-c", download)),
    ]


def _measure(
    pods: Pods, ways: Sequence[Way], images: Images | None, options: argparse.Namespace
) -> list[dict[str, Any]]:
    runs = []
    for number in range(1, options.rounds + 1):
        for way in ways:
            for state in ("cold", "warm"):
                if state == "cold" and way.image:
                    if images is None:
                        continue
                    images.remove(way.image)
                if not options.keep_caches:
                    drop_caches()
                start = _start(pods, way)
                _say(f"round {number}/{options.rounds}  {way.name}, {state}  {start.seconds:.1f} s")
                runs.append({"way": way.name, "node": state, "round": number, **asdict(start)})
    return runs


def _start(pods: Pods, way: Way) -> Start:
    try:
        with pods.running(way.spec) as (start, _):
            return start
    except FailedError as error:
        raise FailedError(f"{way.name}: {error}") from error


def _table(runs: Sequence[Mapping[str, Any]]) -> str:
    def median(way: str, state: str, what: str) -> str:
        found = [each[what] for each in runs if (each["way"], each["node"]) == (way, state) and each[what] is not None]
        return f"{statistics.median(found):.1f}" if found else "-"

    ways = dict.fromkeys(each["way"] for each in runs)
    rows = [
        (way, median(way, "cold", "seconds"), median(way, "warm", "seconds"), median(way, "warm", "init"))
        for way in ways
    ]
    return "\n" + table(("from scheduled to ready", "cold s", "warm s", "of it copying s"), rows) + "\n"


def _notes(images: Images | None, options: argparse.Namespace) -> Iterator[str]:
    if images is None:
        yield "cold was not measured: the node's containerd cannot be reached; see --ctr"
    if not options.keep_caches:
        allowed = "was emptied" if os.access(DROP_CACHES, os.W_OK) else "could not be emptied"
        yield f"the page cache of this machine {allowed} before every pod"
    yield "the docker-built image is buildah's, its layers gzip as docker's are; S3 is plain HTTP, all objects at once"
    yield "registry and S3 server run on the same machine as the node"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FailedError as error:
        sys.exit(str(error))
