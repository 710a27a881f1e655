"""Bytes in, bytes out: finds a value in a YAML file by structure, splices it, and proves that nothing else changed.

Nothing is ever serialised again, so comments, quotes, indentation, line endings and everything else stay. In: a file's
bytes and a `target.Target`. Out: the new bytes, or an error with file and line.
"""

from modelpack.yamledit.annotation import annotate, annotation, has_template, unannotate
from modelpack.yamledit.edit import Site, edit, find, holds, pause, resume
from modelpack.yamledit.items import append, drop

__all__ = [
    "Site",
    "annotate",
    "annotation",
    "append",
    "drop",
    "edit",
    "find",
    "has_template",
    "holds",
    "pause",
    "resume",
    "unannotate",
]
