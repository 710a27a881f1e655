"""Whether a version may go on to the next environment, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelpack.errors import RefusedError
from modelpack.gitops.place import Place
from modelpack.reconcile.promote import may_promote, of_canaries
from modelpack.reconcile.rollouts import Rollout

V1, V2, V3 = (f"reg.local/mpg:v{n}@sha256:{str(n) * 64}" for n in (1, 2, 3))
DIGEST = V2.partition("@")[2]
OURS = Rollout(
    id="r2", namespace="staging", name="mpg", model="mpg", image=V2, primary=V1,
    phase="Succeeded", state="promoted", verdict="accept", reason="golden: as good", started=5,
)  # fmt: skip
RUNS = replace(OURS, phase="Progressing", state="active", verdict="undecided", reason="errors: 20 of 500")
FAILED = replace(OURS, phase="Failed", state="failed", verdict="reject", reason="errors rose")


def later(rollout: Rollout, image: str = V3, primary: str = V2) -> Rollout:
    return replace(rollout, id="r3", image=image, primary=primary, started=rollout.started + 1)


def before(rollout: Rollout, image: str = V2, primary: str = V1) -> Rollout:
    return replace(rollout, id="r1", image=image, primary=primary, started=rollout.started - 1)


@pytest.mark.parametrize(
    ("rollouts", "refusal"),
    [
        ([OURS], ""),
        ([replace(OURS, image=V2.replace(":v2", ":again"))], ""),
        ([before(FAILED), OURS], ""),
        ([before(OURS, V1), OURS], ""),
        ([OURS, later(FAILED)], ""),
        ([OURS, later(replace(FAILED, state="withdrawn"))], ""),
        ([], "the gate has seen no rollout of it"),
        ([before(OURS, V1), later(RUNS)], "the gate has seen no rollout of it; v3 is under way"),
        ([RUNS], "its rollout is still under way, in phase Progressing, the gate says undecided: errors: 20 of 500"),
        ([replace(OURS, phase="Promoting")], "still under way, in phase Promoting"),
        ([FAILED], "its rollout failed, the gate said reject: errors rose"),
        ([OURS, later(FAILED, V2)], "its rollout failed"),
        ([before(OURS), RUNS], "its rollout is still under way"),
        ([replace(OURS, state="superseded")], "its rollout was superseded before it ended"),
        ([OURS, later(RUNS)], "v3 is under way there now"),
        ([OURS, later(replace(FAILED, state="withdrawn", phase="Progressing"))], "v3 is under way there now"),
        ([OURS, later(OURS)], "v3 was promoted since, and serves"),
        ([OURS, later(FAILED, primary=V3)], "the primary serves v3 since v3 failed"),
    ],
)
def test_may_promote(rollouts: list[Rollout], refusal: str) -> None:
    decision = may_promote(rollouts, DIGEST)
    assert (decision.refusal == "") is (refusal == "")
    assert refusal in decision.refusal
    assert (decision.rollout is None) is refusal.startswith("the gate has seen no")


STAGING, PRODUCTION = OURS, replace(OURS, id="p", namespace="production")


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (Place("staging", "mpg"), ["r2"]),
        (Place("staging"), ["r2"]),
        (Place("staging", "mpg-server"), ["r2"]),  # the Canary has a name of its own
        (Place("production"), ["p"]),
        (Place("elsewhere"), []),
    ],
)
def test_canaries_are_found_by_namespace_and_name(place: Place, found: list[str]) -> None:
    groups = of_canaries([PRODUCTION, STAGING], [place], "mpg in staging")
    assert [each.id for group in groups for each in group] == found


def test_each_canary_has_its_rollouts_oldest_first() -> None:
    other = replace(OURS, name="mpg-bulk", id="b")
    groups = of_canaries([later(RUNS), OURS, other], [Place("staging")], "mpg in staging")
    assert [[each.id for each in group] for group in groups] == [["r2", "r3"], ["b"]]


def test_another_environments_canary_proves_nothing() -> None:
    with pytest.raises(RefusedError, match="may be any of production/mpg, staging/mpg"):
        of_canaries([STAGING, PRODUCTION], [Place("", "mpg")], "mpg in staging")
