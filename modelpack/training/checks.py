"""The steps before training: validate (the data) and test (the project's own)."""

from __future__ import annotations

import json

from modelpack.errors import InputError
from modelpack.training import child
from modelpack.training.context import Context
from modelpack.training.folder import write_json
from modelpack.training.run import Result


def validate(context: Context) -> Result | None:
    """Hold the data against its checks, and against the data before it; a Result where it may not be trained on."""
    from modelpack import data, quality
    from modelpack.quality.validation import as_text, to_json

    folder, settings = context.folder, context.training.data
    if not settings.checks:
        context.say("training.yaml names no checks")
        return None
    name = f"{context.run.folder}/{settings.checks}"
    try:
        checks = (folder.model_folder(context.run) / settings.checks).read_bytes()
    except OSError as error:
        raise InputError(name, f"cannot be read: {error.strerror}", "commit it, or correct data.checks") from error
    previous = data.table(folder.previous) if folder.previous.exists() else None
    found = quality.validate(data.table(folder.all_data), checks, name, previous)
    write_json(folder.validation, to_json(found))
    context.say(as_text(found))
    return None if found.passed else Result(False, f"the data did not pass: {found.reason}")


def test(context: Context) -> Result | None:
    """Run the commands that training.yaml lists as tests, each to its end; a Result for the first that fails."""
    for words in context.training.tests:
        context.say(f"$ {' '.join(words)}")
        env = child.environment(context.folder.home, {})
        code = child.run(words, cwd=context.folder.model_folder(context.run), env=env)
        if code:
            return Result(False, f"the test {json.dumps(' '.join(words))} {child.how(code)}")
    return None
