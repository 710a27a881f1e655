"""What is compared: Canaries, how their webhooks answer, and when Git changes the pod template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HOOKS = "http://hooks"  # stands for the scripted server's address; `closed` for one where nobody listens
CLOSED = "http://closed"
ALL = {
    "confirm-rollout": "200",
    "pre-rollout": "200",
    "rollout": "200",
    "confirm-traffic-increase": "200",
    "confirm-promotion": "200",
    "post-rollout": "200",
    "rollback": "403",
}
WEIGHTS = {"stepWeight": 20, "maxWeight": 40}
HALF = {"stepWeight": 50, "maxWeight": 50}
FIRST = ("Initialized", "v2")  # every trace starts so


@dataclass(frozen=True)
class Spec:
    """One comparison.

    `analysis` is the Canary's, without webhooks. `answers` has a webhook for each type (`rollout.2` is another one of
    type `rollout`): statuses, `timeout` or `hangup`, the last one for ever; or `closed`. `options` are more fields of
    a webhook. `changes` are pairs: words that a status line must have, and then the revision that Git names. It is
    over when the last status line has the words of `ends`. `stuck` is what never gets ready from v2 on: canary or
    primary.
    """

    name: str
    analysis: Mapping[str, Any]
    answers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changes: tuple[tuple[str, str], ...] = (FIRST,)
    ends: str = "Succeeded"
    stuck: str = ""

    def canary(self) -> dict[str, Any]:
        """The Canary, in a namespace of its own; each webhook's path is the spec's name and the hook's type."""
        hooks = [
            {
                "name": kind,
                "type": kind.partition(".")[0],
                "url": f"{CLOSED if answers == 'closed' else HOOKS}/{self.name}/{kind}",
                "metadata": {"model": "mpg"},
                **self.options.get(kind, {}),
            }
            for kind, answers in {"event": "200", **self.answers}.items()
        ]
        return {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "mpg", "namespace": self.name},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mpg"},
                "progressDeadlineSeconds": 15,
                "service": {"port": 8080},
                "analysis": {"interval": "10s", "threshold": 2, **self.analysis, "webhooks": hooks},
            },
        }


