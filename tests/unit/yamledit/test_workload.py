"""Every kind of workload has its pod template somewhere; the image of one container or volume in it is set."""

from __future__ import annotations

import pytest

from modelpack.errors import InputError, ModelpackError, NotFoundError, RefusedError
from modelpack.target import Target
from modelpack.yamledit import annotate, annotation, edit, find, has_template, holds, unannotate

NEW = "registry.example.com/models/mpg:v2@sha256:" + "a" * 64
POD = (
    "{initContainers: [{name: m, image: a:1}], containers: [{name: m, image: b:1}, {name: n, image: d:1}], "
    "volumes: [{name: m, image: {reference: c:1}}]}"
)
TEMPLATES = {
    "Deployment": "spec: {template: {spec: @}}\n",
    "StatefulSet": "spec: {template: {spec: @}}\n",
    "DaemonSet": "spec: {template: {spec: @}}\n",
    "Job": "spec: {template: {spec: @}}\n",
    "Rollout": "spec: {template: {spec: @}}\n",
    "CronJob": "spec: {jobTemplate: {spec: {template: {spec: @}}}}\n",
    "Pod": "spec: @\n",
}


def manifest(kind: str) -> str:
    return f"kind: {kind}\nmetadata: {{name: mpg}}\n{TEMPLATES[kind]}".replace("@", POD)


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize(("selector", "old"), [("init_container", "a:1"), ("container", "b:1"), ("volume", "c:1")])
def test_a_container_or_volume_of_every_kind(kind: str, selector: str, old: str) -> None:
    target = Target("w.yaml", kind, "mpg", **{selector: "m"})
    before = manifest(kind)
    assert find(before.encode(), "w.yaml", target).value == old
    assert not holds(before.encode(), "w.yaml", target, NEW)
    after = edit(before.encode(), "w.yaml", target, NEW)
    assert after.decode() == before.replace(old, NEW)
    assert holds(after, "w.yaml", target, NEW)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_the_pod_template_of_every_kind_is_annotated(kind: str) -> None:
    target = Target("w.yaml", kind, "mpg", container="m")
    before = manifest(kind).encode()
    after = annotate(before, "w.yaml", target, "a/b", "c")
    where = b"{name: mpg, " if kind == "Pod" else b"template: {metadata: {"
    assert b'annotations: {a/b: "c"}' in after
    assert kind == "Pod" or where in after
    assert annotation(after, "w.yaml", target, "a/b") == "c"
    assert unannotate(after, "w.yaml", target, "a/b") == before


SERVICES = {
    "model": 'spec:\n  predictor:\n    model: {modelFormat: {name: x}, storageUri: "oci://r/m:1"} # c\n',
    "framework": "spec:\n  predictor:\n    sklearn:\n      storageUri: oci://r/m:1\n",
    "native": "spec: {predictor: {model: {storageUri: oci+native://r/m:1}}}\n",
}


