"""build, push, inspect, verify, pull, as commands against real registries, read back by other tools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import boto3
import pytest

from modelpack import oci
from modelpack.registry import LayoutRepository
from tests.command import argv, environ, modelpack, write_model
from tests.fakes.artifacts import layer
from tests.fakes.registry import Fault
from tests.fakes.registry import serving as misbehaving
from tests.integration.servers.registry import Registry
from tests.integration.servers.s3 import S3

BASE = layer({"bin/sh": b"a shell"})


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", "--no-dereference", left, right], capture_output=True).returncode == 0


@pytest.mark.parametrize("server", ["registry", "registry_v3"])
def test_a_pushed_model_comes_back_the_same(server: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    address = request.getfixturevalue(server).address
    write_model(tmp_path, f"{address}/models/round")
    built = modelpack("build", "--version", "v1", "--push", "--json", cwd=tmp_path)
    assert built.code == 0, built.err
    made = json.loads(built.out)
    shown = json.loads(modelpack("inspect", f"{address}/models/round:v1", "--json", cwd=tmp_path).out)
    assert shown["reference"] == made["reference"]
    assert shown["modelDigest"] == made["modelDigest"]
    assert shown["platforms"] == ["linux/amd64", "linux/arm64"]
    assert modelpack("verify", made["reference"], cwd=tmp_path).code == 0
    assert modelpack("pull", made["reference"], "out", cwd=tmp_path).code == 0
    assert same(tmp_path / "out", tmp_path / "artifacts/v1")


def test_one_pass_and_two_steps_make_the_same_image(registry: Registry, tmp_path: Path) -> None:
    write_model(tmp_path, f"{registry.address}/models/steps")
    one = json.loads(modelpack("build", "--version", "v1", "--push", "--json", cwd=tmp_path).out)
    modelpack("build", "--version", "v1", "-t", f"{registry.address}/models/other:v1", cwd=tmp_path)
    two = json.loads(modelpack("push", f"{registry.address}/models/other:v1", "--json", cwd=tmp_path).out)
    assert one["reference"].split("@")[1] == two["reference"].split("@")[1]


def test_metrics_and_lineage_travel_with_the_image(registry: Registry, tmp_path: Path) -> None:
    write_model(tmp_path, f"{registry.address}/models/noted")
    (tmp_path / "metrics.json").write_text('{"rmse": 2.5, "mae": 1.93}')
    words = ("--version", "v1", "--metrics", "metrics.json", "--lineage", "run=7", "--lineage", "commit=4f2a91c")
    plain = json.loads(modelpack("build", "--version", "v1", "--json", cwd=tmp_path).out)
    built = json.loads(modelpack("build", *words, "--json", cwd=tmp_path).out)
    (tmp_path / "metrics.json").unlink()
    pushed = json.loads(modelpack("push", f"{registry.address}/models/noted:v1", "--json", cwd=tmp_path).out)
    assert pushed["reference"] == built["reference"] != plain["reference"]
    assert built["modelDigest"] == plain["modelDigest"]
    shown = json.loads(modelpack("inspect", pushed["reference"], "--json", cwd=tmp_path).out)
    assert shown["metrics"] == {"mae": 1.93, "rmse": 2.5}
    assert shown["lineage"] == {"commit": "4f2a91c", "run": "7"}
    text = modelpack("inspect", pushed["reference"], cwd=tmp_path).out
    assert "metric        mae 1.93\n" in text and "lineage       run 7\n" in text
    refused = modelpack("build", "--version", "v1", "--metrics", "nothing.json", cwd=tmp_path)
    assert (refused.code, refused.sentence.startswith("nothing.json: cannot be read")) == (2, True)


def test_skopeo_reads_every_image(registry: Registry, tmp_path: Path) -> None:
    write_model(tmp_path, f"{registry.address}/models/skopeo", base="host-busybox")
    made = json.loads(modelpack("build", "--version", "v1", "--push", "--json", cwd=tmp_path).out)
    for tag in ("v1", "v1-modelpack"):
        source = f"docker://{registry.address}/models/skopeo:{tag}"
        copy = [
            "skopeo",
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
            source,
            f"oci:copy:{tag}",
        ]
        subprocess.run(copy, cwd=tmp_path, check=True, timeout=60)
    tags = {
        each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"]
        for each in json.loads((tmp_path / "copy/index.json").read_text())["manifests"]
    }
    assert tags == {"v1": made["reference"].split("@")[1], "v1-modelpack": made["modelDigest"]}


@pytest.mark.parametrize("way", ["pull", "load"])
def test_a_container_copies_the_model_bit_for_bit(
    way: str, docker_daemon: str, registry: Registry, tmp_path: Path
) -> None:
    image = f"{registry.address}/models/{way}"
    write_model(tmp_path, image, base="host-busybox")
    env = {"DOCKER_HOST": docker_daemon}
    how = ["--push"] if way == "pull" else ["--output", "docker"]
    built = modelpack("build", "--version", "v1", *how, cwd=tmp_path, env=env)
    assert built.code == 0, built.err
    docker = ["docker", "-H", docker_daemon]
    if way == "pull":
        subprocess.run([*docker, "pull", "-q", f"{image}:v1"], check=True, timeout=120)
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o777)
    volume.chmod(0o777)
    run = [*docker, "run", "--rm", "--network=none", "-v", f"{volume}:/mnt/models", f"{image}:v1"]
    for _ in range(2):  # the second run finds the model in place
        subprocess.run(run, check=True, timeout=120, capture_output=True)
    assert json.loads((volume / ".modelpack.json").read_text())["files"] == 3
    for own in (".modelpack.json", ".modelpack.files"):
        (volume / own).unlink()
    assert same(volume, tmp_path / "artifacts/v1")


def test_a_restricted_container_copies_to_a_volume_of_its_group(docker_daemon: str, tmp_path: Path) -> None:
    """As the scaffolded Deployment runs it; what fsGroup makes of an emptyDir is root's and the group's."""
    write_model(tmp_path, "registry.local/models/restricted", base="host-busybox")
    built = modelpack(
        "build", "--version", "v1", "--output", "docker", cwd=tmp_path, env={"DOCKER_HOST": docker_daemon}
    )
    assert built.code == 0, built.err
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 0, 65532)
    volume.chmod(0o2770)
    run = ["docker", "-H", docker_daemon, "run", "--rm", "--network=none", "--read-only", "--user=65532:65532"]
    run += ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=128m", "-v", f"{volume}:/mnt/models"]
    for _ in range(2):  # a restart finds the model in place
        done = subprocess.run(
            [*run, "registry.local/models/restricted:v1"], timeout=120, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "has this model already" in done.stdout
    assert {path.stat().st_gid for path in volume.rglob("*")} == {65532}
    for own in (".modelpack.json", ".modelpack.files"):
        (volume / own).unlink()
    assert same(volume, tmp_path / "artifacts/v1")


def test_a_base_from_a_layout_lies_above_the_same_model(tmp_path: Path) -> None:
    """A layout of one image under any tag, as skopeo and buildah write them."""
    config = oci.Blob(
        oci.canonical_json(
            {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [BASE.digest]}}
        ),
        oci.IMAGE_CONFIG,
    )
    parts = {"config": config.descriptor.to_json(), "layers": [BASE.descriptor.to_json()]}
    manifest = oci.canonical_json({"schemaVersion": 2, "mediaType": oci.IMAGE_MANIFEST, **parts})
    layout = LayoutRepository(tmp_path / "base")
    layout.push_layer(BASE)
    layout.push_layer(config)
    layout.push_manifest(oci.Manifest(manifest, oci.IMAGE_MANIFEST), "some-tag")
    write_model(tmp_path, "registry.local/models/mpg")
    env = {"MODELPACK_VIA": "registry.local/=oci:./registry"}
    words = ["build", "--version", "v1", "--push", "--json"]
    plain = json.loads(modelpack(*words, cwd=tmp_path, env=env).out)
    based = modelpack(*words, "--base", "oci:base", cwd=tmp_path, env=env)
    assert based.code == 0, based.err
    made = json.loads(based.out)
    assert made["modelDigest"] == plain["modelDigest"]
    assert made["reference"] != plain["reference"]
    assert modelpack("verify", made["reference"], cwd=tmp_path, env=env).code == 0


def test_s3_gives_the_same_digest_as_the_folder(s3: S3, registry: Registry, tmp_path: Path) -> None:
    write_model(tmp_path / "local", f"{registry.address}/models/folder")
    files = tmp_path / "local/artifacts/v1"
    (files / "link").unlink()  # an object store has no links
    client = boto3.client(
        "s3", endpoint_url=s3.endpoint, aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key
    )
    client.create_bucket(Bucket="package")
    for path in sorted(files.rglob("*")):
        name = path.relative_to(files).as_posix()
        if path.is_dir():
            client.put_object(Bucket="package", Key=f"mpg/v1/{name}/", Body=b"")
        else:
            client.put_object(Bucket="package", Key=f"mpg/v1/{name}", Body=path.read_bytes())
    write_model(tmp_path / "remote", f"{registry.address}/models/s3", source="s3://package/mpg/{version}")
    local = json.loads(modelpack("build", "--version", "v1", "--push", "--json", cwd=tmp_path / "local").out)
    remote = modelpack("build", "--version", "v1", "--push", "--json", cwd=tmp_path / "remote", env=s3.environ)
    assert remote.code == 0, remote.err
    assert json.loads(remote.out)["reference"].split("@")[1] == local["reference"].split("@")[1]


def test_a_touched_file_is_pushed_and_a_changed_one_is_not(registry: Registry, tmp_path: Path) -> None:
    reference = f"{registry.address}/models/touched:v1"
    write_model(tmp_path, reference.removesuffix(":v1"))
    weights = tmp_path / "artifacts/v1/weights.json"
    assert modelpack("build", "--version", "v1", cwd=tmp_path).code == 0
    before = weights.read_text()
    weights.write_text(before.replace("v1", "v9"))
    changed = modelpack("push", reference, cwd=tmp_path)
    assert changed.code == 6
    assert "sha256:" in changed.sentence or "changed" in changed.sentence
    assert modelpack("inspect", reference, cwd=tmp_path).code == 3
    weights.write_text(before)
    os.utime(weights)
    assert modelpack("push", reference, cwd=tmp_path).code == 0


def test_killed_in_the_middle_of_a_push_leaves_no_tag(registry: Registry, tmp_path: Path) -> None:
    reference = f"{registry.address}/models/killed:v1"
    write_model(tmp_path, reference.removesuffix(":v1"))
    with (tmp_path / "artifacts/v1/big.bin").open("wb") as file:
        file.truncate(1 << 30)
    push = subprocess.Popen(argv("build", "--version", "v1", "--push"), cwd=tmp_path, env=environ(tmp_path, {}))
    time.sleep(1.0)
    assert push.poll() is None, "the model is too small to be caught in the middle"
    push.send_signal(signal.SIGKILL)
    push.wait(10)
    assert modelpack("inspect", reference, cwd=tmp_path).code == 3
    (tmp_path / "artifacts/v1/big.bin").write_bytes(b"smaller")
    assert modelpack("build", "--version", "v1", "--push", cwd=tmp_path).code == 0
    assert modelpack("verify", reference, cwd=tmp_path).code == 0


def test_ctrl_c_ends_with_one_line(registry: Registry, tmp_path: Path) -> None:
    write_model(tmp_path, f"{registry.address}/models/interrupted")
    with (tmp_path / "artifacts/v1/big.bin").open("wb") as file:
        file.truncate(2 << 30)
    words = argv("build", "--version", "v1", "--push")
    push = subprocess.Popen(words, cwd=tmp_path, env=environ(tmp_path, {}), stderr=subprocess.PIPE, text=True)
    time.sleep(1.0)
    push.send_signal(signal.SIGINT)
    _, err = push.communicate(timeout=20)
    assert push.returncode == 130, err
    assert err.strip() == "interrupted"


def test_ctrl_c_does_not_wait_for_a_registry_that_hangs(tmp_path: Path) -> None:
    with misbehaving() as server:
        server.faults.append(Fault("POST", "uploads", status=503, headers={"Retry-After": "60"}))
        write_model(tmp_path, f"{server.address}/models/hanging")
        words = argv("build", "--version", "v1", "--push")
        push = subprocess.Popen(words, cwd=tmp_path, env=environ(tmp_path, {}), stderr=subprocess.PIPE, text=True)
        while not server.methods("uploads"):
            time.sleep(0.05)
        push.send_signal(signal.SIGINT)
        _, err = push.communicate(timeout=20)
    assert (push.returncode, err.strip()) == (130, "interrupted")


def test_without_a_place_for_its_record_nothing_is_tagged(tmp_path: Path) -> None:
    write_model(tmp_path, "registry.local/models/mpg")
    (tmp_path / "file").write_text("")
    env = {"MODELPACK_VIA": "registry.local/=oci:./registry", "MODELPACK_HOME": "file"}
    done = modelpack("build", "--version", "v1", "--push", cwd=tmp_path, env=env)
    assert (done.code, "MODELPACK_HOME" in done.sentence) == (5, True)
    assert modelpack("inspect", "registry.local/models/mpg:v1", cwd=tmp_path, env=env).code == 3


def test_one_build_goes_to_several_places(tmp_path: Path) -> None:
    write_model(tmp_path, "registry.local/models/mpg")
    env = {"MODELPACK_VIA": "registry.local/=oci:./regi stry"}
    outputs = ["--output", "oci:same", "--output", "tar:same.tar", "--output", "oci:ö x", "--output", "tar:ö x.tar"]
    built = modelpack("build", "--version", "v1", "--push", "--json", *outputs, cwd=tmp_path, env=env)
    assert built.code == 0, built.err
    digest = json.loads(built.out)["reference"].split("@")[1]
    for layout in ("regi stry/models/mpg", "same", "ö x"):
        assert LayoutRepository(tmp_path / layout).manifest("v1").digest == digest
    assert (tmp_path / "same.tar").read_bytes() == (tmp_path / "ö x.tar").read_bytes()


def test_a_bad_input_is_one_sentence_with_its_code(tmp_path: Path) -> None:
    write_model(tmp_path, "registry.local/models/mpg")
    (tmp_path / "artifacts/hollow").mkdir()
    (tmp_path / "artifacts/odd").mkdir()
    os.mkfifo(tmp_path / "artifacts/odd/pipe")
    (tmp_path / "artifacts/leaves").mkdir()
    (tmp_path / "artifacts/leaves/out").symlink_to("../../model.yaml")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/model.yaml").write_text("apiVersion: modelpack.dev/v1\nkind: Model\nsorce: x\n")
    env = {"MODELPACK_VIA": "registry.local/=oci:./registry", "DOCKER_HOST": f"unix://{tmp_path}/none"}
    assert modelpack("build", "--version", "v1", "--push", cwd=tmp_path, env=env).code == 0
    for words, code, part in (
        (["build", "nowhere", "--version", "v1"], 3, "nowhere"),
        (["build", "wrong", "--version", "v1"], 2, "model.yaml:"),
        (["build", "--version", "v7"], 3, "artifacts/v7"),
        (["build", "--version", "hollow"], 2, "no file"),
        (["build", "--version", "odd"], 4, "pipe"),
        (["build", "--version", "leaves"], 4, "leaves the model"),
        (["build", "--version", "a/b"], 2, "is not a version"),
        (["build"], 2, "--version"),
        (["build", "--version", "v1", "--base", "docker.io/library/busybox:1.37"], 2, "not pinned"),
        (["build", "--version", "v1", "--output", "zip:x"], 2, "is not an output"),
        (["build", "--version", "v1", "--output", "tar:no/such/folder/x.tar"], 5, "x.tar"),
        (["build", "--version", "v1", "--output", "tar:."], 2, "is a folder"),
        (["build", "--version", "v1", "--output", "oci:"], 2, "is not an output"),
        (["build", "--version", "v3", "--output", "docker"], 5, "daemon"),  # looked for before the model is
        (["build", "--version", "v1", "-t", f"registry.local/models/mpg:{'v' * 119}"], 2, "118 at most"),
        (["inspect", "NOT/a ref"], 2, "is not an image reference"),
        (["push", "registry.local/models/mpg:v7"], 3, "modelpack build"),
        (["inspect", "registry.local/models/mpg:v7"], 3, "v7"),
        (["inspect", "127.0.0.1:1/models/mpg:v1"], 5, "cannot be reached"),
        (["pull", "registry.local/models/mpg:v1", "full"], 4, "not an empty folder"),
        (["verify", "registry.local/models/mpg:v1", "--via", "nonsense"], 2, "is not a via rule"),
    ):
        done = modelpack(*words, cwd=tmp_path, env=env)
        assert (done.code, part in done.sentence) == (code, True), (words, done)
    with Path("/dev/full").open("w") as full:
        words = argv("inspect", "registry.local/models/mpg:v1")
        done = subprocess.run(words, cwd=tmp_path, env=environ(tmp_path, env), stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr.count(b"\n")) == (5, 1), done.stderr
    assert (tmp_path / "full/file").read_text() == "mine"


@pytest.mark.parametrize(
    ("fault", "code", "part"),
    [
        (Fault("POST", "uploads", status=403), 4, "denies"),
        (Fault("POST", "uploads", status=507), 5, "507"),
        (Fault("PATCH", "uploads", cut=100), 5, ""),
        (Fault("PUT", "manifests/v1$", headers={"Docker-Content-Digest": "sha256:" + "0" * 64}), 6, "sha256:"),
        (Fault("PUT", "manifests/v1-modelpack", status=400), 5, "400"),
    ],
    ids=["refuses", "no-room", "cuts", "lies", "rejects"],
)
def test_a_bad_registry_gets_no_tag_and_the_next_push_works(fault: Fault, code: int, part: str, tmp_path: Path) -> None:
    with misbehaving() as server:
        reference = f"{server.address}/models/mpg:v1"
        write_model(tmp_path, reference.removesuffix(":v1"))
        server.faults.append(fault)
        failed = modelpack("build", "--version", "v1", "--push", cwd=tmp_path)
        assert (failed.code, part in failed.sentence) == (code, True), failed
        if not fault.headers:  # where the registry lies about the last manifest, it has it
            assert modelpack("inspect", reference, cwd=tmp_path).code == 3
        server.faults.clear()
        assert modelpack("build", "--version", "v1", "--push", cwd=tmp_path).code == 0
        assert modelpack("verify", reference, cwd=tmp_path).code == 0


def test_a_full_disk_publishes_nothing_and_the_same_command_works_after(tmp_path: Path) -> None:
    """The image layout lies on a file system of 4 MiB, the model has 8."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode:
        if os.environ.get("MODELPACK_TESTS") == "all":
            pytest.fail("MODELPACK_TESTS=all, but mounting a tmpfs needs root")
        pytest.skip("mounting a tmpfs needs root")
    try:
        write_model(tmp_path, "registry.local/models/mpg")
        (tmp_path / "artifacts/v1/big.bin").write_bytes(bytes(8 << 20))
        words, env = ["build", "--version", "v1", "--push"], {"MODELPACK_VIA": f"registry.local/=oci:{disk}"}
        full = modelpack(*words, cwd=tmp_path, env=env)
        assert (full.code, "disk is full" in full.sentence) == (5, True), full
        assert modelpack("inspect", "registry.local/models/mpg:v1", cwd=tmp_path, env=env).code == 3
        assert not [path for path in disk.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert modelpack(*words, cwd=tmp_path, env=env).code == 0
        assert modelpack("verify", "registry.local/models/mpg:v1", cwd=tmp_path, env=env).code == 0
    finally:
        subprocess.run(["umount", disk], check=True)