SPECS = (
    # strategies, with every hook asked
    Spec("step-weight", WEIGHTS, ALL),
    Spec("step-weights", {"stepWeights": [10, 50]}, ALL),
    Spec("step-weights-alone", {"stepWeights": [30, 100], "stepWeightPromotion": 60}),
    Spec("step-beyond-maximum", {"stepWeight": 60, "maxWeight": 70}, ALL),
    Spec("blue-green", {"iterations": 2}, {**ALL, "confirm-promotion": "403 403 200"}),
    Spec("blue-green-alone", {"iterations": 1}),
    Spec(
        "a-b",
        {"iterations": 2, "match": [{"headers": {"x-user": {"exact": "tester"}}}]},
        {**ALL, "confirm-promotion": "403 403 200"},
    ),
    # counted hooks
    Spec("pre-rollout-recovers", {**HALF, "threshold": 3}, {**ALL, "pre-rollout": "403 500 200"}),
    Spec("pre-rollout-fails", HALF, {**ALL, "pre-rollout": "403"}, ends="Failed"),
    Spec("rollout-recovers", {**WEIGHTS, "threshold": 3}, {**ALL, "rollout": "403 204 200"}),
    Spec("rollout-fails", {**WEIGHTS, "threshold": 2}, {**ALL, "rollout": "500 200 403"}, ends="Failed"),
    Spec("threshold-of-one", {**HALF, "threshold": 1}, {**ALL, "rollout": "403"}, ends="Failed"),
    Spec("threshold-by-default", {**HALF, "threshold": 0}, {"rollout": "403"}, ends="Failed"),
    Spec(
        "blue-green-fails",
        {"iterations": 2},
        {**ALL, "rollout": "403", "post-rollout": "500"},
        ends="Failed",
    ),
    Spec(
        "two-of-each",
        {**HALF, "threshold": 9},
        {kind + again: answers for kind in ALL for again, answers in (("", "200"), (".2", "403 200"))}
        | {"rollback": "403", "rollback.2": "403", "post-rollout": "403", "event": "200", "event.2": "403"},
    ),
    # manual gates
    Spec("confirm-rollout-waits", HALF, {**ALL, "confirm-rollout": "403 500 403 200"}),
    Spec("confirm-traffic-increase-halts", WEIGHTS, {**ALL, "confirm-traffic-increase": "403 500 200 403 200 403 200"}),
    Spec("confirm-promotion-waits", HALF, {**ALL, "confirm-promotion": "500 403 403 200"}),
    Spec("rollback-progressing", WEIGHTS, {**ALL, "rollback": "403 500 200"}, ends="Failed"),
    Spec(
        "rollback-waiting-promotion",
        HALF,
        {**ALL, "confirm-promotion": "403", "rollback": "403 403 403 200"},
        ends="Failed",
    ),
    Spec("rollback-in-waiting", HALF, {**ALL, "confirm-rollout": "403", "rollback": "200"}, ends="Waiting"),
    Spec(
        "counted-in-waiting-promotion",
        HALF,
        {**ALL, "confirm-promotion": "403", "rollout": "200 200 403"},
        ends="Failed",
    ),
    # hooks that do not answer
    Spec(
        "hooks-time-out",
        {**HALF, "threshold": 3},
        {**ALL, "rollout": "timeout 200", "confirm-traffic-increase": "timeout 200"},
        {kind: {"timeout": "3s"} for kind in ("rollout", "confirm-traffic-increase")},
    ),
    Spec(
        "hooks-are-asked-again",
        {**WEIGHTS, "threshold": 3},
        {**ALL, "rollout": "501 500 429 200", "confirm-traffic-increase": "hangup hangup 200"},
        {kind: {"retries": 2} for kind in ("rollout", "confirm-traffic-increase")},
    ),
    Spec("counted-hook-refuses-connections", HALF, {**ALL, "rollout": "closed"}, ends="Failed"),
    Spec(
        "uncounted-hooks-refuse-connections",
        HALF,
        {**ALL, "rollback": "closed", "post-rollout": "closed"},
    ),
    Spec("event-and-post-rollout-fail", HALF, {**ALL, "event": "500", "post-rollout": "403"}),
    # Git changes on the way
    Spec("newer-while-progressing", WEIGHTS, ALL, changes=(FIRST, ("Progressing weight=20", "v3"))),
    Spec(
        "newer-while-waiting",
        HALF,
        {**ALL, "confirm-rollout": "403 403 200"},
        changes=(FIRST, ("Waiting", "v3")),
    ),
    Spec(
        "newer-while-waiting-for-promotion",
        HALF,
        {**ALL, "confirm-promotion": "403 403 200"},
        changes=(FIRST, ("WaitingPromotion", "v3")),
    ),
    Spec(
        "newer-while-promoting",
        {**HALF, "stepWeightPromotion": 30},
        ALL,
        changes=(FIRST, ("Promoting weight=20", "v3")),
        ends="Succeeded applied=s3",
    ),
    Spec(
        "reverted-while-progressing",
        WEIGHTS,
        ALL,
        changes=(FIRST, ("Progressing weight=20", "v1")),
        ends="Succeeded applied=s1",
    ),
    Spec(
        "reverted-after-failure",
        HALF,
        {**ALL, "rollout": "403"},
        changes=(FIRST, ("Failed", "v1")),
        ends="Failed applied=s1",
    ),
    Spec(
        "retried-after-failure",
        {**HALF, "threshold": 1},
        {**ALL, "rollout": "403 200"},
        changes=(FIRST, ("Failed applied=s2", "v1"), ("Failed applied=s1", "v2")),
    ),
    Spec(
        "newer-after-failure",
        {**HALF, "threshold": 1},
        {**ALL, "rollout": "403 200"},
        changes=(FIRST, ("Failed", "v3")),
    ),
    # servers that never get ready
    Spec("canary-never-ready", HALF, ALL, ends="Failed", stuck="canary"),
    Spec("promotion-fails", HALF, ALL, ends="Failed", stuck="primary"),
    Spec("promotion-fails-half-way", {**HALF, "stepWeightPromotion": 20}, ALL, ends="Failed", stuck="primary"),
    Spec(
        "reverted-after-failed-promotion",
        HALF,
        ALL,
        changes=(FIRST, ("Failed", "v1")),
        ends="Failed applied=s1",
        stuck="primary",
    ),
    Spec(
        "newer-after-failed-promotion",
        HALF,
        ALL,
        changes=(FIRST, ("Failed", "v3")),
        ends="Failed applied=s3",
        stuck="primary",
    ),
)
