"""Notebooks, as JupyterLab writes them."""

from __future__ import annotations

import json
from typing import Any

Given = str | tuple[str, list[str]]


def notebook(*cells: Given, kernel: str = "somebody-elses", language: str = "python") -> bytes:
    """A notebook of cells: code, or (code, tags); text that starts with "md:" is Markdown."""
    return json.dumps(document(*cells, kernel=kernel, language=language)).encode()


def document(*cells: Given, kernel: str = "somebody-elses", language: str = "python") -> dict[str, Any]:
    spec = {"name": kernel, "display_name": kernel, "language": language}
    made = [_cell(each, number) for number, each in enumerate(cells)]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": spec}, "cells": made}


def _cell(given: Given, number: int) -> dict[str, Any]:
    source, tags = given if isinstance(given, tuple) else (given, [])
    cell = {"id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}}
    if source.startswith("md:"):
        return {**cell, "cell_type": "markdown", "source": source[3:]}
    lines = source.splitlines(keepends=True)
    return {**cell, "cell_type": "code", "source": lines, "outputs": [], "execution_count": None}


# shared code, parameters, an import and a function of a block, a changed list, two ways that join, a metric
WHOLE = notebook(
    "md:# Training",
    ("import json\nimport math\n%matplotlib inline", ["imports"]),
    ("dropRate = 0.5\nn = 5\nname = 'it\"s $(x) $$'\nflag = False", ["pipeline-parameters"]),
    (
        "seen = []\nclass Model:\n    def __init__(self, w):\n        self.w = w\n    def predict(self, x):\n"
        "        return self.w * x\ndef square(x):\n    return x * x",
        ["functions"],
    ),
    (
        "import random as rnd\nrows = [square(i) * dropRate for i in range(n)]\nseen.append('load')\n"
        "with open('rows.json', 'w') as f:\n    json.dump(rows, f)",
        ["block:load"],
    ),
    "total = sum(rows)",
    ("!pip install nothing", ["skip"]),
    ("def half(x):\n    return x / 2\nrows.append(half(total))\nmodel = Model(total)", ["block:fit", "prev:load"]),
    ("rnd.seed(1)\nnoise = rnd.random()\nmean = total / n", ["block:stats", "prev:load"]),
    (
        "with open('rows.json') as f:\n    again = json.load(f)\nassert isinstance(model, Model) and not flag\n"
        "answer = model.predict(half(mean)) + math.floor(noise) + len(seen) + rows[-1] + len(again) + len(name)",
        ["block:join", "prev:fit", "prev:stats"],
    ),
    ("print(answer)", ["pipeline-metrics"]),
)
