"""Model files to images: deterministic layers, configs, manifests, an index, the copy script; and back to files.

In: a `files.Source` with its list, a `definition.Copy`, bases. Out: an `oci.Artifact`, whose layers stream. Reads files
through the source alone and sends nothing anywhere; `extract` is the way back, from a layer's bytes to a folder.

Not here: zstd layers are refused, as bases and when unpacking; a volume that several pods share is not supported by the
copy script.
"""

from modelpack.image.assemble import assemble
from modelpack.image.base import Base, base_host_busybox, bases_from, bases_none
from modelpack.image.copier import copy_script
from modelpack.image.layers import ModelLayer, plan_layers
from modelpack.image.unpack import extract

__all__ = [
    "Base",
    "ModelLayer",
    "assemble",
    "base_host_busybox",
    "bases_from",
    "bases_none",
    "copy_script",
    "extract",
    "plan_layers",
]
