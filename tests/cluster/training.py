"""The mpg example as a project that trains on the cluster: its repository on the cluster's Git server, its data and its
models on an S3 server of this machine, its images in the cluster's registry."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from modelpack.reference import Reference
from modelpack.registry.remote import RemoteRepository
from tests.cluster import images
from tests.cluster.environment import Environment
from tests.cluster.layout import HOST, NODE
from tests.cluster.world import GIT, ROOT, git, renamed
from tests.command import Done, modelpack
from tests.integration.conftest import available
from tests.integration.servers import s3 as server
from tests.integration.servers.s3 import S3

NAMESPACE = "modelpack-training"
MANIFESTS = ROOT / "manifests" / "tekton"
BUCKETS = ("data", "models", "notebooks")
JOB = "{backend: job, image: TRAIN, namespace: modelpack-training, serviceAccount: modelpack-train, timeout: 5m}"
TEKTON = JOB.replace("job,", "tekton, pipeline: modelpack-train,")
EXAMPLE = ROOT / "model-images" / "mpg"
SECONDS = 400
Edit = Callable[[str], str]


@contextmanager
def storage(folder: Path, environment: Environment) -> Iterator[S3]:
    """The S3 server, with its buckets, where pods reach it."""
    if environment.state is None:
        pytest.skip("a user's own cluster may not reach an S3 server of this machine")
    with available(lambda: server.s3(folder, HOST)) as found:
        for bucket in BUCKETS:
            (found.buckets / bucket).mkdir()
        yield found


@dataclass(frozen=True)
class Project:
    """The example under a name of its own. Its serving Deployment names v1, which was never built. `repository` is its
    name on the Git server, where that is not the model's."""

    environment: Environment
    s3: S3
    folder: Path
    name: str
    repository: str = ""

    @property
    def url(self) -> str:
        return f"{self.environment.git}/{self.repository or self.name}.git"

    @property
    def image(self) -> str:
        return f"{self.environment.registry}/models/{self.name}"

    @property
    def env(self) -> dict[str, str]:
        """What modelpack is told, here and in pods."""
        return {**self.s3.environ, "MODELPACK_INSECURE_REGISTRIES": self.environment.registry}

    @cached_property
    def base(self) -> str:
        """Of a model's image."""
        return self.pinned(images.BUSYBOX)

    def pinned(self, name: str) -> str:
        """An image of the registry by digest: a node would keep what a tag was before."""
        found = Reference.parse(f"{self.environment.registry}/{name}")
        return f"{found}@{RemoteRepository(found.at()).manifest(found.tag).descriptor.digest}"

    def prepare(self, runs: str, until: int = 1977) -> None:
        """Data up to a year, repository, and what the namespace of the runs needs. `runs`: what training.yaml says
        of them; TRAIN in it is the training image."""
        self.put_data(until)
        runs = runs.replace("TRAIN", self.pinned(images.versions()["train"]))
        git("clone", "-q", self.url, str(self.checkout), cwd=self.folder)
        git("checkout", "-q", "-B", "main", cwd=self.checkout)
        for path in (*EXAMPLE.glob("*.*"), *(ROOT / "manifests" / "mpg").glob("deployment.yaml")):
            target = self.checkout / path.parent.relative_to(ROOT).with_name(self.name) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self.adapted(path, runs))
        self.push()
        self.environment.apply(*self.objects())

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    def change(self, file: str, edit: Edit) -> None:
        """Somebody's commit that edits a file of the model's folder."""
        path = self.checkout / "model-images" / self.name / file
        before = path.read_text()
        path.write_text(edit(before))
        assert path.read_text() != before
        self.push()

    def push(self) -> None:
        git("add", "-A", cwd=self.checkout)
        git("commit", "-q", "-m", "The project", cwd=self.checkout)
        git("push", "-q", "origin", "HEAD:main", cwd=self.checkout)

    def put_data(self, until: int) -> None:
        """The cars up to a year. By the API: a file that is only laid there has no ETag."""
        file = self.folder / "cars.csv"
        subprocess.run([sys.executable, EXAMPLE / "data.py", file, f"--until={until}"], check=True, capture_output=True)
        client = boto3.client(
            "s3",
            endpoint_url=self.s3.endpoint,
            aws_access_key_id=self.s3.access_key,
            aws_secret_access_key=self.s3.secret_key,
            region_name=server.REGION,
        )
        client.put_object(Bucket="data", Key=f"{self.name}/cars.csv", Body=file.read_bytes())

    def train(self, code: int = 0, *words: str) -> dict[str, Any]:
        """`modelpack train` to the run's end, which has to have this exit code: what it says in JSON."""
        done = self.modelpack("train", self.name, "--repo", self.url, "--branch", "main", "--json", *words)
        assert done.out, done.err
        told: dict[str, Any] = json.loads(done.out)
        if done.code != code:
            pytest.fail(f"{done.code}: {done.out}\n{done.err}\n{self.modelpack('runs', 'log', told['run']['id']).out}")
        return told

    def modelpack(self, *words: str) -> Done:
        env = {**GIT, **self.env, "KUBECONFIG": str(self.environment.kubeconfig)}
        return modelpack(*words, cwd=self.folder, env=env, timeout=SECONDS)

    def stored(self, bucket: str) -> list[str]:
        """The keys of this project, below its name."""
        folder = self.s3.buckets / bucket / self.name
        return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())

    def tags(self) -> tuple[str, ...]:
        return RemoteRepository(Reference.parse(self.image)).tags()

    def adapted(self, path: Path, runs: str) -> str:
        text = path.read_text()
        if path.name in ("model.yaml", "deployment.yaml"):
            text = renamed(text, self.name, self.environment.registry).replace("host-busybox", self.base)
            return text.replace("./artifacts/{version}", f"s3://models/{self.name}/{{version}}")
        if path.name == "training.yaml":  # mpg is also what it predicts
            text = text.replace("metadata: {name: mpg}", f"metadata: {{name: {self.name}}}")
            text = text.replace("git:cars.csv", f"s3://data/{self.name}/")
            notebooks = f"s3://notebooks/{self.name}/{{run}}"
            text = text.replace("runs: {timeout: 15m}", f"runs: {runs}\noutput: {{notebooks: '{notebooks}'}}")
        return text

    def objects(self) -> Iterator[dict[str, Any]]:
        registry = {"MODELPACK_INSECURE_REGISTRIES": self.environment.registry}
        for name, env in (("modelpack-train", self.env), ("modelpack-propose", registry)):
            metadata = {"name": name, "namespace": NAMESPACE}
            yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": env}
        peers = [{"ipBlock": {"cidr": f"{each}/32"}} for each in (HOST, NODE)]
        yield {  # Git, registry and S3 have ports of their own here
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "test-training", "namespace": NAMESPACE},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": peers}]},
        }


def project(environment: Environment, s3: S3, folder: Path) -> Project:
    return Project(environment, s3, folder, f"mpg-{uuid4().hex[:4]}")
