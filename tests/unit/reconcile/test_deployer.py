"""Which version is proposed to Git, as a table; and what never is, for any state."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpack.gitops import digest_of, order
from modelpack.gitops.models import Rejected
from modelpack.reconcile.deployer import Candidate, Outdated, State, decide


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def image(version: str) -> str:
    return f"reg.local/mpg:{version}@{digest(version)}"


def candidate(version: str, passed: bool | None = True, against: str = "v1", model: str = "") -> Candidate:
    made = digest(f"model {model or version}")
    return Candidate(version, image(version) if passed is not False else "", passed, made, against)


def rejected(version: str = "", model: str = "", by: str = "") -> Rejected:
    return Rejected(model, by, version, "r1", "errors rose", "")


V1, V2, V3 = (candidate(f"v{number}") for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("state", "proposed", "words"),
    [
        (State((image("v1"),), (V1, V2)), "v2", "v2 passed, Git names v1"),
        (State((image("v1"),), (V1, V2, V3)), "v3", "v3 passed, Git names v1"),
        (State((image("v9"),), (candidate("v9"), candidate("v10", True, "v9"))), "v10", "v10 passed, Git names v9"),
        (State((image("v2"),), (V1, V2)), "", "Git names v2, the newest that passed"),
        (State((image("v3"),), (V1, V2)), "", "Git names v3, which is newer than v2, the newest that passed"),
        (State((image("v1"),), (V1, candidate("v2", False))), "", "Git names v1, the newest that passed"),
        (State((image("v1"),), (V1, candidate("v2", None))), "", "Git names v1, the newest that passed"),
        (State((image("v1"),), (candidate("v2", False),)), "", "no version of it has passed the quality gate"),
        (State((image("v1"),), ()), "", "no version of it has passed the quality gate"),
        (State((), (V1,)), "", "Git names no version of it"),
        (State((image("v1"),), (V2, V3), (rejected("v3"),)), "v2", "Git names v1; v3 was rejected: errors rose"),
        (State((image("v1"),), (V2,), (rejected(by=image("v2")),)), "", "v2 was rejected: errors rose"),
        (State((image("v1"),), (V2,), (rejected("v7", digest("model v2")),)), "", "v2 was rejected"),
        (State((image("v1"),), (V2,), left=(image("v2"),)), "", "v2 was named before, and left"),
        (State((image("v1"),), (V2, V3), left=(image("v2"),)), "v3", "v3 passed, Git names v1"),
        (State((image("v1"),), (Candidate("v2", "", True),)), "", "v2 passed, but is not in the registry"),
        (State((image("v1"),), (candidate("2024-06-a"),)), "", "2024-06-a passed, but has no order"),
        (State((image("latest"),), (V2,)), "", "Git names latest, which has no order: bump it by hand once"),
        (State(("",), (V2,)), "", "Git names nothing, which has no order"),
        (State((f"reg.local/mpg@{digest('v1')}",), (V1, V2)), "v2", "v2 passed"),
        (State((f"reg.local/mpg@{digest('v2')}",), (V1, V2)), "", "Git names v2, the newest that passed"),
        (State((image("v1"), image("v2")), (V1, V2)), "v2", "v2 passed, Git names v1 and v2"),
        (State((image("v1"), image("v3")), (V1, V2)), "", "Git names v1 and v3, which is newer than v2"),
        (State((image("v1"), f"reg.local/mpg:v2@{digest('other')}"), (V1, V2)), "", "Git names v2, the newest"),
        # held against another model than the one that is named now
        (State((image("v2"),), (V1, V2, V3)), "", "v3 was held against v1, and Git names v2 now"),
        (State((image("v2"),), (V2, candidate("v3", True, ""))), "", "v3 was held against no model, and Git names v2"),
        (State((image("v1"),), (V1, candidate("v2", True, ""))), "", "v2 was held against no model, and Git names v1"),
        (State((image("v0"),), (candidate("v2", True, ""),)), "v2", "v2 passed"),  # v0 is no model container
        (State((image("v0"),), (candidate("v2", True, "v0"),)), "v2", "v2 passed"),
        (State((image("v2"),), (V1, candidate("v2", model="v1"), V3)), "v3", "v3 passed"),  # another tag of the same
        (State((image("v2"),), (V2, candidate("v3", model="v2"))), "", "v3 passed, and is the same model as v2, which"),
        (State((image("v1"),), (V1, V2, candidate("v3", model="v1"))), "", "v3 passed, and is the same model as v1"),
        (State((image("v1"),), (V1, candidate("v3", model="v1"), candidate("v4"))), "v4", "v4 passed"),
        (State((image("v1"), image("v0")), (V1, candidate("v3", model="v1"))), "v3", "v3 passed"),  # v0 is another
        (State((f"reg.local/mpg:v1@{digest('other')}",), (V1, candidate("v3", model="v1"))), "v3", "v3 passed"),
        (State((image("v2"), image("v1")), (V1, V2)), "v2", "v2 passed, Git names v2 and v1"),  # bumped half-way
        (State((image("v2"),), (V1, V2, V3, candidate("v4", True, "v2"))), "v4", "v4 passed, Git names v2"),
        (State((image("v2"),), (V1, V2, candidate("v3", True, "v2"), candidate("v4"))), "v3", "v4 was held against v1"),
        (State((image("v2"),), (V1, V2, V3), unseen=True), "v3", "v3 passed, Git names v2"),
        (State((f"reg.local/mpg@{digest('v2')}",), (V1, V2, V3)), "", "v3 was held against v1"),
        (State((f"reg.local/mpg@{digest('v1')}",), (V1, V3)), "v3", "v3 passed"),
    ],
)
def test_what_is_proposed(state: State, proposed: str, words: str) -> None:
    decision = decide(state)
    assert (decision.candidate.version if decision.candidate else "") == proposed
    assert words in decision.reason


@pytest.mark.parametrize(
    ("state", "outdated"),
    [
        (State((image("v2"),), (V1, V2, V3)), Outdated("v3", "v1", image("v2"))),
        (State((image("v1"),), (V1, V2, V3)), None),
        (State((image("v2"),), (V1, V2, V3), (rejected("v3"),)), None),
        (State((image("v2"),), (V1, V2, V3), left=(image("v3"),)), None),
        (State((image("v2"),), (V1, V2, V3, candidate("v4"))), Outdated("v4", "v1", image("v2"))),
        (State((image("v2"),), (V2, candidate("v3", True, "v2"), candidate("v4"))), Outdated("v4", "v1", image("v2"))),
        (State((image("v2"),), (V1, V2, V3), unseen=True), None),
    ],
)  # fmt: skip
def test_what_has_to_be_held_against_what_is_named_now(state: State, outdated: Outdated | None) -> None:
    assert decide(state).outdated == outdated


VERSIONS = st.sampled_from(["v0", "v1", "v2", "v3", "v10", "1.2", "latest", "2024-06-a"])
AGAINST = VERSIONS | st.just("")
CANDIDATES = st.lists(st.builds(candidate, VERSIONS, st.sampled_from([True, True, False, None]), AGAINST), max_size=6)
REJECTED = st.builds(rejected, VERSIONS) | st.builds(rejected, model=VERSIONS.map(lambda v: digest(f"model {v}")))


@given(
    st.lists(VERSIONS.map(image), max_size=3),
    CANDIDATES,
    st.lists(REJECTED | VERSIONS.map(lambda v: rejected(by=image(v))), max_size=3),
    st.lists(VERSIONS.map(image), max_size=3),
)
def test_never_a_downgrade_a_rejected_an_untested_or_an_unordered_one(
    named: list[str], candidates: list[Candidate], bad: list[Rejected], left: list[str]
) -> None:
    state = State(tuple(named), tuple(candidates), tuple(bad), tuple(left))
    decision = decide(state)
    found = decision.candidate
    assert decision.reason
    if found is None:
        return
    key = order(found.version)
    assert found.passed is True and key is not None and digest_of(found.image)
    assert named and all((order(each.partition("@")[0].rpartition(":")[2]) or ()) <= key for each in named)
    assert not any(each.names(digest_of(found.image), found.model_digest, found.version) for each in bad)
    assert found.image not in left
    current = [each for each in candidates if each.image == named[0]]
    assert not current or found.against == current[0].version or found.version == current[0].version
    # done once, nothing is left to do: nothing newer turns up, and nothing goes back
    assert decide(State((found.image,) * len(named), tuple(candidates), tuple(bad), tuple(left))).candidate in (None,)
