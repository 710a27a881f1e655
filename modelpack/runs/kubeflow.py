"""Runs in Kubeflow Pipelines, of a pipeline that is uploaded there and takes the run's JSON as its parameter `run`.

The server gives runs ids of its own, so a run is known by its display name: where two were started at the same moment,
the older one counts and the other is deleted. How good a model was found stands in the registry, not here.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpack.errors import InputError, NotFoundError, RefusedError, RemoteError
from modelpack.gitops.program import without_login
from modelpack.runs.job import to_text
from modelpack.runs.remote import HOST, TOKEN, token_for
from modelpack.training.definition import Training
from modelpack.training.run import Run, Seen, State, from_json

EXPERIMENT = "modelpack"
PARAMETER = "run"
_MOST = 100  # runs on a page
_STATES = {
    "PENDING": State.PENDING,
    "PAUSED": State.PENDING,
    "RUNNING": State.RUNNING,
    "CANCELING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "SKIPPED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELED": State.CANCELLED,
}


@dataclass(frozen=True)
class Kubeflow:
    """One server and namespace. `client` is a kfp.Client."""

    client: Any
    url: str
    namespace: str = ""

    @classmethod
    def connect(cls, url: str, namespace: str) -> Kubeflow:
        """Raises InputError where kfp is not installed, RemoteError where the server does not answer."""
        try:
            import kfp
        except ImportError as error:
            remedy = "run pip install 'modelpack-delivery[kfp]'"
            raise InputError("Kubeflow Pipelines", f"needs {error.name}", remedy) from error
        shown = without_login(url)
        with warnings.catch_warnings(), _errors(shown):
            warnings.simplefilter("ignore")
            token = token_for(url) or None
            return cls(kfp.Client(host=url, namespace=namespace or "kubeflow", existing_token=token), shown, namespace)

    def start(self, run: Run, training: Training) -> None:
        if self._found(run):
            return
        with _errors(self.url):
            pipeline = self.client.get_pipeline_id(training.runs.pipeline)
        if not pipeline:
            name = training.runs.pipeline
            raise NotFoundError(
                name, f"is no pipeline at {self.url}", "upload it: manifests/kubeflow/train.py makes one"
            )
        with _errors(self.url):
            versions = self.client.list_pipeline_versions(pipeline, page_size=1, sort_by="created_at desc")
            newest = versions.pipeline_versions[0].pipeline_version_id
            experiment = self.client.create_experiment(EXPERIMENT, namespace=self.namespace or None)
            self.client.run_pipeline(
                experiment.experiment_id,
                run.id,
                params={PARAMETER: to_text(run)},
                pipeline_id=pipeline,
                version_id=newest,
                enable_caching=False,
                service_account=training.runs.service_account or None,
            )
            for twin in self._found(run)[1:]:
                self.client.delete_run(twin.run_id)

    def look(self, run: Run) -> Seen:
        found = self._found(run)
        if not found:
            return Seen(State.LOST, "the server knows nothing of it", retryable=True)
        return seen(found[0])

    def cancel(self, run: Run) -> None:
        for each in self._found(run):
            if not seen(each).state.over:
                with _errors(self.url):
                    self.client.terminate_run(each.run_id)

    def log(self, run: Run) -> str:
        """The server keeps the logs of its steps: their page says more."""
        found = self._found(run)
        return f"{self.url.rstrip('/')}/#/runs/details/{found[0].run_id}\n" if found else ""

    def remove(self, run: Run) -> None:
        for each in self._found(run):
            if seen(each).state.over:
                with _errors(self.url):
                    self.client.delete_run(each.run_id)

    def runs(self, model: str) -> tuple[Run, ...]:
        """Those on the newest pages that carry a run of the model."""
        with _errors(self.url):
            listed = self.client.list_runs(
                page_size=_MOST, sort_by="created_at desc", namespace=self.namespace or None
            ).runs
        found = []
        for each in listed or ():
            with suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
                found.append(from_json(json.loads(each.runtime_config.parameters[PARAMETER])))
        return tuple(run for run in found if run.model == model)

    def _found(self, run: Run) -> list[Any]:
        return named(self.client, run.id, self.namespace, self.url)


@dataclass(frozen=True)
class Uploaded:
    """A compiled file as a run of its own, at the server that kfp's own settings name ($KF_PIPELINES_ENDPOINT). `name`
    is the pipeline's, the run's is that and a digest of the file."""

    file: Path
    pipeline: str

    @property
    def name(self) -> str:
        return f"{self.pipeline}-{hashlib.sha256(self.file.read_bytes()).hexdigest()[:10]}"

    def start(self) -> None:
        if not self._found():
            with _errors(self.pipeline):
                self._client().create_run_from_pipeline_package(
                    str(self.file), run_name=self.name, experiment_name=EXPERIMENT, enable_caching=False
                )

    def look(self) -> Seen:
        found = self._found()
        return seen(found[0]) if found else Seen(State.LOST, "the server knows nothing of it", retryable=True)

    def log(self) -> str:
        """The server keeps the logs of its steps."""
        return ""

    def _found(self) -> list[Any]:
        return named(self._client(), self.name, "", self.pipeline)

    def _client(self) -> Any:
        try:
            import kfp
        except ImportError as error:
            remedy = "run pip install 'modelpack-delivery[kfp]'"
            raise InputError("Kubeflow Pipelines", f"needs {error.name}", remedy) from error
        with warnings.catch_warnings(), _errors(self.pipeline):
            warnings.simplefilter("ignore")
            return kfp.Client(existing_token=os.environ.get(TOKEN) or None)


def named(client: Any, name: str, namespace: str, place: str) -> list[Any]:
    """The server's runs of a name, the oldest first; `place` is what errors are about."""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    with _errors(place):
        answer = client.list_runs(
            page_size=_MOST, filter=json.dumps({"predicates": [predicate]}), namespace=namespace or None
        )
    # two in one second: the id decides, for everybody alike
    return sorted(answer.runs or (), key=lambda each: (str(each.created_at), each.run_id))


def seen(run: Any) -> Seen:
    """How a V2beta1Run stands."""
    state = _STATES.get(str(run.state or "PENDING"), State.PENDING)
    message = str(getattr(run.error, "message", "") or "")[:1000] if run.error else ""
    started = run.created_at.timestamp() if run.created_at else 0.0
    over = state.over and run.finished_at and run.finished_at.timestamp() > 0
    return Seen(state, message, started, run.finished_at.timestamp() if over else 0.0)


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """What goes wrong between the client and its server, in our words."""
    try:
        import urllib3
        from kfp_server_api import ApiException
    except ImportError as error:
        raise InputError(
            "Kubeflow Pipelines", f"needs {error.name}", "run pip install 'modelpack-delivery[kfp]'"
        ) from error
    try:
        yield
    except ApiException as error:
        said = f"answered {error.status}: {' '.join(str(error.body or error.reason).split())[:300]}"
        if error.status in (401, 403):
            raise RefusedError(url, said, f"set ${TOKEN} to a token that may do it, and ${HOST} to its host") from error
        if error.status in (400, 404):
            raise InputError(url, said) from error
        raise RemoteError(url, said, "try again") from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError, IndexError, TypeError) as error:
        raise RemoteError(url, f"cannot be asked: {error}", "look at runs.url, try again") from error
