"""Set the image in manifests of many styles, side by side with others: `python -m benchmarks.edit`

The corpus is the one that the tests use, made for them. An editor is measured on the files that it is made for. What a
file means afterwards is judged by ruamel.yaml's parser, and what changed beyond the target by the bytes.
"""

from __future__ import annotations

import argparse
import collections
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.editors import Edited, Editor, RefusedError, editors
from benchmarks.measure import table
from tests.unit.yamledit.corpus import FAMILIES, Case, corpus, make, reference
from tests.unit.yamledit.corpus.extent import beyond
from tests.unit.yamledit.corpus.style import Style

COUNT = 20 * len(FAMILIES)
OURS = "modelpack"
HABITS = {
    "none": Style(),
    "comments, blank lines": Style(remarks=10, blanks=10),
    "lists indented": Style(in_sequence=2),
    "--- first": Style(start=True),
    "values in quotes": Style(quote='"'),
    "[flow] and {flow: style}": Style(flow=60),
    "CRLF": Style(newline="\r\n"),
    "no final newline": Style(end=""),
}


@dataclass
class Score:
    """`needless` are refusals of files that can be edited, `spilled` files with changes beyond the target."""

    files: int
    refused: int = 0
    needless: int = 0
    wrong: int = 0
    spilled: int = 0
    bytes: int = 0
    seconds: list[float] = field(default_factory=list)
    examples: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help=f"of files, {COUNT} unless told")
    parser.add_argument("--only", metavar="NAME,…", help="editors whose name starts so, e.g. modelpack,yq")
    parser.add_argument("--explain", action="store_true", help="name the files that went wrong")
    options = parser.parse_args()
    cases = list(corpus(options.count))
    scores, notes = {}, []
    for editor in editors():
        if options.only and not editor.name.startswith(tuple(options.only.split(","))):
            continue
        if editor.missing:
            notes.append(f"not compared: {editor.name}: {editor.missing}")
            continue
        scores[editor] = _measure(editor, [case for case in cases if editor.takes(case)])
        print(editor.name, file=sys.stderr, flush=True)
    _report(cases, scores)
    _habits(list(scores))
    print(*notes, sep="\n")
    if options.explain:
        for editor, score in scores.items():
            for what, names in score.examples.items():
                print(f"{editor.name}: {what}: {', '.join(names)}")
    ours = next((score for editor, score in scores.items() if editor.name == OURS), None)
    return int(ours is not None and (ours.wrong + ours.spilled + ours.needless) > 0)


def _measure(editor: Editor, cases: Sequence[Case]) -> Score:
    folder = Path(tempfile.mkdtemp(prefix="modelpack-edit-"))
    try:
        answers = editor.run(cases, folder)
    finally:
        shutil.rmtree(folder)
    score = Score(len(cases))
    for case, answer in zip(cases, answers, strict=True):
        _count(score, case, answer)
    return score


def _count(score: Score, case: Case, answer: Edited | RefusedError) -> None:
    if isinstance(answer, RefusedError):
        score.refused += 1
        if not case.unsafe:
            score.needless += 1
            score.examples["refused"].append(f"{case.name} ({answer})")
        return
    score.seconds.append(answer.seconds)
    if problem := reference.verdict(case, answer.data):
        score.wrong += 1
        score.examples["wrong"].append(f"{case.name} ({' '.join(problem.split())[:300]})")
        return
    if extent := beyond(case, answer.data):
        score.spilled += 1
        score.bytes += extent
        score.examples["changed beyond"].append(f"{case.name} ({extent})")


def _report(cases: Sequence[Case], scores: dict[Editor, Score]) -> None:
    unsafe = sum(bool(case.unsafe) for case in cases)
    print(
        f"{len(cases)} files of {len({case.family for case in cases})} kinds, {sum(len(case.data) for case in cases)} "
        f"bytes; in {unsafe} of them an anchor shares the value, which may be refused\n"
    )
    head = ("", "files", "refused", "without need", "wrong", "changed beyond", "bytes beyond", "ms a file", "")
    print(
        table(
            head,
            [
                (
                    editor.name,
                    str(score.files),
                    str(score.refused),
                    str(score.needless),
                    str(score.wrong),
                    str(score.spilled),
                    str(score.bytes),
                    f"{1000 * statistics.median(score.seconds):.1f}" if score.seconds else "-",
                    editor.timed,
                )
                for editor, score in scores.items()
            ],
        )
    )


def _habits(compared: Sequence[Editor]) -> None:
    """One habit at a time, so that nobody is judged by an odd mixture alone."""
    rows = []
    for habit, style in HABITS.items():
        cases = [make(family, seed, style) for seed, family in enumerate(FAMILIES)]
        scores = [_measure(editor, [case for case in cases if editor.takes(case)]) for editor in compared]
        rows.append((habit, *(f"{score.spilled + score.wrong} of {score.files}" for score in scores)))
    print("\nfiles changed beyond the target, or wrong, where each file has one habit only\n")
    print(table(("", *(editor.name for editor in compared)), rows))


if __name__ == "__main__":
    sys.exit(main())
