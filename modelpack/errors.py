"""The one tree of errors that modelpack raises on purpose.

Each says what it happened to (`subject`: a file with line, a reference, an address), what happened (`problem`) and what
to do about it (`remedy`). The command line prints that as one line and exits with the class's `exit_code`; whatever is
not in this tree is a bug and exits with 1.

    ModelpackError
    ├── InputError           2  wrong usage or input: bad YAML, a reference that is none
    ├── NotFoundError        3  a file, model, tag or target that is not there
    ├── RefusedError         4  rejected model, unsafe content
    │   ├── ProtectedError   4  a protected branch, or a hook of the server
    │   └── DeclinedError    4  a person decided otherwise
    ├── RemoteError          5  a registry, Git server, gate or disk failed: try again
    ├── IntegrityError       6  bytes are not what their digest says
    │   └── SourceChangedError  6  the model changed while it was read
    ├── RolledBackError      7  the rollout was rolled back
    └── InconclusiveError    8  the rollout ended without a verdict
"""

from __future__ import annotations

from modelpack.text import escaped

_LONGEST = 2000  # characters of a message


class ModelpackError(Exception):
    """Something that a user can understand and act on.

    `subject` names what it happened to, `problem` says what happened, `remedy` what to do; neither ends with a dot.
    """

    exit_code = 1

    def __init__(self, subject: object, problem: str, remedy: str = "") -> None:
        self.subject = str(subject)
        self.problem = problem
        self.remedy = remedy
        super().__init__(self.subject, problem, remedy)

    def __str__(self) -> str:
        text = f"{self.subject}: {self.problem}"
        if self.remedy:
            text += f"; {self.remedy}"
        text = " ".join(text.split())
        if len(text) > _LONGEST:  # the place stands at its start, the remedy at its end
            text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
        # what it quotes is anybody's, and a terminal obeys control characters
        return escaped(text)


class InputError(ModelpackError):
    exit_code = 2


class NotFoundError(ModelpackError):
    exit_code = 3


class RefusedError(ModelpackError):
    exit_code = 4


class ProtectedError(RefusedError):
    """The server refused a push to a branch; another branch and a pull request may pass."""


class DeclinedError(RefusedError):
    """A person closed the same proposal, or a newer one is open."""


class RemoteError(ModelpackError):
    exit_code = 5


class IntegrityError(ModelpackError):
    exit_code = 6


class SourceChangedError(IntegrityError):
    """A file's bytes changed between two looks at it."""


class RolledBackError(ModelpackError):
    exit_code = 7


class InconclusiveError(ModelpackError):
    exit_code = 8
