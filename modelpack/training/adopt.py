"""An experimental pipeline that passed takes the place of the one in production: a change, for a pull request."""

from __future__ import annotations

import json
from collections.abc import Callable

from modelpack.errors import InputError, RefusedError
from modelpack.gitops import Change, Model, Part, Repository, by_name, message
from modelpack.gitops.evaluation import markdown
from modelpack.gitops.proposal import Text
from modelpack.quality.evaluation import Evaluation
from modelpack.training.ask import experimental, read
from modelpack.training.compare import EXPERIMENTAL, PRODUCTION
from modelpack.training.definition import Train, Training
from modelpack.training.folder import TRAINING
from modelpack.training.identity import code_version
from modelpack.training.run import Run


def propose(run: Run) -> Callable[[Repository], Change]:
    """What makes the experimental file of a comparison's run the production one, on any tip.

    Raises RefusedError where the experiment is another one on that tip, and InputError where more than a file differs.
    """

    def change(tip: Repository) -> Change:
        model = by_name(tip, run.model)
        training, _ = read(tip, model)
        where = f"{model.folder}/{TRAINING}"
        if code_version(experimental(training, where), model.folder, tip) != run.code:
            raise RefusedError(run.model, "its experiment was changed after the comparison", "compare it again")
        assert training.experiment is not None
        source, target = (_file(each, model, tip, where) for each in (training.experiment, training.train))
        check_alike(training, where)
        before, after = tip.read(target), tip.read(source) or b""
        old, new = f"{run.model}:{PRODUCTION}", f"{run.model}:{EXPERIMENTAL}@{run.code}"
        words = f"{source} passed the comparison with {target}."
        return Change(
            model=run.model,
            old=old,
            new=new,
            message=message(
                f"{run.model}: the experimental pipeline goes into production", words, {"Data": run.data, "Run": run.id}
            ),
            files={} if before == after else {target: (before, after)},
            parts=(Part(run.model, old, new),),
            style=model.definition.commit,
        )

    return change


def compose(evaluation: Evaluation) -> Callable[[Change], Text]:
    """The pull request's words, with the table of the comparison."""

    def text(change: Change) -> Text:
        mark = json.dumps({"digest": change.new.partition("@")[2], "version": EXPERIMENTAL})
        head = f"Model **{change.model}**: the experimental pipeline takes the place of the one in production."
        body = f"<!-- modelpack {mark} -->\n{head}\n\n{markdown(evaluation)}\n<!-- /modelpack -->"
        return Text(f"{change.model[:63]}: the experimental pipeline goes into production", body)

    return text


def branch_of(model: str) -> str:
    """The one branch on which a model's pipeline is proposed."""
    return f"modelpack/{model}-pipeline"


def _file(train: Train, model: Model, tip: Repository, where: str) -> str:
    """The one file of Git that is a pipeline: its notebook, or the script among its command's words."""
    words = [train.notebook] if train.notebook else train.command
    found = [path for each in words if tip.object_at(path := f"{model.folder}/{each}")]
    if len(found) != 1:
        remedy = "replace it by hand"
        raise InputError(where, f"{' '.join(words)} is not one file that could replace another", remedy)
    return found[0]


def check_alike(training: Training, where: str) -> None:
    """Raise InputError where replacing the file would not be all."""
    one, other = training.experiment, training.train
    assert one is not None
    if bool(one.notebook) != bool(other.notebook) or dict(one.parameters) != dict(other.parameters):
        problem = "its experiment has other parameters than its train, or is of another kind"
        raise InputError(where, problem, "write them into train by hand")
