"""`modelpack gate simulate`: what a gate.yaml would do with so much traffic, before it does."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelpack.cli.options import json_option
from modelpack.errors import InputError

if TYPE_CHECKING:
    from modelpack.gate.drawing import Baseline
    from modelpack.gate.simulate import Plan, Scenario

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|m|h|d|interval)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_BASELINE = re.compile(rf"([^=]+)=({_NUMBER})(?::({_NUMBER}))?")
_WORSE = re.compile(rf"([^=]+)=({_NUMBER})")
_WEIGHTS = (10.0, 25.0, 50.0)


@click.command()
@click.argument("gate", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--traffic", required=True, metavar="N/UNIT", help="Requests of both versions: 50/s, 3000/m, /h, /d, /interval."
)
@click.option(
    "--canary",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Flagger's Canary, for weights and interval.",
)
@click.option("--weights", metavar="PERCENT,…", help="The canary's weights, instead of --canary.  [default: 10,25,50]")
@click.option("--interval", metavar="TIME", help="Between weights, like 30s or 1m, instead of --canary.  [default: 1m]")
@click.option(
    "--baseline", multiple=True, metavar="CHECK=VALUE[:SD]", help="What is so of the primary: a share, a time, a mean."
)
@click.option(
    "--worse",
    multiple=True,
    metavar="CHECK=VALUE[,…]",
    help="A canary to catch, worse by so much; one that is worse in several ways has commas.",
)
@click.option("--rollouts", default=300, show_default=True, type=click.IntRange(20, 100_000), help="Of each canary.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="The same seed, the same figures.")
@json_option
def simulate(
    gate: Path,
    traffic: str,
    canary: Path | None,
    weights: str | None,
    interval: str | None,
    baseline: tuple[str, ...],
    worse: tuple[str, ...],
    rollouts: int,
    seed: int,
    as_json: bool,
) -> None:
    """How long until a verdict, what is caught, how often a good canary is rejected, and what that costs.

    Draws rollouts of a good canary, and of each worse one, and has the checks of GATE judge them. Without --worse, each
    check gets one that is twice its margin worse, a drift check one that is half a standard deviation off.

    \b
    Examples:
      modelpack gate simulate model-images/mpg/gate.yaml --traffic 50/s --canary flagger/mpg/canary.yaml
      modelpack gate simulate gate.yaml --traffic 3000/interval --weights 10,20,30,40,50 --interval 1m \\
          --baseline errors=0.008 --worse errors=0.005 --worse errors=0.01
      modelpack gate simulate gate.yaml --traffic 200/m --worse errors=0.02,latency=0.1 --json

    Shares are from 0 to 1: errors=0.01 is one more bad answer of a hundred. Times and means are in their own unit,
    drift is in standard deviations. Requests are taken as independent.
    """
    try:
        from modelpack.gate import simulate as room
        from modelpack.gate.config import FILES, parse
    except ImportError as error:
        raise InputError(
            "modelpack gate", f"needs {error.name}", "run pip install 'modelpack-delivery[gate]'"
        ) from error
    beside = {name: gate.parent / name for name in FILES[1:]}
    files = {
        FILES[0]: gate.read_bytes(),
        **{name: path.read_bytes() for name, path in beside.items() if path.is_file()},
    }
    config = parse(files, str(gate.parent), shown=str(gate))
    shares, seconds = _schedule(canary, weights, interval)
    plan = room.plan(config, room.Traffic(_rate(traffic, seconds), shares, seconds), _baselines(baseline))
    asked: list[Mapping[str, float]] = [{}, *([_worse(each) for each in worse] or room.usual(plan))]
    for each in asked:
        room.known(each, plan.sources, plan.left_out)
    shown = not as_json and sys.stderr.isatty()
    with (
        click.progressbar(length=rollouts * len(asked), label="rollouts", file=sys.stderr)
        if shown
        else nullcontext() as bar
    ):
        step = (lambda: bar.update(1)) if bar is not None else (lambda: None)
        found = [room.run(plan, each, rollouts, seed, step) for each in asked]
    click.echo(json.dumps(_as_json(plan, found, seed), indent=2) if as_json else _text(plan, found, seed))


def _schedule(canary: Path | None, weights: str | None, interval: str | None) -> tuple[tuple[float, ...], float]:
    from modelpack.rollout import read_canary
    from modelpack.rollout.canary import go_duration

    shares: tuple[float, ...] = _WEIGHTS
    seconds = 60.0
    if canary:
        if weights and interval:
            raise click.UsageError(
                "--canary has weights and interval: leave it out, or one of --weights and --interval"
            )
        read = read_canary(canary.read_bytes(), str(canary))
        if read.steps:
            shares = tuple(map(float, read.steps))
        elif not weights:
            problem = "counts iterations, so its share of traffic is not said"
            raise InputError(str(canary), problem, "give --weights, as --weights 50")
        seconds = read.interval
    if weights:
        words = weights.split(",")
        if not all(re.fullmatch(r"\d+(\.\d+)?", each) and 0 < float(each) <= 100 for each in words):
            raise click.BadParameter(f"{weights!r} is not a list of percents, like 10,25,50", param_hint="--weights")
        shares = tuple(map(float, words))
    if interval:
        given = go_duration(interval)
        if not given:
            raise click.BadParameter(f"{interval!r} is not a duration, like 30s or 1m", param_hint="--interval")
        seconds = given
    return shares, seconds


def _rate(text: str, interval: float) -> float:
    found = _RATE.fullmatch(text)
    if found and float(found[1]) <= 0:
        raise click.BadParameter(f"{text!r} is no traffic: it has to be above 0", param_hint="--traffic")
    if not found:
        raise click.BadParameter(f"{text!r} is not like 50/s, 3000/m or 3000/interval", param_hint="--traffic")
    return float(found[1]) / _SECONDS.get(found[2], interval)


def _baselines(words: tuple[str, ...]) -> dict[str, Baseline]:
    from modelpack.gate.drawing import Baseline

    found: dict[str, Baseline] = {}
    for each in words:
        read = _BASELINE.fullmatch(each)
        if not read or (read[3] and float(read[3]) <= 0):
            raise click.BadParameter(f"{each!r} is not CHECK=VALUE or CHECK=VALUE:SD", param_hint="--baseline")
        found[read[1]] = Baseline(float(read[2]), float(read[3]) if read[3] else None)
    return found


def _worse(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in text.split(","):
        read = _WORSE.fullmatch(each)
        if not read:
            raise click.BadParameter(f"{text!r} is not CHECK=VALUE[,CHECK=VALUE]", param_hint="--worse")
        found[read[1]] = float(read[2])
    return found


def _name(plan: Plan, worse: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {plan.sources[name].shown(value)}" for name, value in worse.items()) or "as good"


def _text(plan: Plan, found: list[Scenario], seed: int) -> str:
    traffic, config = plan.traffic, plan.config
    weights = ", ".join(f"{each:g}" for each in traffic.weights)
    lines = [
        f"{config.name}: {traffic.rate:.4g} requests a second, weights {weights} %, a step in "
        f"{_time(traffic.interval)}, horizon {_time(config.horizon)}; {found[0].rollouts} rollouts a row, seed {seed}",
        "",
    ]
    head = ["canary", "promoted", "rejected", "(95 %)", "held", "after", "9 of 10", "requests", "its own", "extra bad"]
    rows = [head, *(_row(plan, each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    lines += [""]
    for each in found:
        few = [f"{name} in {100 * number / each.rollouts:.0f} %" for name, number in each.waiting.items()]
        lines += [
            f"{_name(plan, each.worse)}: held, since not decided by the end of the horizon: {', '.join(few)}"
        ] * bool(few)
        if each.worse and each.promoted > each.rollouts / 2:
            share = 100 * each.promoted / each.rollouts
            lines.append(f"{_name(plan, each.worse)}: promoted in {share:.0f} %: this gate.yaml lets it pass")
    lines += [
        "after, 9 of 10: until the verdict, the median and what 9 of 10 rollouts need; requests: of both versions",
        "until then, the median; its own: the canary's, on average; extra bad: of those, what the primary would have",
        "got right",
    ]
    lines += [f"{name}: {source.says}" for name, source in plan.sources.items()]
    lines += [f"{name}: {why}" for name, why in plan.left_out.items()]
    return "\n".join(lines)


def _row(plan: Plan, each: Scenario) -> list[str]:
    share, low, high = each.chance("rejected")
    return [
        _name(plan, each.worse),
        f"{100 * each.chance('promoted')[0]:.1f} %",
        f"{100 * share:.1f} %",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{100 * each.chance('held')[0]:.1f} %",
        _time(each.seconds[0]),
        _time(each.seconds[1]),
        f"{each.requests[0]:,.0f}",
        f"{each.canary:,.0f}",
        "" if each.bad is None else f"{each.bad:,.0f}",
    ]


def _time(seconds: float) -> str:
    hours, left = divmod(round(seconds), 3600)
    parts = ((hours, "h"), (left // 60, "m"), (left % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _as_json(plan: Plan, found: list[Scenario], seed: int) -> dict[str, Any]:
    return {
        "model": plan.config.name,
        "seed": seed,
        "horizon": plan.config.horizon,
        "traffic": vars(plan.traffic),
        "assumed": {name: source.says for name, source in plan.sources.items()},
        "left_out": dict(plan.left_out),
        "canaries": [
            {
                "worse": dict(each.worse),
                "rollouts": each.rollouts,
                **{
                    kind: dict(zip(("share", "low", "high"), each.chance(kind), strict=True))
                    for kind in ("promoted", "rejected", "held")
                },
                "rejected_by": dict(each.by),
                "held_by": dict(each.waiting),
                "seconds": dict(zip(("median", "p90"), each.seconds, strict=True)),
                "requests": dict(zip(("median", "p90"), each.requests, strict=True)),
                "canary_requests": each.canary,
                "bad_more": each.bad,
            }
            for each in found
        ],
    }
