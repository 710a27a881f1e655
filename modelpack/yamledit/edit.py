"""The first edit: set the image that a target names; and take its markers out of image automation's sight."""

from __future__ import annotations

from dataclasses import dataclass

from modelpack.errors import InputError
from modelpack.target import Target
from modelpack.yamledit import write
from modelpack.yamledit.locate import locate
from modelpack.yamledit.marker import markers
from modelpack.yamledit.stream import Stream


@dataclass(frozen=True)
class Site:
    """Where a target's image stands: its value now, its line from 1, its bytes `[start, end)` with quotes.

    Of a target whose parts stand apart it is the first one's place.
    """

    value: str
    line: int
    start: int
    end: int


def find(data: bytes, name: str, target: Target) -> Site:
    """Locate the target in a file's bytes; `name` is the file's, for messages.

    The value is put together from its parts, "" for a Kustomization's entry that is still to be made. Raises
    NotFoundError with file and line if the target is not there, RefusedError where the file is ambiguous.
    """
    stream = Stream.parse(data, name)
    place = locate(stream, target)
    tree, start, end = place.span
    position = tree.position(start)
    return Site(place.value, tree.line(start), stream.size(position), stream.size(tree.position(end)))


def edit(data: bytes, name: str, target: Target, image: str) -> bytes:
    """The file with the target's image set, all parts of it, and everything else the same byte for byte.

    `image` is registry/repository:tag@digest; a tag that stands alone gets no digest unless it held one. Raises as
    `find` does, and RefusedError if the value cannot be changed alone.
    """
    if not write.PLAIN.fullmatch(image):
        raise InputError(image or '""', "is not an image")
    stream = Stream.parse(data, name)
    changes = locate(stream, target).changes(image)
    return stream.write(changes) if changes else data


def holds(data: bytes, name: str, target: Target, image: str) -> bool:
    """Whether the target holds the image already: an edit would change nothing. Raises as `edit` does."""
    return edit(data, name, target, image) == data


def pause(data: bytes, name: str, target: Target) -> bytes:
    """The file with `paused` before each Flux marker beside the target's values, so that Flux takes them for comments.

    The same bytes where there is none; markers elsewhere stay. Raises as `find` does.
    """
    return _mark(data, name, target, False)


def resume(data: bytes, name: str, target: Target) -> bytes:
    """Undoes `pause`, to the byte."""
    return _mark(data, name, target, True)


def _mark(data: bytes, name: str, target: Target, paused: bool) -> bytes:
    stream = Stream.parse(data, name)
    changes = list(markers(locate(stream, target), paused))
    return stream.write(changes) if changes else data
