"""From a target to what it names in a file, by its selector."""

from __future__ import annotations

from modelpack.target import INFERENCE_SERVICE, Target
from modelpack.yamledit import helm, kustomize, marker, patch, path, workload
from modelpack.yamledit.slot import Place
from modelpack.yamledit.stream import Stream


def locate(stream: Stream, target: Target) -> Place:
    """All that a target names in a file.

    Raises NotFoundError with file and line if it is not there, RefusedError for a second.
    """
    if target.images:
        return kustomize.place(stream, target)
    if target.values:
        return helm.place(stream, target)
    if target.marker:
        return marker.marked(stream, target)
    if target.setter:
        return marker.setters(stream, target)
    if target.path:
        return path.place(stream, target)
    found = list(workload.objects(stream, target))
    patches = [] if found else list(patch.patches(stream, target))
    if target.kind == INFERENCE_SERVICE:
        found += [each for one in patches for each in patch.objects(one, target)]
        return workload.storage(*workload.only(stream, target, found), target)
    if patches:
        return patch.place(stream, target, patches)
    here = workload.pod_template(*workload.only(stream, target, found), target)
    return workload.in_template(here.tree, here.node, target)


def template(stream: Stream, target: Target) -> workload.Template | None:
    """The pod template that a target is in; None where JSON patch operations set its image without one."""
    found = list(workload.objects(stream, target))
    patches = [] if found else list(patch.patches(stream, target))
    if patches:
        tree = patch.place(stream, target, patches).slots[0].tree
        found = [each for one in patches if one.tree is tree for each in patch.objects(one, target)]
        return workload.pod_template(*found[0], target) if found else None
    return workload.pod_template(*workload.only(stream, target, found), target)
