"""modelpack delivers trained models the way good teams deliver code.

A trained model becomes a versioned container image; one line in Git names the version that serves; a gate that
understands models decides whether a new version is promoted.
"""

__version__ = "0.1.0"
