"""Training data by version: what Git, DVC or a bucket names now, its files, and what is added to a DVC remote.

In: `dvc:FILE.dvc`, `s3://bucket/prefix`, `git:PATH` and a commit. Out: a version, and files in a folder.
"""
