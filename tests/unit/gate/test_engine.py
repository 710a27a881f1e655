"""The gate without HTTP and without its threads' timing: a clock of its own, looks on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from modelpack.gate.engine import Gate
from modelpack.gate.exposition import Exposition
from modelpack.gate.measurements import Measurements
from modelpack.gate.meter import PATIENCE
from modelpack.gate.rehearsal import Rehearsal
from modelpack.gate.retention import forget
from modelpack.gate.rollouts import Approval, Call
from modelpack.gate.schema import view
from modelpack.gate.store import Store
from modelpack.gate.target import Target
from modelpack.gate.watch import Watch
from tests.fakes.counted import counted
from tests.fakes.rehearsal import GATE, V1, V2, Envoy, Folder, model_server, serve


class Scene:
    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.now = 1000.0
        self.envoy = Envoy()
        self.folder = Folder(root)
        self.folder.write(
            canary={"url": stack.enter_context(serve(model_server())), "image": V2},
            primary={"url": stack.enter_context(serve(model_server(0.1))), "image": V1},
            metrics=stack.enter_context(serve(self.envoy.page)),
        )
        self.store = Store.in_file(root / "gate.sqlite")
        stack.callback(self.store.close)
        self.gate = Gate(Rehearsal(root), self.store, clock=lambda: self.now)

    def ask(self, hook: str, checksum: str = "c1", model: str = "mpg", phase: str = "Progressing") -> int:
        call = Call(hook, "default", "mpg", phase, checksum, model)
        answer = self.gate.decide(call)
        self.gate.note(call, answer)
        self.reason = answer.decision.reason
        return answer.status

    def ready(self) -> None:
        """Ask until the golden set is through."""
        end = time.monotonic() + 10
        while self.ask("confirm-traffic-increase") != 200:
            assert time.monotonic() < end, self.reason
            time.sleep(0.02)

    def look(self, canary: int = 0, primary: int = 0, bad: int = 0) -> None:
        self.now += 0.25
        self.envoy.add("canary", canary, bad=bad)
        self.envoy.add("primary", primary)
        self.gate.look("default", "mpg")

    def counts(self) -> list[tuple[float, float]]:
        (rollout,) = self.store.open()
        return [(weight, canary) for weight, canary, _ in counted(self.store, rollout.id)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)


def test_requests_count_in_the_stratum_of_their_weight_and_not_at_all_while_it_changes(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(weight=10)
    for _ in range(3):
        scene.look(10, 90)
    scene.folder.write(weight=20)
    for _ in range(3):
        scene.look(7, 30)
    assert scene.counts() == [(10, 20), (20, 14)]


def test_another_image_stops_the_counting(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(weight=10)
    scene.look(10, 90)
    scene.look(10, 90)
    scene.folder.write(canary={"url": scene.folder.target["canary"]["url"], "image": V2.replace("2", "9")})
    scene.look(10, 90)
    assert scene.counts() == [(10, 10)]
    assert scene.ask("rollback") == 403 and "superseded" in scene.reason


def test_an_undecided_rollout_is_held_for_good_after_the_horizon(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(weight=10)
    scene.look(1, 9)
    scene.look(1, 9)
    assert scene.ask("confirm-traffic-increase") == 200
    scene.now += 64  # the horizon of 10 m at speed 10, and a little more
    assert scene.ask("confirm-traffic-increase") == 403 and "horizon" in scene.reason
    (rollout,) = scene.store.open()
    assert rollout.decision.final
    for _ in range(9):
        scene.look(400, 400)
    assert scene.ask("confirm-promotion") == 403
    for _ in range(4):  # a slice has to be full before it counts
        scene.look(0, 400, bad=400)
    assert scene.ask("rollback") == 200


def test_who_is_asked_may_answer_after_the_horizon(scene: Scene) -> None:
    gate = scene.folder.root / "models/mpg/gate.yaml"
    gate.write_text(f"{GATE}- {{name: owner, type: approval}}\n")
    scene.ready()
    scene.folder.write(weight=50)
    for _ in range(12):
        scene.look(400, 400)
    assert "every other check accepts" in scene.store.open()[0].decision.reason
    scene.now += 640  # ten times the horizon of 10 m at speed 10
    scene.look(400, 400)
    (rollout,) = scene.store.open()
    assert (rollout.decision.verdict, rollout.decision.final, scene.ask("confirm-promotion")) == ("hold", False, 403)
    told = scene.gate.approve(rollout.id, Approval(True, "ada", "fine"))
    assert told and told.decision.reason == "approved by ada: fine; now the checks decide"
    (event,) = [each for each in scene.store.events(rollout.id) if each["hook"] == "approval"]
    assert event["reason"] == told.decision.reason
    scene.look(400, 400)
    assert scene.ask("confirm-promotion") == 200
    assert "ada (fine) approved this rollout" in scene.reason


def test_a_lost_post_rollout_call_does_not_keep_a_rollout_open(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(phase="Failed")
    scene.gate.look("default", "mpg")
    assert [each.state for each in scene.store.rollouts()] == ["failed"]
    assert scene.ask("rollback") == 403 and "no analysis" in scene.reason
    scene.folder.write(phase="Progressing")
    scene.now += 1
    scene.ask("rollback")
    assert [each.state for each in scene.store.rollouts()] == ["active", "failed"]  # a retry is judged anew


def test_configuration_is_frozen_when_a_rollout_is_minted(scene: Scene) -> None:
    scene.ready()
    gate = scene.folder.root / "models/mpg/gate.yaml"
    gate.write_text(GATE.replace("floor: 3.0", "floor: 0.001"))
    (rollout,) = scene.store.open()
    fresh = Gate(Rehearsal(scene.folder.root), scene.store)
    (golden,) = fresh.config(rollout.id).goldens
    assert golden.floor == 3.0


def test_a_rollback_is_accepted_once_it_is_healthy(scene: Scene) -> None:
    scene.folder.write(rollback=True)
    (scene.folder.root / "models/mpg/gate.yaml").write_text(GATE.replace("floor: 3.0", "floor: -1.0"))
    scene.ready()
    scene.folder.write(weight=50)
    scene.look(1, 1)
    assert scene.ask("confirm-promotion") == 200 and "asked to go back" in scene.reason


def test_the_golden_set_waits_for_the_canary_to_have_an_address(scene: Scene) -> None:
    canary = scene.folder.target["canary"]
    scene.folder.write(canary={**canary, "url": ""})
    assert scene.ask("rollback") == 403
    assert not scene.gate.probing(scene.store.open()[0].id)
    scene.folder.write(canary=canary)
    scene.ready()


@pytest.mark.parametrize("model", ["", "..", "a/b", "nothing", "MPG", "\ud800"])
def test_an_unknown_model_holds_and_mints_nothing(scene: Scene, model: str) -> None:
    assert [scene.ask(hook, model=model) for hook in ("rollback", "confirm-promotion", "rollout", "event")] == [
        403,
        403,
        200,
        200,
    ]
    assert scene.store.rollouts() == []


def test_a_broken_gate_yaml_is_the_reason(scene: Scene) -> None:
    (scene.folder.root / "models/mpg/gate.yaml").write_text(GATE.replace("mae", "mea"))
    assert scene.ask("confirm-traffic-increase") == 403
    assert "mpg/gate.yaml:6" in scene.reason


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": 1}'])
def test_a_target_that_makes_no_sense_holds(scene: Scene, content: str) -> None:
    (scene.folder.root / "target.json").write_text(content)
    assert scene.ask("rollback") == 403 and "target.json" in scene.reason
    (scene.folder.root / "target.json").unlink()
    assert scene.ask("confirm-promotion") == 403 and "no rehearsal" in scene.reason
    assert scene.ask("confirm-rollout") == 200


def test_calls_at_the_same_time_mint_one_rollout(scene: Scene) -> None:
    threads = [threading.Thread(target=scene.ask, args=("rollback",)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scene.store.rollouts()) == 1


def test_repeated_calls_are_noted_once(scene: Scene) -> None:
    scene.ready()
    for _ in range(5):
        scene.ask("confirm-promotion")
        scene.ask("rollback")
    events = scene.store.events(scene.store.rollouts()[0].id)
    assert [each["hook"] for each in events].count("rollback") == 1


def test_a_promotion_that_failed_half_way_tells_what_the_primary_runs(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(phase="Promoting", primary={"url": scene.folder.target["primary"]["url"], "image": V2})
    scene.gate.look("default", "mpg")
    assert scene.store.open()[0].primary_image == V1
    for hook in ("event", "post-rollout"):
        assert scene.ask(hook, phase="Failed") == 200
        assert scene.store.open()[0].state == "active"  # the call comes before Flagger writes the status
    scene.folder.write(phase="Failed", weight=100)
    scene.gate.look("default", "mpg")
    (rollout,) = scene.store.rollouts()
    assert (rollout.state, rollout.primary_image, rollout.phase) == ("failed", V2, "Failed")


def test_calls_after_the_end_are_noted_with_the_rollouts_reason(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(phase="Succeeded")
    scene.gate.look("default", "mpg")
    for hook in ("post-rollout", "event"):
        assert scene.ask(hook, phase="Succeeded") == 200 and "requests of the canary" in scene.reason
    (rollout,) = scene.store.rollouts()
    assert [each["hook"] for each in scene.store.events(rollout.id)][-2:] == ["post-rollout", "event"]


def test_rollouts_judged_by_the_same_files_share_what_was_read(scene: Scene) -> None:
    scene.ready()
    scene.folder.write(phase="Failed")
    scene.gate.look("default", "mpg")
    scene.folder.write(phase="Progressing")
    scene.now += 1
    scene.ready()
    one, other = (scene.gate.config(each.id) for each in scene.store.rollouts())
    assert one is other


def test_a_weight_that_changes_while_the_counters_are_read_spoils_them(scene: Scene) -> None:
    weights = iter((10, 20))

    def page(path: str, body: bytes) -> tuple[int, bytes]:
        scene.folder.write(weight=next(weights))
        return scene.envoy.page(path, body)

    scene.ready()
    with serve(page) as restless:
        scene.folder.write(weight=10, metrics=restless)
        scene.look(10, 90)
        scene.look(10, 90)
    assert scene.counts() == []


def test_a_golden_set_that_another_image_may_have_answered_is_no_evidence(scene: Scene) -> None:
    asked = threading.Event()

    def wrong(path: str, body: bytes) -> tuple[int, bytes]:
        scene.folder.write(canary={"url": canary, "image": V2.replace("v2", "v9").replace("2", "9")})
        asked.set()
        return model_server(9.0)(path, body)

    with serve(wrong) as canary:
        scene.folder.write(canary={"url": canary, "image": V2})
        scene.ask("rollback")
        assert asked.wait(10)
        (rollout,) = scene.store.rollouts()
        while scene.gate.probing(rollout.id):
            time.sleep(0.02)
    assert scene.store.evidence(rollout.id)["golden"].verdict == "pending"


def test_the_horizon_runs_from_the_first_request_where_weights_stay_at_none(scene: Scene) -> None:
    scene.ready()
    for _ in range(2):
        scene.look(1, 9)
    scene.now += 64
    assert scene.ask("confirm-promotion") == 403 and "horizon" in scene.reason


def test_the_first_request_is_remembered_while_another_check_holds(scene: Scene) -> None:
    with serve(model_server(status=500)) as broken:
        scene.folder.write(primary={"url": broken, "image": V1})
        scene.ask("rollback")
        (rollout,) = scene.store.open()
        while scene.gate.probing(rollout.id):
            time.sleep(0.02)
        assert scene.store.open()[0].decision.verdict == "hold"
        for _ in range(2):
            scene.look(1, 9)
        assert scene.store.open()[0].traffic_started == scene.now


def test_metrics_that_do_not_answer_hold_and_no_call_waits_for_them(scene: Scene) -> None:
    over, asked = threading.Event(), threading.Event()

    def page(path: str, body: bytes) -> tuple[int, bytes]:
        asked.set()
        over.wait(10)
        return scene.envoy.page(path, body)

    scene.ready()
    scene.folder.write(weight=10)
    scene.look(10, 90)
    with serve(page) as hanging:
        scene.folder.write(metrics=hanging)
        look = threading.Thread(target=scene.look, args=(10, 90))
        look.start()
        assert asked.wait(5)
        begun = time.monotonic()
        assert scene.ask("confirm-traffic-increase") == 200
        scene.now += PATIENCE / 2
        assert scene.ask("confirm-traffic-increase") == 200
        scene.now += PATIENCE / 2  # whenever it was judged last
        assert scene.ask("confirm-traffic-increase") == 403 and "no answer for" in scene.reason
        assert scene.ask("rollback") == 403
        assert time.monotonic() - begun < 1
        over.set()
        look.join(10)


def test_what_ended_long_ago_is_forgotten_but_not_the_newest_of_a_canary(scene: Scene) -> None:
    for checksum in ("c1", "c2"):
        scene.folder.write(phase="Progressing")
        scene.now += 1
        while scene.ask("confirm-traffic-increase", checksum=checksum) != 200:
            time.sleep(0.02)
        scene.folder.write(weight=10)
        for _ in range(3):
            scene.look(10, 90)
        scene.folder.write(phase="Failed", weight=0)
        scene.look()
    newest, _ = scene.store.rollouts()
    scene.gate.feedback.put_lineage(newest.digest, {})
    measured = Measurements(scene.store)
    scene.now += 100
    assert not forget(scene.store, measured, scene.gate.feedback, scene.now - 10), "Git does not say yet what failed"
    for each in scene.store.rollouts():
        scene.gate.settle(each.id, "")
    assert not forget(scene.store, measured, scene.gate.feedback, scene.now - 1000)
    assert forget(scene.store, measured, scene.gate.feedback, scene.now - 10)
    assert not forget(scene.store, measured, scene.gate.feedback, scene.now - 10)
    assert [each.id for each in scene.store.rollouts()] == [newest.id]
    with scene.store.transaction() as connection:
        for table in ("files", "evidence", "points", "weights", "events", "slices"):
            left = {row[0] for row in connection.execute(sa.text(f"SELECT DISTINCT rollout FROM {table}"))}
            assert left == {newest.id}, table
    assert scene.gate.feedback.lineage(newest.digest) == {}  # the other rollout has this image


def test_what_another_version_was_judged_by_hides_nothing_else(scene: Scene) -> None:
    scene.ready()
    (rollout,) = scene.store.rollouts()
    other = replace(rollout, id="old", checksum="c0", ended=scene.now)
    scene.store.add(other, {"gate.yaml": b"apiVersion: modelpack.dev/v0\n"})
    shown = view(other, scene.gate, scene.store, whole=True)
    assert shown["verdict"] == rollout.decision.verdict and shown["checks"] == []
    assert "cannot be read any more" in shown["budget"]
    scene.store.save([replace(other, ended=None)], scene.now)
    lines = Exposition(scene.store, scene.gate.config, Watch(scene.gate), lambda: True).text().decode()
    assert 'modelpack_gate_weight{model="mpg",name="mpg",namespace="default"} 0.0' in lines


def test_few_golden_sets_are_asked_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelpack.gate.asking.MOST", 0)
    assert scene.ask("confirm-traffic-increase") == 403 and not scene.gate.probing(scene.store.rollouts()[0].id)
    monkeypatch.undo()
    scene.ready()


def test_a_cluster_that_was_just_read_is_not_read_again_for_an_answer_that_lets_nothing_pass(scene: Scene) -> None:
    reads: list[str] = []

    class Counted(Rehearsal):
        recent = 60.0

        def resolve(self, namespace: str, name: str) -> Target:
            reads.append(name)
            return super().resolve(namespace, name)

    scene.ready()
    scene.gate = Gate(Counted(scene.folder.root), scene.store, clock=lambda: scene.now)
    for hook, status, read in (
        ("rollback", 403, 1),
        ("rollback", 403, 0),
        ("event", 200, 0),
        ("confirm-promotion", 403, 0),
        ("confirm-traffic-increase", 200, 1),
        ("post-rollout", 200, 1),
    ):
        reads.clear()
        assert (scene.ask(hook), len(reads)) == (status, read), hook
    reads.clear()
    assert scene.ask("rollback", checksum="c2") == 403 and reads  # another rollout is never answered from a memory
    assert len(scene.store.rollouts()) == 2
