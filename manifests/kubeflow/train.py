"""The pipeline of `runs: {backend: kfp}`: one step that does a whole training run. Upload it once, under its name.

    python manifests/kubeflow/train.py train.yaml --image registry.example.com/modelpack/train:v0.1.0
    kfp pipeline create --pipeline-name modelpack-train train.yaml

What the step needs of data, registry and Git is for the pipeline's service account, or for the kfp-kubernetes package's
`use_secret_as_env`, to give.
"""

import argparse

from kfp import compiler, dsl


def write(path: str, image: str) -> None:
    """Compile to `path`, which ends in .yaml. The pipeline's one parameter, `run`, is a run as JSON."""

    @dsl.container_component
    def train(run: str):  # kfp reads the types, so they are no texts
        words = ["step", "all", "--folder", "/tmp/run", "--run", run, "--results", "/tmp/results"]  # noqa: S108 (its own pod)
        return dsl.ContainerSpec(image=image, command=["modelpack"], args=words)

    @dsl.pipeline(name="modelpack-train")
    def pipeline(run: str) -> None:
        train(run=run)

    compiler.Compiler().compile(pipeline, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compile the pipeline of `runs: {backend: kfp}`.")
    parser.add_argument("file", metavar="FILE.yaml")
    parser.add_argument("--image", required=True, help="an image with modelpack and what the model needs")
    given = parser.parse_args()
    write(given.file, given.image)
