"""Bytes in, bytes out: finds a value in a YAML file by structure, splices it, and proves that nothing else changed.

Nothing is ever serialised again, so comments, quotes, indentation, line endings and everything else stay. In: a file's
bytes and a `definition.Target`. Out: the new bytes, or an error with file and line.
"""

from modelpack.yamledit.append import append
from modelpack.yamledit.edit import Site, annotate, annotation, edit, find, unannotate

__all__ = ["Site", "annotate", "annotation", "append", "edit", "find", "unannotate"]
