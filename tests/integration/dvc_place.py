"""A repository whose data is under DVC, with a remote in a folder or on an S3 server, as the real program makes it."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack import data
from tests.integration.servers.dvc import Dvc
from tests.integration.servers.s3 import REGION, S3

BUCKETS = (f"dvc-{number}" for number in itertools.count(1))
MODEL = "model-images/mpg"


@dataclass
class Place:
    """A repository with a remote. `objects` is the folder in which the server keeps that remote."""

    dvc: Dvc
    objects: Path
    url: str
    client: Any = None

    @property
    def root(self) -> Path:
        return self.dvc.folder

    @property
    def tree(self) -> data.Checkout:
        return data.Checkout(self.root)

    def look(self, source: str) -> data.Version:
        return data.look(source, MODEL, self.tree, self.root)

    def fetch(self, source: str, into: Path, version: str = "") -> Path:
        return data.fetch(source, MODEL, self.tree, version or self.look(source).text, into, self.root)

    def pushed(self, *names: str, push: bool = True) -> str:
        """Add with dvc what lies in the model's folder; gives the source of the last."""
        self.dvc("add", *names, within=MODEL)
        if push:
            self.dvc("push", *(f"{name}.dvc" for name in names), within=MODEL)
        return f"dvc:{names[-1]}.dvc"

    def object(self, md5: str) -> Path:
        return self.objects / "files/md5" / md5[:2] / md5[2:]


def in_folder(folder: Path) -> Place:
    """The remote is named by a path that starts at .dvc/config."""
    return _place(Place(Dvc(folder / "repo"), folder / "remote store", "../../remote store"))


def in_bucket(folder: Path, s3: S3) -> Place:
    """The endpoint stands in .dvc/config, the login nowhere."""
    import boto3

    name = next(BUCKETS)
    login = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
    client = boto3.session.Session(**login).client("s3", endpoint_url=s3.endpoint, region_name=REGION)
    client.create_bucket(Bucket=name)
    place = Place(Dvc(folder / "repo"), s3.buckets / name / "some/store", f"s3://{name}/some/store", client)
    return _place(place, endpointurl=s3.endpoint, region=REGION)


def _place(place: Place, **settings: str) -> Place:
    place.dvc.configure(url=place.url, **settings)
    (place.root / MODEL).mkdir(parents=True)
    return place


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()
