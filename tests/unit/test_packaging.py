"""The command line starts light, and every command tells how it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from modelpack.cli import COMMANDS, cli

HEAVY = {
    *(
        "boto3",
        "botocore",
        "docker",
        "fastapi",
        "jinja2",
        "kopf",
        "kubernetes",
        "numpy",
        "pydantic",
        "requests",
        "rich",
    ),
    *("scipy", "sqlalchemy", "uvicorn"),
}


@pytest.mark.parametrize("words", [["--help"], ["--version"]], ids=str)
def test_starting_imports_no_heavy_library(words: list[str]) -> None:
    program = (
        "import sys, modelpack.cli\n"
        f"try: modelpack.cli.main({words})\n"
        "except SystemExit: pass\n"
        f"print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == ""
    assert "modelpack" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    module, attribute, _ = COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    for words, each in _leaves(name, command):
        shown = CliRunner().invoke(cli, [*words, "--help"])
        assert shown.exit_code == 0, shown.output
        assert each.help, words
        assert f"modelpack {' '.join(words)}" in shown.output.split("Usage:", 1)[1].split("\n", 1)[1], words


def _leaves(name: str, command: click.Command) -> list[tuple[list[str], click.Command]]:
    """A command, or the commands of a group."""
    if isinstance(command, click.Group):
        return [
            ([name, *words], leaf) for key in command.commands for words, leaf in _leaves(key, command.commands[key])
        ]
    return [([name], command)]
