"""On manifests as people write them, an edit changes the target's value alone, in bytes and in meaning, or refuses."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpack.errors import ModelpackError
from modelpack.target import Target
from modelpack.yamledit import annotate, annotation, edit, find, has_template, holds, pause, resume, unannotate
from tests.unit.yamledit.corpus import FAMILIES, IMAGE, Case, corpus, make, reference
from tests.unit.yamledit.corpus.extent import added_only
from tests.unit.yamledit.corpus.kinds import STALE
from tests.unit.yamledit.corpus.style import Style

COUNT = 14 * len(FAMILIES)  # more than 500
CASES = {
    family: [case for case in cases if case.family == family] for cases in [list(corpus(COUNT))] for family in FAMILIES
}

STYLES = st.builds(
    Style,
    json=st.booleans(),
    step=st.integers(2, 5),
    in_sequence=st.integers(0, 4),
    dash=st.integers(2, 5),
    newline=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    start=st.booleans(),
    directive=st.booleans(),
    end=st.sampled_from(["\n", "", "\n\n", "\n# the end", "\n...\n", "\n---\n", "\n  \n  # \ttab\n"]),
    quote=st.sampled_from(["", "'", '"']),
    flow=st.sampled_from([0, 50, 100]),
    spaced=st.booleans(),
    remarks=st.sampled_from([0, 30, 90]),
    blanks=st.sampled_from([0, 30]),
    trailing=st.sampled_from([0, 50]),
    aligned=st.integers(1, 9),
    folded=st.booleans(),
    below=st.booleans(),
    tag=st.booleans(),
    block=st.sampled_from(["", "|", "|-", ">", ">-"]),
    empty=st.booleans(),
    seed=st.integers(0, 10_000),
)


def check(case: Case) -> None:
    try:
        after = edit(case.data, case.name, case.target, IMAGE)
    except ModelpackError as error:
        assert case.unsafe, f"{case.name} was refused: {error}"
        assert case.name in str(error)
        assert "\n" not in str(error)
        return
    assert reference.verdict(case, after) == ""
    if case.adds is None:
        assert case.kept(after)
    else:
        assert added_only(case.data, after, (*STALE.values(), "null"))
    assert edit(after, case.name, case.target, IMAGE) == after
    assert holds(after, case.name, case.target, IMAGE)
    assert not holds(case.data, case.name, case.target, IMAGE)
    assert find(after, case.name, case.target).value.strip().removeprefix("oci://") == IMAGE


def check_pause(case: Case) -> None:
    paused = pause(case.data, case.name, case.target)
    assert (paused != case.data) == (b"$imagepolicy" in case.data)
    assert resume(paused, case.name, case.target) == case.data


def check_annotation(case: Case) -> None:
    key, value = "modelpack.dev/rollback", "sha256:x"
    after = annotate(case.data, case.name, case.target, key, value)
    assert annotation(after, case.name, case.target, key) == value
    assert added_only(case.data, after, ())
    assert unannotate(after, case.name, case.target, key) == case.data


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_of_the_corpus_changes_the_target_alone(family: str) -> None:
    for case in CASES[family]:
        check(case)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pause_and_an_annotation_touch_nothing_else(family: str) -> None:
    for case in CASES[family]:
        if not case.unsafe:
            check_pause(case)
            if has_template(case.data, case.name, case.target):
                check_annotation(case)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(list(FAMILIES)), st.integers(0, 10_000), STYLES)
def test_an_edit_in_any_style_changes_the_target_alone(family: str, seed: int, style: Style) -> None:
    check(make(family, seed, style))


SPOILED = {
    "a template": b"{{- if .Values.extra }}\nx: 1\n{{- end }}\n",
    "sealed with SOPS": b"sops:\n    mac: ENC[AES256_GCM,data:xyz,type:str]\n    version: 3.9.0\n",
    "no UTF-8": b"# caf\xe9\n",
    "no YAML": b"a: [1\nb: 2\n",
    "tabs for indentation": b"x:\n\ty: 1\n",
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_cannot_be_edited_safely_is_refused_in_one_sentence(family: str, how: str) -> None:
    case = make(family, 1, Style())
    with pytest.raises(ModelpackError) as caught:
        edit(case.data + SPOILED[how], case.name, case.target, IMAGE)
    assert case.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", [each for each in FAMILIES if each != "Kustomization, incomplete"])
def test_a_target_given_twice_is_refused(family: str) -> None:
    case = make(family, 1, Style(blanks=0))
    at = len(case.pieces[0])
    start = case.data.rfind(b"\n", 0, at) + 1
    line = case.data[start : case.data.find(b"\n", at) + 1]
    again = line.replace(b"- ", b"  ", 1) if line.lstrip().startswith(b"- ") else line
    twice = case.data[: start + len(line)] + again + case.data[start + len(line) :]
    with pytest.raises(ModelpackError, match=r"twice|second|given|more than"):
        edit(twice, case.name, case.target, IMAGE)


@pytest.mark.parametrize("old", ["1.10", "yes", "0x11", "1e3", "2024-01-31", '"1.10"', "'on'", "v1", "!!str 1.10"])
@pytest.mark.parametrize("new", ["1.20", "no", "0o17", "0x10", "1e5", "2024-02-01", "1_000", "012", "v2"])
def test_a_tag_is_a_text_whatever_it_looks_like(old: str, new: str) -> None:
    head, tail = b"model:\n  repository: registry.example.com/mpg\n  tag: ", b"  # bumped\n  digest: ''\n"
    parts = (("repository", "model.repository"), ("tag", "model.tag"))
    target = Target("values.yaml", values=parts)
    after = edit(head + old.encode() + tail, "values.yaml", target, f"registry.example.com/mpg:{new}")
    assert (after[: len(head)], after[-len(tail) :]) == (head, tail)
    # YAML 1.2 and 1.1, of which Helm reads something in between
    assert [each["model"]["tag"] for each in (*reference.load(after), yaml.load(after, yaml.SafeLoader))] == [new, new]
