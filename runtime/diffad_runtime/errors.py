"""The tree of errors that every room raises.

    DiffadError                 exit code 1: the work failed
    |- EngineError              an inference engine could not be made or failed while running
    |- MissingExtraError        an optional package is not installed; the message holds the pip line
    |- GateError                exit code 3: a parity, accuracy or budget gate was not met
    `- InputError               exit code 2: what the user gave cannot be used
       |- ImageError            an image file that cannot be read
       |- DataError             a data folder that does not hold what was asked for
       |- BundleError           a .diffad file that must not be trusted
       |- RecipeError           a recipe that there is not, or that is not for this bundle
       `- SourceError           a camera URI, clip or folder that cannot be opened

A message is one line: what happened (with expected against got), then what to do about it.
"""


class DiffadError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: what happened, with expected against got, no trailing full stop needed.
        mend: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, mend: str) -> None:
        self.what = " ".join(what.split()).rstrip(".")
        self.mend = " ".join(mend.split()).rstrip(".")
        super().__init__(f"{self.what}. {self.mend}.")


class EngineError(DiffadError):
    """An inference engine could not be made, or failed while running."""


class MissingExtraError(DiffadError):
    """An optional package is missing.

    Args:
        package: the module that could not be imported.
        extra: the extra of this distribution that brings it.
        purpose: what it is needed for, as in "training".
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            mend=f"Run: pip install 'diffad-edge[{extra}]'",
        )


class GateError(DiffadError):
    """A parity, accuracy or budget gate was not met; nothing was written as a finished bundle."""

    exit_code = 3


class InputError(DiffadError):
    """What the user gave cannot be used."""

    exit_code = 2


class ImageError(InputError):
    """An image file that cannot be read."""


class DataError(InputError):
    """A data folder that does not hold what was asked for."""


class BundleError(InputError):
    """A .diffad file that must not be trusted."""


class RecipeError(InputError):
    """A recipe that there is not, or that is not for this bundle."""


class SourceError(InputError):
    """A camera URI, clip or folder that cannot be opened."""
