"""The two packages of the extra [scale], imported when a job starts.

Knows how to ask for them. Does not know what is done with them. Both come back untyped, as pyarrow has no types.
"""

from importlib import import_module
from typing import Any

from diffad_runtime.errors import MissingExtraError


def load_ray() -> Any:
    """The module ray, with ray.data loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    _load("ray.data")
    return _load("ray")


def load_arrow() -> Any:
    """The module pyarrow, with pyarrow.parquet and pyarrow.compute loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    _load("pyarrow.parquet")
    _load("pyarrow.compute")
    return _load("pyarrow")


def _load(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise MissingExtraError(package, extra="scale", purpose="scoring on a Ray cluster") from error
