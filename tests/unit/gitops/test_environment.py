"""Which environments a model.yaml names, and where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpack.definition import Environment, parse
from modelpack.errors import NotFoundError
from modelpack.gitops.environment import environment_of, home_of, name_there

MODEL = """\
apiVersion: modelpack.dev/v1
kind: Model
metadata: {name: mpg}
source: ./artifacts/{version}
image: registry.local/models/mpg
"""
ENVIRONMENTS = """\
environments:
- {name: staging, targets: [{file: staging/kustomization.yaml, images: registry.local/models/mpg}]}
- {name: production, repository: ../production.git, branch: live}
"""


def test_an_environment_is_found_by_its_name() -> None:
    definition = parse((MODEL + ENVIRONMENTS).encode(), "model.yaml")
    assert environment_of(definition, "production", "model.yaml").repository == "../production.git"
    assert definition.targets == environment_of(definition, "staging", "model.yaml").targets


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (MODEL, "staging", "model.yaml names no environments; write environments"),
        (MODEL + ENVIRONMENTS, "stagin", "does not name it; did you mean staging?"),
        (MODEL + ENVIRONMENTS, "qa", "does not name it; known there: staging, production"),
    ],
)
def test_one_that_is_not_there_is_an_error_that_says_what_is(text: str, name: str, words: str) -> None:
    with pytest.raises(NotFoundError, match=name) as caught:
        environment_of(parse(text.encode(), "model.yaml"), name, "model.yaml")
    assert words in str(caught.value)


def test_where_an_environment_stands(tmp_path: Path) -> None:
    here = str(tmp_path / "serving.git")
    Path(here).mkdir()
    url, ssh = "https://git.example.com/production.git", "git@git.example.com:production.git"
    for environment, home in (
        (Environment("staging"), (here, "main")),
        (Environment("staging", branch="live"), (here, "live")),
        (Environment("p", repository=url), (url, "main")),
        (Environment("p", repository=ssh, branch="live"), (ssh, "live")),
        (Environment("p", repository="../production.git"), (str(tmp_path / "production.git"), "main")),
    ):
        assert home_of(environment, here, "main") == home
    relative = Environment("p", repository="../production.git")
    assert home_of(relative, url, "main") == ("../production.git", "main")


def test_another_repository_has_targets_or_an_environment_of_the_same_name() -> None:
    here, there = parse((MODEL + ENVIRONMENTS).encode(), "model.yaml"), parse(MODEL.encode(), "model.yaml")
    staging, production = here.environments
    assert [name_there(here, each) for each in (staging, production)] == ["staging", "production"]
    assert [name_there(there, each) for each in (staging, production)] == ["staging", ""]
