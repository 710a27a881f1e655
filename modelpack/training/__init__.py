"""One training run, from data to a packaged model: fetch, validate, test, train, evaluate, package.

In: a `Run` and the training.yaml of its commit. Out: a folder with what each step left, a `Result`, and a model
container in the registry if the model passed.
"""
