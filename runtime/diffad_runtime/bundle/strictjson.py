"""JSON read strictly: UTF-8, no NaN or infinity, no duplicate keys, an object at the top.

Knows JSON and how to say a pydantic complaint in one line. Does not know the fields of any file.
"""

import json
import math
from typing import Any, NoReturn

from pydantic import ValidationError

from diffad_runtime.errors import BundleError

_MEND = "Export the bundle again with 'diffad-edge export'"


def parse_object(raw: bytes | memoryview, name: str) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        raw: UTF-8 bytes.
        name: of the bundle member, for messages.

    Raises:
        BundleError: anything that is not one strict JSON object.
    """
    try:
        value = json.loads(
            str(raw, "utf-8"), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_duplicates
        )
    except RecursionError as error:
        raise BundleError(f"member {name!r} nests JSON too deeply", mend=_MEND) from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError among them
        raise BundleError(f"member {name!r} is not valid JSON: {error}", mend=_MEND) from error
    if not isinstance(value, dict):
        raise BundleError(f"member {name!r} holds a JSON {type(value).__name__}, expected an object", mend=_MEND)
    return value


def one_line(error: ValidationError) -> str:
    """The first complaint of pydantic, with its place, and how many more there are."""
    complaints = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in complaints[0]["loc"]) or "top level"
    rest = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{place}: {complaints[0]['msg']}{rest}"


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result
