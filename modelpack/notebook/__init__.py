"""Notebooks as steps: run with parameters and kept as HTML, or cut along their tags into a pipeline.

In: an .ipynb and parameters. Out: the executed notebook and its HTML; a Job, Tekton or Kubeflow pipeline. Only
`execute` runs anything of a notebook, in a process of its own.
"""

from modelpack.notebook.kubeflow import to_kfp
from modelpack.notebook.objects import Place, to_job, to_tekton
from modelpack.notebook.pipeline import Block, Parameter, Pipeline, parse
from modelpack.notebook.run import execute, names

__all__ = ["Block", "Parameter", "Pipeline", "Place", "execute", "names", "parse", "to_job", "to_kfp", "to_tekton"]
