"""Serve the digit classifier by the mpg example's server: what differs is the model, and what it is asked.

A request is `{"instances": [{"pixels": [64 numbers from 0 to 16]}]}`. Beside the predictions the answer has the
`scores`, and which of them the model is `sure` of: those that reach their digit's threshold of thresholds.json.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("MODEL_NAME", "digits")
_spec = importlib.util.spec_from_file_location("mpg_serve", Path(__file__).resolve().parents[1] / "mpg" / "serve.py")
assert _spec and _spec.loader
base: Any = importlib.util.module_from_spec(_spec)
sys.modules["mpg_serve"] = base
_spec.loader.exec_module(base)

PIXELS = 64
DARKEST = 16  # of a pixel


class Model:
    """Multinomial logistic regression, and a threshold for each digit."""

    def __init__(self, document: dict[str, Any], thresholds: dict[str, Any]) -> None:
        self.classes: list[int] = document["classes"]
        self.intercepts: list[float] = document["intercepts"]
        self.weights: list[list[float]] = document["weights"]
        self.thresholds: dict[str, float | None] = {name: each["score"] for name, each in thresholds["classes"].items()}

    def predict(self, pixels: list[float]) -> tuple[int, float]:
        """The likeliest digit and its probability."""
        shares = [value / DARKEST for value in pixels]
        sums = [
            intercept + sum(weight * share for weight, share in zip(row, shares, strict=True))
            for intercept, row in zip(self.intercepts, self.weights, strict=True)
        ]
        best = max(sums)
        return self.classes[sums.index(best)], 1 / sum(math.exp(value - best) for value in sums)

    def sure(self, digit: int, score: float) -> bool:
        threshold = self.thresholds.get(str(digit))
        return threshold is not None and score >= threshold


def load(folder: Path) -> Model:
    return Model(*(json.loads((folder / f"{name}.json").read_bytes()) for name in ("model", "thresholds")))


def read_instances(body: bytes) -> list[list[float]]:
    """The images of a predict request; raises BadRequest."""
    try:
        document = json.loads(body)
    except ValueError as error:
        raise base.BadRequest(f"the body is not JSON: {error}") from error
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise base.BadRequest('the body is not {"instances": [...]} with at least one image')
    images = [each.get("pixels") if isinstance(each, dict) else None for each in instances]
    for number, pixels in enumerate(images):
        if not isinstance(pixels, list) or len(pixels) != PIXELS or not all(map(_is_pixel, pixels)):
            raise base.BadRequest(f"instances[{number}].pixels is not {PIXELS} numbers from 0 to {DARKEST}")
    return images


def _is_pixel(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= DARKEST


class Handler(base.Handler):  # type: ignore[misc]
    def predict(self, body: bytes) -> tuple[int, dict[str, Any]]:
        model, feedback = self.server.model, self.server.feedback
        try:
            answers = [model.predict(pixels) for pixels in read_instances(body)]
        except base.BadRequest as error:
            return 400, {"error": str(error)}
        digits = [digit for digit, _ in answers]
        for digit in digits:
            base.PREDICTIONS.observe(digit)
        return 200, {
            "predictions": digits,
            "scores": [round(score, 6) for _, score in answers],
            "sure": [model.sure(digit, score) for digit, score in answers],
            "ids": feedback.predicted(digits),
            "version": feedback.version,
        }


if __name__ == "__main__":
    base.load, base.Handler = load, Handler
    base.main()
