from pathlib import Path

import pytest

from modelpack.definition import load, parse
from modelpack.errors import InputError, NotFoundError

GOOD = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {name: mpg}
source: ./artifacts/{version}
image: registry.example.com/models/mpg
copy: {from: /models, to: /mnt/models, verify: size}
targets:
- {file: manifests/mpg/deployment.yaml, kind: Deployment, name: mpg, initContainer: model}
"""


def test_reads_a_definition(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(GOOD)
    definition = load(tmp_path)
    assert definition.name == "mpg"
    assert definition.base == "none"
    assert definition.source_of("v2") == str(tmp_path / "artifacts/v2")
    assert (definition.targets[0].init_container, definition.targets[0].volume) == ("model", "")


def test_a_target_may_be_an_image_volume() -> None:
    (target,) = parse(GOOD.replace("initContainer: model", "volume: model").encode(), "model.yaml").targets
    assert (target.init_container, target.volume) == ("", "model")


@pytest.mark.parametrize(("base", "found"), [("oci:../b", "oci:/m/../b"), ("oci:/b", "oci:/b"), ("host-busybox",) * 2])
def test_a_base_in_a_layout_is_looked_for_from_the_definition(base: str, found: str) -> None:
    assert parse(f"{GOOD}base: {base}\n".encode(), "model.yaml", Path("/m")).base == found


@pytest.mark.parametrize("path", ["//models", "/a//b", "/a/../b", "/", "models", "/.wh.models", '"/a\\0"', '"/a\\tb"'])
def test_a_folder_in_the_image_is_a_plain_one(path: str) -> None:
    with pytest.raises(InputError, match=r"model.yaml:6: copy.from: .* is not an absolute folder below /"):
        parse(GOOD.replace("from: /models", f"from: {path}").encode(), "model.yaml")


def test_a_url_is_not_taken_for_a_path(tmp_path: Path) -> None:
    text = GOOD.replace("./artifacts/{version}", "s3://models/mpg/{version}")
    assert parse(text.encode(), "model.yaml", tmp_path).source_of("v2") == "s3://models/mpg/v2"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("verify: size", "verifi: size", "model.yaml:6: copy.verifi: is not a known key; did you mean 'verify'?"),
        (
            "verify: size",
            "verify: sise",
            "model.yaml:6: copy.verify: 'sise' is not one of size, sha256; did you mean 'size'?",
        ),
        ("kind: Model", "kind: Modle", "model.yaml:2: kind: 'Modle' is not one of Model; did you mean 'Model'?"),
        ("name: mpg}", "name: MPG}", "model.yaml:3: metadata.name: 'MPG' is not a name"),
        ("to: /mnt/models", "to: /models", "model.yaml:6: copy.to: is '/models', where the model itself is"),
        (
            "models/mpg\n",
            "models/mpg:v1\n",
            "model.yaml:5: image: 'registry.example.com/models/mpg:v1' has a tag or digest",
        ),
        ("models/mpg\n", "models/MPG\n", "model.yaml:5: image: "),
        ("source: ./artifacts/{version}\n", "", "model.yaml:1: source: is missing"),
        ("source: ", "sorce: ", "model.yaml:4: sorce: is not a known key; did you mean 'source'?"),
        ("kind: Model", "kind: Model\nkind: Model", "model.yaml:3: key 'kind' is given twice"),
        (
            "{file: manifests",
            "{file: ../manifests",
            "model.yaml:8: targets[0].file: '../manifests/mpg/deployment.yaml' is not",
        ),
        (
            "initContainer: model",
            "initContainer: model, volume: model",
            "model.yaml:8: targets[0].volume: stands beside initContainer; a target has one of them",
        ),
        (
            ", initContainer: model",
            "",
            "model.yaml:8: targets[0].initContainer: is missing; name what holds the model by one of initContainer",
        ),
        (
            "initContainer: model",
            "volum: model",
            "model.yaml:8: targets[0].volum: is not a known key; did you mean 'volume'?",
        ),
        ("metadata: {name: mpg}", "metadata: {name: mpg", "model.yaml:4: is not YAML"),
        (GOOD, "", "model.yaml: is empty"),
        (GOOD, "[]", "model.yaml: is not a mapping"),
        (GOOD, GOOD + "---\n" + GOOD, "model.yaml: holds several documents"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        parse(GOOD.replace(old, new).encode(), "model.yaml")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b"a: \x00", b"!!python/object:os.system {}", b"a: &a [*a]", b"[" * 50000]
)
def test_hostile_bytes_are_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError):
        parse(data, "model.yaml")


@pytest.mark.parametrize("version", ["", "a/b", "..", ".v1", "v" * 119, "v1\n", "v1-modelpack"])
def test_a_version_is_a_tag(version: str) -> None:
    with pytest.raises(InputError):
        parse(GOOD.encode(), "model.yaml").source_of(version)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="modelpack init"):
        load(tmp_path)


def test_what_cannot_be_a_file_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load(Path("m" * 300))
