"""Changes in Git, made on objects and pushed without losing anyone's work.

In: a branch of a repository, and what is wanted. Out: one commit on the branch's tip, or an error and nothing.
"""

from modelpack.gitops.bump import Wanted, bump, put_back, rollback
from modelpack.gitops.change import (
    ANNOTATION_ROLLBACK,
    Change,
    Draft,
    digest_of,
    land,
    message,
    step,
    targets_of,
    version_of,
)
from modelpack.gitops.models import Model, Rejected, by_image, by_name, model_files, rejected, with_rejected
from modelpack.gitops.repository import Repository, Revision, open_repository

__all__ = [
    "ANNOTATION_ROLLBACK",
    "Change",
    "Draft",
    "Model",
    "Rejected",
    "Repository",
    "Revision",
    "Wanted",
    "bump",
    "by_image",
    "by_name",
    "digest_of",
    "land",
    "message",
    "model_files",
    "open_repository",
    "put_back",
    "rejected",
    "rollback",
    "step",
    "targets_of",
    "version_of",
    "with_rejected",
]