@pytest.mark.parametrize("spec", SERVICES.values(), ids=list(SERVICES))
def test_an_inference_service_keeps_its_scheme(spec: str) -> None:
    target = Target("i.yaml", "InferenceService", "mpg")
    before = f"kind: InferenceService\nmetadata: {{name: mpg}}\n{spec}"
    assert find(before.encode(), "i.yaml", target).value == "r/m:1"
    assert edit(before.encode(), "i.yaml", target, NEW).decode() == before.replace("r/m:1", NEW)


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("{predictor: {model: {storageUri: s3://b/m}}}", RefusedError, "i.yaml:3: holds a s3:// address, no image"),
        ("{predictor: {model: {storageUri: r/m:1}}}", RefusedError, "has a storageUri that is no image; start it with oci://"),
        ("{predictor: {model: {}}}", NotFoundError, "i.yaml:3: InferenceService mpg's predictor has no storageUri"),
        ("{predictor: {a: {storageUri: oci://a}, b: {storageUri: oci://a}}}", RefusedError, "has several storageUri: of a, b"),  # noqa: E501
        ("{predictor: {model: &m {storageUri: oci://a}}, x: *m}", RefusedError, "shared through an anchor"),
        ("{predictor: {model: {storageUri: oci://a, storageUri: oci://b}}}", RefusedError, "is given twice"),
        ("{}", NotFoundError, "has no predictor"),
    ],
)  # fmt: skip
def test_an_inference_service_that_is_refused(spec: str, error: type[ModelpackError], words: str) -> None:
    before = f"kind: InferenceService\nmetadata: {{name: mpg}}\nspec: {spec}\n".encode()
    with pytest.raises(error) as caught:
        edit(before, "i.yaml", Target("i.yaml", "InferenceService", "mpg"), NEW)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "file", "error", "words"),
    [
        ("Pod", "kind: Pod\nmetadata: {name: mpg}\nspec: {containers: [{name: m, image: {{ .x }}}]}\n", RefusedError, "w.yaml:3: is a template"),  # noqa: E501
        ("Pod", "kind: Pod\nmetadata: {name: mpg}\nspec: {containers: [{name: m, image: '{{ .x }}'}]}\n", RefusedError, "w.yaml:3: is a template"),  # noqa: E501
        ("Pod", "kind: Pod\nmetadata: {name: mpg}\nspec: {containers: [{name: '{{ .n }}', image: a}]}\n", RefusedError, "w.yaml:3: is a template"),  # noqa: E501
        ("Pod", "kind: Pod\nmetadata: {name: '{{ .n }}'}\n", RefusedError, "w.yaml:2: is a template"),
        ("Pod", "kind: Pod\nmetadata: {name: mpg}\nspec: {containers: [{name: m, image: '${img}'}]}\n", RefusedError, "is a variable"),  # noqa: E501
        ("Pod", "kind: Pod\nmetadata: {name: mpg}\nspec: {containers: [{name: m, image: 'ENC[AES256_GCM,x]'}]}\n", RefusedError, "is encrypted with SOPS"),  # noqa: E501
        ("Rollout", "kind: Rollout\nmetadata: {name: mpg}\nspec: {workloadRef: {name: x}}\n", NotFoundError, "Rollout mpg has no template"),  # noqa: E501
        ("Pod", "a: 1\n---\nkind: [\n", InputError, "w.yaml:4: is not YAML"),
        ("Pod", "kind: Pod\n---\n" * 20, NotFoundError, "and more"),
        ("Pod", "kind: Pod\nkind: Job\nmetadata: {name: mpg}\n", RefusedError, "w.yaml:2: key 'kind' is given twice"),
    ],
)  # fmt: skip
def test_a_workload_that_is_refused(kind: str, file: str, error: type[ModelpackError], words: str) -> None:
    with pytest.raises(error) as caught:
        edit(file.encode(), "w.yaml", Target("w.yaml", kind, "mpg", container="m"), NEW)
    assert words in str(caught.value)


def test_only_what_is_in_a_pod_template_has_one() -> None:
    pod = b"kind: Pod\nmetadata: {name: mpg}\nspec: {containers: [{name: m, image: a:1}]}\n"
    assert has_template(pod, "w.yaml", Target("w.yaml", "Pod", "mpg", container="m"))
    service = b"kind: InferenceService\nmetadata: {name: mpg}\nspec: {predictor: {model: {storageUri: oci://a:1}}}\n"
    assert not has_template(service, "i.yaml", Target("i.yaml", "InferenceService", "mpg"))
    values = Target("v.yaml", values=(("tag", "tag"),))
    assert not has_template(b"tag: a\n", "v.yaml", values)
    assert annotation(b"tag: a\n", "v.yaml", values, "a/b") == ""
    assert unannotate(b"tag: a\n", "v.yaml", values, "a/b") == b"tag: a\n"
    with pytest.raises(RefusedError, match="no pod template"):
        annotate(b"tag: a\n", "v.yaml", values, "a/b", "c")
