"""Changes in Git, made on objects and pushed without losing anyone's work.

In: a branch of a repository, and what is wanted. Out: one commit on the branch's tip, or an error and nothing.
"""

from modelpack.definition import order
from modelpack.gitops.bump import bump, check_rejected, propose_bump
from modelpack.gitops.change import (
    ANNOTATION_ROLLBACK,
    Change,
    Draft,
    Part,
    Wanted,
    digest_of,
    land,
    make,
    step,
    targets_of,
    version_of,
)
from modelpack.gitops.commit import Style, message
from modelpack.gitops.models import Model, Rejected, by_image, by_name, model_files, rejected, with_rejected
from modelpack.gitops.repository import Repository, open_repository
from modelpack.gitops.rollback import propose_rollback, put_back, rollback
from modelpack.gitops.side import Side
from modelpack.gitops.view import Revision

__all__ = [
    "ANNOTATION_ROLLBACK",
    "Change",
    "Draft",
    "Model",
    "Part",
    "Rejected",
    "Repository",
    "Revision",
    "Side",
    "Style",
    "Wanted",
    "bump",
    "by_image",
    "by_name",
    "check_rejected",
    "digest_of",
    "land",
    "make",
    "message",
    "model_files",
    "open_repository",
    "order",
    "propose_bump",
    "propose_rollback",
    "put_back",
    "rejected",
    "rollback",
    "step",
    "targets_of",
    "version_of",
    "with_rejected",
]
