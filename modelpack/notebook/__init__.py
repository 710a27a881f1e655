"""Notebooks as steps: run with parameters and kept as HTML, or cut along their tags into a pipeline.

In: an .ipynb and parameters. Out: the executed notebook and its HTML; a Job, Tekton or Kubeflow pipeline.
"""
