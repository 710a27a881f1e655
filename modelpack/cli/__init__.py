"""The command line: parses words, calls the rooms, prints. The only place that prints.

`main` turns errors into one line on stderr and an exit code. Commands are imported when they are called, so that
`modelpack --help` stays fast.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from modelpack import __version__
from modelpack.errors import InputError, ModelpackError

# command -> (module, attribute, one-line help); the help stands here so that --help imports no command
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("modelpack.cli.init", "init", "Scaffold a model: model.yaml, gate, Deployment, Canary."),
    "build": ("modelpack.cli.package", "build", "Package a model version as a model container."),
    "push": ("modelpack.cli.package", "push", "Push a built model container, streaming from its source."),
    "inspect": ("modelpack.cli.package", "inspect", "Show what a reference holds."),
    "verify": ("modelpack.cli.package", "verify", "Check every byte of a model container against its digests."),
    "pull": ("modelpack.cli.package", "pull", "Write a model's files into a folder."),
    "bump": ("modelpack.cli.git", "bump", "Name a model version in Git: one line, one commit."),
    "rollback": ("modelpack.cli.git", "rollback", "Return to the version before, in a new commit."),
    "promote": ("modelpack.cli.promote", "promote", "Bring what serves in one environment to the next."),
    "settle": ("modelpack.cli.truth", "settle", "After a failed rollout, make Git say what serves."),
    "history": ("modelpack.cli.truth", "history", "What served when, why it changed, and who decided: from Git alone."),
    "reject": ("modelpack.cli.truth", "reject", "Record a version that must not be proposed again."),
    "unreject": ("modelpack.cli.truth", "unreject", "Lift a rejection."),
    "rejected": ("modelpack.cli.truth", "rejected", "List what was rejected, and why."),
    "changed": ("modelpack.cli.comment", "changed", "List the models that the last commits changed."),
    "comment": ("modelpack.cli.comment", "comment", "Write a rollout's report into a pull request."),
    "rehearse": ("modelpack.cli.rehearse", "rehearse", "Run a rollout on this machine, gate and traffic included."),
    "status": ("modelpack.cli.status", "status", "Look at a rollout: versions, checks, and what comes next."),
    "gate": ("modelpack.cli.gate", "gate", "The metrics checker that Flagger asks: serve it, approve, reject."),
    "report": (
        "modelpack.cli.report",
        "report",
        "A rollout's decision and what it rests on, as a page, JSON or Markdown.",
    ),
    "train": ("modelpack.cli.train", "train", "Start a training run, and follow it."),
    "runs": ("modelpack.cli.train", "runs", "List training runs; show, cancel or read one."),
    "step": ("modelpack.cli.train", "step", "One step of a training run, as pipelines call it."),
    "experiment": (
        "modelpack.cli.experiment",
        "experiment",
        "Hold the experimental pipeline against the one in production.",
    ),
    "validate": ("modelpack.cli.data", "validate", "Check a table against its schema and the data before it."),
    "evaluate": ("modelpack.cli.quality", "evaluate", "Hold a candidate's predictions against the current model's."),
    "data": ("modelpack.cli.data", "data", "Training data by version: show, fetch, add."),
    "notebook": ("modelpack.cli.notebook", "notebook", "Run a notebook with parameters, and keep it as HTML."),
    "compile": ("modelpack.cli.notebook", "compile_", "Make a pipeline from a tagged notebook."),
    "operator": ("modelpack.cli.operator", "operator", "Watch ModelSync objects in a cluster, and start their runs."),
    "list": ("modelpack.cli.lineage", "list_", "A model's versions in the registry, and how good they are."),
    "lineage": ("modelpack.cli.lineage", "lineage", "From the data to the promotion: one version's whole chain."),
    "reconcile": ("modelpack.cli.reconcile", "reconcile", "Train what is stale, propose what is better, in rounds."),
    "needs-sync": ("modelpack.cli.reconcile", "needs_sync", "Answer over HTTP whether a model needs a run or a bump."),
}

# package -> the extra that brings it, for the sentence where it is not installed
EXTRAS = {
    **dict.fromkeys(("pandas", "pandera", "numpy", "scipy", "papermill", "nbconvert", "ipykernel", "bleach"), "train"),
    **dict.fromkeys(("boto3", "botocore"), "s3"),
    "kubernetes": "cluster",
    "kfp": "kfp",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(error.message + hint, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="modelpack")
def cli() -> None:
    """Deliver trained models the way good teams deliver code.

    \b
    Examples:
      modelpack build model-images/mpg --version v2 --push
      modelpack bump registry.example.com/models/mpg:v2 --repo git@example.com:team/serving.git
      modelpack rehearse --repo . --traffic model-images/mpg/traffic.jsonl --speed 10

    Exit codes: 0 ok, 1 a bug, 2 usage or input, 3 not found, 4 refused, 5 remote failed, 6 integrity,
    7 rolled back, 8 inconclusive, 130 interrupted.
    """


def main(args: list[str] | None = None) -> Any:
    """Run a command and exit with its code."""
    try:
        code = cli.main(args=args, prog_name="modelpack", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ModelpackError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        click.echo(f"error: this needs {name}, run pip install 'modelpack-delivery[{EXTRAS[name]}]'", err=True)
        sys.exit(InputError.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
