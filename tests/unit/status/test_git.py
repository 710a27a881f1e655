"""Where a tip names images: every kind of target, in every environment that stands there."""

from __future__ import annotations

from typing import cast

from modelpack.gitops import Repository
from modelpack.gitops.place import Place
from modelpack.status.git import read_entries

IMAGE = "registry.local/models/mpg"
MODEL = f"""\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {{name: mpg}}
source: ./artifacts/{{version}}
image: {IMAGE}
"""
ENVIRONMENTS = f"""\
environments:
- name: staging
  targets:
  - {{file: staging/kustomization.yaml, images: {IMAGE}}}
  - {{file: gone.yaml, path: image}}
- name: production
  branch: main
  targets: [{{file: release.yaml, kind: HelmRelease, name: mpg, values: {{tag: tag}}}}]
- {{name: elsewhere, branch: live, targets: [{{file: deployment.yaml, name: mpg, initContainer: model}}]}}
- {{name: apart, repository: ../apart.git}}
"""
FILES = {
    "model-images/mpg/model.yaml": MODEL + ENVIRONMENTS,
    "model-images/broken/model.yaml": "kind: [",
    "staging/kustomization.yaml": f"namespace: staging\nimages: [{{name: {IMAGE}, newTag: v2}}]\n",
    "release.yaml": "kind: HelmRelease\nmetadata: {name: mpg, namespace: serving}\nspec: {values: {tag: v1}}\n",
    "deployment.yaml": "",
}


class Tip:
    branch = "main"

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        return tuple(path for path in FILES if path.startswith(prefix))

    def read(self, path: str) -> bytes | None:
        return FILES[path].encode() if path in FILES else None


def test_every_environment_of_this_branch_has_its_entries() -> None:
    found = read_entries(cast(Repository, Tip()))
    assert [(each.target.file, each.image, each.place) for each in found] == [
        ("staging/kustomization.yaml", f"{IMAGE}:v2", Place("staging")),
        ("release.yaml", f"{IMAGE}:v1", Place("serving")),
    ]
