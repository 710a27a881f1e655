"""What is said of how a check decides and of the error budget, from gate.yaml as people write it."""

from __future__ import annotations

import pytest

from modelpack.gate.config import GateConfig, parse
from modelpack.gate.method import budget, method

HEAD = "apiVersion: modelpack.dev/v1\nkind: Gate\nmetadata: {name: mpg}\nhorizon: 10m\nchecks:\n"
COUNTS = 'total: "all{a=\\"b\\"}", bad: "bad{a=\\"b\\"}"'
CHECKS = {
    "watched": (f"type: proportion, {COUNTS}, margin: 0, min_sample: 9", "Lan, DeMets 1983; Jennison, Turnbull 1989"),
    "shown": (f"type: proportion, {COUNTS}, margin: 0.1, min_sample: 9", "Farrington, Manning 1990"),
    "p99": (
        'type: latency, histogram: "t{a=\\"b\\"}", quantile: 0.99, margin: 5, min_sample: 9',
        "Howard, Ramdas 2022",
    ),
    "bound": (f"type: slo, {COUNTS}, max: 0.1, min_sample: 9", "Ville 1939; Robbins 1970"),
    "level": ('type: slo, gauge: "g{a=\\"b\\"}", max: 3', "for how long it is beyond the bound"),
    "drift": ('type: drift, histogram: "t{a=\\"b\\"}", limit: 0.2, min_sample: 9', "Landis, Heyman and Koch (1978)"),
    "ks": (
        'type: drift, statistic: ks, histogram: "t{a=\\"b\\"}", limit: 0.2, min_sample: 9',
        "Kolmogorov and Smirnov",
    ),
    "truth": ("type: labels, metric: mae, margin: 0.1, min_sample: 9", "joined to labels by id"),
    "owner": ("type: approval", "A person decides"),
}


def config(*names: str) -> GateConfig:
    lines = [f"- {{name: {name}, {CHECKS[name][0]}}}\n" for name in names]
    return parse({"gate.yaml": (HEAD + "".join(lines)).encode()}, "mpg")


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_says_how_it_decides_and_whose_method_that_is(name: str) -> None:
    assert CHECKS[name][1] in method(config(name).checks[0])


def test_the_budget_says_what_is_whose() -> None:
    assert budget(config("watched", "p99", "level", "owner")) == (
        "A version as good as it should be is rejected by chance in at most 5 % of rollouts, all checks together and"
        " however often one looks: watched 2.5 %, p99 2.5 %; level and owner have nothing to do with chance."
    )
    assert budget(config("owner")) == "No check of this rollout can be wrong by chance."
