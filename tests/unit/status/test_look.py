"""Which Canaries are looked at, and what remains when a part cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from modelpack.errors import InputError, NotFoundError, RemoteError
from modelpack.gitops.place import Place
from modelpack.rollout.cluster import Cluster
from modelpack.rollout.observed import Event
from modelpack.status import ClusterScene, GitSource, Unseen, View, look
from modelpack.status.git import Entry, choose
from modelpack.status.view import Named
from modelpack.target import Target
from tests.fakes.scene import NOW, SEEN, V1, V2, V3, FakeCluster, rollout

NO_GIT = GitSource("/nonexistent", "main", optional=True)
TIP = Named(branch="main", commit="3f9c2ab")


def views(cluster: FakeCluster, *words: Any) -> tuple[View | Unseen, ...]:
    return look(ClusterScene(cast(Cluster, cluster)), NO_GIT, NOW, *words)


def one(cluster: FakeCluster, *words: Any) -> View:
    (found,) = views(cluster, *words)
    assert isinstance(found, View)
    return found


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.mark.parametrize("words", [(), ("mpg",), ("default/mpg",), ("mpg", "default"), ("economy",)])
def test_a_canary_is_found_by_its_name_by_its_model_and_alone(cluster: FakeCluster, words: tuple[str, ...]) -> None:
    if words:
        cluster.seen["shop", "web"] = replace(SEEN, namespace="shop", name="web")
    found = one(cluster, *words)
    assert (found.seen.name, found.gate and found.gate.rollout) == ("mpg", "mpg-5e78eca0")
    root = "modelpack/modelpack-gate:http/api/v1/rollouts"
    assert cluster.asked == [root, f"{root}/mpg-5e78eca0"]


def test_without_a_name_several_are_looked_at_and_a_broken_one_is_said(cluster: FakeCluster) -> None:
    cluster.seen["shop", "web"] = InputError("Deployment web", "has no container 'model'")
    found = views(cluster)
    assert [type(each) for each in found] == [View, Unseen]
    assert found[1].to_json() == {"namespace": "shop", "name": "web", "error": "has no container 'model'"}
    with pytest.raises(InputError):
        views(cluster, "web")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("other",), "other: there is no such Canary; there are default/mpg"),
        (("mpg", "shop"), "mpg: there is no such Canary in namespace shop; apply one"),
        (("", "shop"), "canaries: none in namespace shop; apply one"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(
    cluster: FakeCluster, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(NotFoundError) as caught:
        views(cluster, *words)
    assert str(caught.value).startswith(sentence)


def test_a_cluster_that_is_gone_is_an_error(cluster: FakeCluster) -> None:
    cluster.broken["canaries"] = RemoteError("https://c.example.com", "the API server cannot be reached")
    with pytest.raises(RemoteError):
        views(cluster)


def test_a_gate_that_is_gone_takes_only_its_part(cluster: FakeCluster) -> None:
    cluster.broken["proxied"] = RemoteError("modelpack-gate", "the API server answered 503")
    cluster.told = (Event(NOW - 5, "Normal", "Advance mpg.default canary weight 25"),)
    found = one(cluster)
    assert (found.gate, found.gate_missing) == (None, "the API server answered 503")
    assert [each.message for each in found.events] == ["Advance mpg.default canary weight 25"]


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"rollouts": 1}', b'{"rollouts": ["x"]}', b"[" * 100_000])
def test_what_answers_unlike_a_gate_is_none(cluster: FakeCluster, answer: bytes) -> None:
    class Strange(FakeCluster):
        def proxied(self, *_: str) -> bytes:
            return answer

    assert one(Strange()).gate_missing == "does not answer like a gate"


def test_a_rollout_with_strange_values_is_read_as_far_as_it_goes(cluster: FakeCluster) -> None:
    strange: dict[str, Any] = dict.fromkeys(("image", "reason", "checks", "state", "final"), 7)
    cluster.rollouts = [{**rollout(), **strange, "events": [{"hook": [], "t": "x"}, 3]}]
    assert one(cluster).gate is not None
    cluster.rollouts = [rollout(checks=[{"n": "x", "estimate": float("inf")}, None], events=None)]
    gate = one(cluster).gate
    assert gate is not None
    assert (gate.checks[0].n, gate.checks[0].estimate) == (0, None)


def test_of_several_rollouts_the_one_that_goes_on_counts(cluster: FakeCluster) -> None:
    cluster.rollouts = [
        rollout(id="newer-but-over", state="superseded", image=V3),
        rollout(id="other", name="web"),
        rollout(id="current"),
    ]
    gate = one(cluster).gate
    assert gate is not None
    assert gate.rollout == "current"
    cluster.rollouts = [rollout(id="newest", state="failed", ended=NOW), rollout(id="old", state="promoted", ended=1.0)]
    gate = one(cluster).gate
    assert gate is not None
    assert gate.rollout == "newest"


def test_flaggers_events_and_the_gates_are_one_list_with_each_message_once(cluster: FakeCluster) -> None:
    cluster.told = (
        Event(NOW - 90, "Normal", "Promotion completed! Scaling down mpg.default"),
        Event(NOW - 2, "Warning", "Advance mpg.default canary weight 10"),  # the gate knows when it first was so
        Event(NOW - 1, "Warning", "Halt mpg.default advancement waiting for traffic increase approval gate"),
    )
    assert [(each.at - NOW, each.warning, each.source, each.message[:20]) for each in one(cluster).events] == [
        (-90, False, "flagger", "Promotion completed!"),
        (-60, False, "flagger", "New revision detecte"),
        (-50, False, "gate", "refuses confirm-traf"),
        (-30, False, "gate", "passes confirm-traff"),
        (-30, True, "flagger", "Advance mpg.default "),
        (-1, True, "flagger", "Halt mpg.default adv"),
    ]
    cluster.told = tuple(Event(NOW + n, "Normal", f"event {n}") for n in range(20))
    assert [each.message for each in one(cluster).events] == [f"event {n}" for n in range(12, 20)]


def test_events_that_may_not_be_read_are_said_to_be_missing(cluster: FakeCluster) -> None:
    cluster.broken["events"] = RemoteError("events of default", "may not be read")
    found = one(cluster)
    assert found.events_missing == "may not be read"
    assert found.events


def test_a_gates_wish_to_roll_back_is_an_event(cluster: FakeCluster) -> None:
    cluster.rollouts = [rollout(events=[{"t": NOW, "hook": "rollback", "answer": 200, "reason": "errors: too many"}])]
    assert [(each.warning, each.message) for each in one(cluster).events] == [
        (True, "asks for a rollback: errors: too many")
    ]


def test_a_persons_decision_is_an_event_but_no_sign_of_a_tick(cluster: FakeCluster) -> None:
    decided = {"t": NOW - 1, "hook": "approval", "answer": 200, "reason": "approved by ada: traffic is low at night"}
    cluster.rollouts = [rollout(events=[{"t": NOW - 4, "hook": "rollback", "answer": 403}, decided])]
    found = one(cluster)
    assert [(each.source, each.message) for each in found.events] == [
        ("person", "approved by ada: traffic is low at night")
    ]
    assert found.gate is not None
    assert found.gate.last_call == NOW - 4


def entry(image: str, namespace: str = "", name: str = "mpg") -> Entry:
    return Entry("registry.local/models/mpg", Target("a.yaml"), image, Place(namespace, name))


@pytest.mark.parametrize(
    ("entries", "image"),
    [
        ([entry(V2)], V2),
        ([entry(V2, name="mpg-server")], V2),  # the only one of this model
        ([entry(V1, name="other"), entry(V2)], V2),
        ([entry(V1, namespace="staging"), entry(V2, namespace="default")], V2),
        ([entry(V1, namespace="staging")], ""),
        ([entry(V1, name="a"), entry(V2, name="b")], ""),  # might be either
        ([replace(entry(V2), name="registry.local/models/churn")], ""),
        ([], ""),
        ([entry(V1, "staging", ""), entry(V2, "default", "")], V2),  # overlays name the namespace alone
        ([entry(V1, "default", ""), entry(V2, "default")], V2),
        ([entry(V1, "default", ""), entry(V2, "default", "")], ""),
        ([entry(V1, "default", ""), entry(V2, "", "")], V1),
        ([entry(V2, "", "")], V2),
        ([entry(V1), entry(V2, "default")], V2),
    ],
)
def test_git_names_the_image_of_the_canarys_own_target(entries: list[Entry], image: str) -> None:
    found = choose(entries, SEEN, TIP)
    assert found.image == image
    assert bool(found.missing) is not bool(image)
    assert found.missing in ("", "names no model of this Canary on main")


def test_a_repository_is_asked_again_only_after_a_while(tmp_path: Any) -> None:
    times = iter([0.0, 5.0, 100.0])
    source = GitSource(str(tmp_path / "none"), "main", clock=lambda: next(times))
    first, second = source.named(SEEN), source.named(SEEN)
    assert first.missing == "cannot be read (there is no such folder)"
    assert first is second
    assert source.named(SEEN) is not first
    assert NO_GIT.named(SEEN).missing == "not asked (no --repo)"
