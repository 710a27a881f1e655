"""How each check decides, and what it may be wrong in, in sentences: for the page, the report and whoever signs it."""

from __future__ import annotations

from modelpack.gate.checks import Check
from modelpack.gate.config import GateConfig

_SHARES = (
    "Requests of the same slice of time are compared, so that a baseline that drifts does not count"
    " (Mantel, Haenszel 1959). "
)
_WATCHED = (
    "Each look spends a part of the chance of a false alarm on an exact test of counts (Lan, DeMets 1983; Jennison,"
    " Turnbull 1989); the canary is accepted if nothing was found when the horizon is over."
)
_SHOWN = (
    "Two tests, is it above the margin and is it below, share their chance out over the looks"
    " (Farrington, Manning 1990; Lan, DeMets 1983)."
)
_MEAN = (
    "Numbers of the same stretch of time are compared; around their sum stands a confidence sequence, valid at all"
    " times at once (Howard et al. 2021; Waudby-Smith et al. 2024)."
)
_QUANTILE = (
    "A quantile is tested by the share of answers below it, with an interval that is valid at all times at once"
    " (Howard, Ramdas 2022)."
)
_SHARE = "The evidence against each bound on the share is valid at all times at once (Ville 1939; Robbins 1970)."
_DRIFT = (
    "Rejected is a distance above the limit that is no chance either: that is asked each time the sample has doubled,"
    " and look j spends alpha / (j (j + 1)). "
)
_METHODS = {
    "golden": "The same examples are sent to both versions before any traffic, and compared in pairs.",
    "mean": _MEAN,
    "labels": f"Predictions are joined to labels by id, whenever these come. {_MEAN}",
    "approval": "A person decides, about this rollout and so about this digest alone.",
}


def method(check: Check) -> str:
    """How a check comes to its verdict."""
    said = check.description()
    if check.type in _METHODS:
        return _METHODS[check.type]
    if check.type == "drift":
        name = (
            "Kolmogorov and Smirnov's bound"
            if said["statistic"] == "ks"
            else "The test of Landis, Heyman and Koch (1978)"
        )
        return f"{_DRIFT}{name} tells chance, within slices of time."
    if check.type == "slo":
        if not check.compares:
            return "The metric's value as it is read: what counts is for how long it is beyond the bound."
        return _SHARE if said["share"] else _QUANTILE
    if check.type == "shadow":
        return f"The same requests are answered by both versions. {_SHARE if said['share'] else _MEAN}"
    if not said["share"]:
        return _QUANTILE
    return _SHARES + (_SHOWN if said["margin"] else _WATCHED)


def budget(config: GateConfig) -> str:
    """What the chance of a wrong verdict is, all checks together, and which part of it is whose."""
    shares = [(check.name, config.alpha_of(check)) for check in config.checks]
    parts = ", ".join(f"{name} {_percent(alpha)}" for name, alpha in shares if alpha)
    if not parts:
        return "No check of this rollout can be wrong by chance."
    sure = [name for name, alpha in shares if not alpha]
    beside = f"; {' and '.join(sure)} {'has' if len(sure) == 1 else 'have'} nothing to do with chance" if sure else ""
    return (
        f"A version as good as it should be is rejected by chance in at most {_percent(config.alpha)} of rollouts,"
        f" all checks together and however often one looks: {parts}{beside}."
    )


def _percent(alpha: float) -> str:
    return f"{100 * alpha:.3g} %"
