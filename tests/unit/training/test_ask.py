"""What a run that somebody asks for is about: its version, and what is refused before there is one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelpack import oci
from modelpack.definition import parse as parse_model
from modelpack.errors import InputError
from modelpack.gitops import open_repository
from modelpack.publish import build
from modelpack.reference import Reference
from modelpack.registry import open_repository as open_images
from modelpack.store import Store
from modelpack.training.ask import Asked, ask
from modelpack.training.run import Run
from tests.command import argv, environ, modelpack
from tests.fakes import training as fake
from tests.fakes.git_serving import commit
from tests.fakes.notebooks import notebook

IMAGE = "registry.local/models/line"
NOTEBOOK = fake.TRAINING.replace("command: [python, fit.py]", "notebook: fit.ipynb")
CELLS = notebook(("slope = 0.0\ndata = ''\noutput = ''", ["parameters"]), "raise SystemError('not to be run')").decode()


@dataclass
class Place:
    root: Path
    repo: Path

    def ask(self, known: tuple[Run, ...] = (), over: tuple[str, ...] = (), **parameters: float) -> Asked:
        with open_repository(str(self.repo)) as repository:
            words = {"parameters": parameters, "known": known, "over": over, "reason": "asked for", "now": 1.0}
            return ask(repository, str(self.repo), "line", fake.via(self.root), **words)  # type: ignore[arg-type]

    def push(self, tag: str) -> None:
        """A model container of a version."""
        definition = parse_model(fake.MODEL.encode(), "model.yaml", self.root)
        model = self.root / "artifacts" / tag
        model.mkdir(parents=True)
        (model / "model.json").write_text(tag)
        reference = Reference.parse(f"{IMAGE}:{tag}")
        store = Store(self.root / "store")
        build(
            definition, tag, reference=reference, base="none", via=fake.via(self.root), store=store, push=True
        )  # fmt: skip

    def tag(self, tag: str) -> None:
        """A tag of what is no model container."""
        images = open_images(Reference.parse(f"{IMAGE}:{tag}"), fake.via(self.root))
        body = {"schemaVersion": 2, "mediaType": oci.IMAGE_INDEX, "manifests": []}
        images.push_manifest(oci.Manifest(json.dumps(body).encode(), oci.IMAGE_INDEX), tag)


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    return lambda **more: Place(tmp_path, fake.repository(tmp_path / "repo", more))


@pytest.mark.parametrize(
    ("pushed", "tagged", "version"),
    [
        ((), (), "v1"),  # Git names v0
        (("v4",), (), "v5"),
        (("v4",), ("latest", "main-4f2a91c0", "20260101", "1234567"), "v5"),  # a commit's short id may be all digits
        (("v4",), ("v5", "v6"), "v7"),  # names that are taken, whatever has them
        (("v4",), ("v5-evaluation",), "v6"),
        (("2025.1",), ("v0",), "2025.2"),
    ],
)
def test_the_version_goes_on_from_models_and_leaves_out_names_that_are_taken(
    place: Callable[..., Place], pushed: tuple[str, ...], tagged: tuple[str, ...], version: str
) -> None:
    here = place()
    for each in pushed:
        here.push(each)
    for each in tagged:
        here.tag(each)
    assert here.ask().run.version == version


def test_a_rejected_version_that_the_registry_lost_is_not_given_again(place: Callable[..., Place]) -> None:
    here = place()
    entry = f"- {{model: 'sha256:{'ab' * 32}', image: '{IMAGE}:v3', version: v3, reason: bad}}\n"
    commit(here.repo, {f"{fake.FOLDER}/rejected.yaml": entry})
    assert here.ask().run.version == "v4"


def test_a_run_keeps_its_version_until_it_is_known_to_have_made_nothing(place: Callable[..., Place]) -> None:
    here = place()
    first = here.ask().run
    second = here.ask((first,)).run
    assert (first.version, second.version) == ("v1", "v2")
    again = here.ask((first,), over=(first.id,)).run
    assert again.version == "v1" and again.attempt == 2 and again.id != first.id


@pytest.mark.parametrize(
    ("training", "given", "words"),
    [
        (
            NOTEBOOK,
            {"slop": 1.0},
            r"fit.ipynb: takes no parameter 'slop'; did you mean 'slope'\? it takes: slope, data",
        ),
        (NOTEBOOK, {"zzz": 1.0}, "takes no parameter 'zzz'; it takes: slope, data, output"),
        (NOTEBOOK.replace("slope: 2.0", "steep: 2.0"), {}, "takes no parameter 'steep'"),
    ],
)
def test_a_parameter_that_the_notebook_does_not_take_makes_no_run(
    place: Callable[..., Place], training: str, given: dict[str, float], words: str
) -> None:
    here = place(**{"training.yaml": training, "fit.ipynb": CELLS})
    with pytest.raises(InputError, match=words):
        here.ask(**given)


def test_a_parameter_that_it_takes_does(place: Callable[..., Place]) -> None:
    here = place(**{"training.yaml": NOTEBOOK, "fit.ipynb": CELLS})
    assert here.ask(slope=3.0).run.parameters == {"slope": 3.0}


def test_what_is_refused_leaves_nothing_and_uses_up_no_version(place: Callable[..., Place]) -> None:
    here = place(**{"training.yaml": NOTEBOOK, "fit.ipynb": CELLS})
    via = f"registry.local/=oci:{here.root / 'images'}"
    words = ("train", "line", "--repo", here.repo, "--via", via, "--state", here.root / "runs")
    refused = modelpack(*words, "-p", "dta=3", cwd=here.root)
    assert refused.code == 2 and "takes no parameter 'dta'" in refused.sentence
    assert [*(here.root / "runs").glob("*/*")] == []


def test_a_start_that_is_refused_leaves_nothing(place: Callable[..., Place]) -> None:
    remote = fake.TRAINING.replace("timeout: 60s", "backend: remote, url: 'http://runs.example.com'")
    here = place(**{"training.yaml": remote})
    words = ("train", "line", "--repo", here.repo, "--state", here.root / "runs")
    env = {"MODELPACK_RUNS_TOKEN": "hush", "MODELPACK_VIA": f"registry.local/=oci:{here.root / 'images'}"}
    refused = modelpack(*words, cwd=here.root, env=env)
    assert refused.code == 4, refused.err
    assert [*(here.root / "runs").glob("*/*")] == []


def test_asked_for_at_once_two_commits_make_two_versions(place: Callable[..., Place]) -> None:
    here = place()
    other = fake.repository(here.root / "other", {"fit.py": f"{fake.FIT}# another\n"})
    via = f"registry.local/=oci:{here.root / 'images'}"
    words = ("--via", via, "--state", here.root / "runs", "--detach", "--json")
    started = [
        subprocess.Popen(
            argv("train", "line", "--repo", repo, *words),
            cwd=here.root,
            env=environ(here.root, {}),
            stdout=subprocess.PIPE,
            text=True,
        )
        for repo in (here.repo, other)
    ]
    found = [json.loads(each.communicate(timeout=60)[0])["run"] for each in started]
    assert {each["version"] for each in found} == {"v1", "v2"}
    for each in found:
        until_over(here.root, str(each["id"]))


def test_repeated_after_a_failure_it_makes_the_same_version(place: Callable[..., Place]) -> None:
    here = place(**{"fit.py": "raise SystemExit(3)"})
    words = ("train", "line", "--repo", here.repo, "--state", here.root / "runs", "--json")
    env = {"MODELPACK_VIA": f"registry.local/=oci:{here.root / 'images'}"}
    found = [json.loads(modelpack(*words, cwd=here.root, env=env).out)["run"] for _ in range(2)]
    assert [each["version"] for each in found] == ["v1", "v1"] and [each["attempt"] for each in found] == [1, 2]


def until_over(root: Path, run: str) -> None:
    for _ in range(300):
        shown = modelpack("runs", "--state", root / "runs", "show", run, cwd=root).out
        if not re.search("running|pending", shown):
            return
    raise AssertionError(shown)
