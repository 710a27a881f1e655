"""One look at a rollout: Git, Canary, gate and events put together, on a cluster or on a rehearsal.

In: a scene (what can be asked), a repository. Out: a `View`, as text of 80 columns or as JSON. `view`, `progress` and
`text` are pure; `scenes`, `gate` and `git` ask.
"""

from modelpack.status.git import GitSource
from modelpack.status.look import look
from modelpack.status.scenes import ClusterScene, RehearsalScene, Scene
from modelpack.status.text import render, render_table
from modelpack.status.view import Unseen, View

__all__ = ["ClusterScene", "GitSource", "RehearsalScene", "Scene", "Unseen", "View", "look", "render", "render_table"]
