"""The pipeline templates as data: their scripts, and GitLab's component with its inputs filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ACTION = ROOT / "action.yml"
GITLAB = ROOT / "ci" / "gitlab.yml"
EXAMPLES = ROOT / "ci" / "examples"
SCRIPT = ROOT / "ci" / "modelpack.sh"


def run_blocks(file: Path) -> list[str]:
    """Every script in a template, whatever forge it is for."""
    return [block for document in yaml.safe_load_all(file.read_text()) for block in _scripts(document)]


def _scripts(node: Any) -> list[str]:
    if isinstance(node, list):
        return [block for each in node for block in _scripts(each)]
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        if key in ("run", "script", "before_script", "after_script"):
            found += value if isinstance(value, list) else [value]
        else:
            found += _scripts(value)
    return found


def interpolated(given: Mapping[str, Any]) -> dict[str, Any]:
    """The component's jobs as GitLab sees them: in every text, `$[[ inputs.x ]]` is what was given or the default."""
    header, jobs = yaml.safe_load_all(GITLAB.read_text())
    values = {name: given.get(name, each.get("default")) for name, each in header["spec"]["inputs"].items()}
    missing = [name for name, value in values.items() if value is None]
    assert not missing, missing

    def text(found: re.Match[str]) -> str:
        value = values[found[1]]
        return str(value).lower() if isinstance(value, bool) else str(value)

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(value) for key, value in node.items()}
        if isinstance(node, list):
            return [fill(each) for each in node]
        return re.sub(r"\$\[\[ inputs\.(\w+) \]\]", text, node) if isinstance(node, str) else node

    filled: dict[str, Any] = fill(jobs)
    return filled
