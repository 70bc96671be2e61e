"""JSON read strictly: UTF-8, no NaN or infinity, no duplicate keys, no control characters, an object at the top.

Knows JSON and how to say a pydantic complaint in one line. Does not know the fields of any file.

Bounded in bytes and in values: a byte of JSON may become 28 in Python (a list of empty objects), and whoever checks the
fields may have something to say of each value.
"""

import json
import math
import re
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from diffad_runtime.errors import BundleError

MOST_BYTES: Final = 4 << 20
MOST_VALUES: Final = 1 << 18
MOST_DEEP: Final = 64
_SHOWN = 200  # characters of a complaint
# What a terminal acts on, and halves of characters, which no file and no log takes. Line ends and tabs may stand.
_UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_MEND = "Export the bundle again with 'diffad-edge export'"


def parse_object(raw: bytes | memoryview, name: str) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        raw: UTF-8 bytes.
        name: of the bundle member, for messages.

    Raises:
        BundleError: anything that is not one strict JSON object, or more than any bundle needs.
    """
    if len(raw) > MOST_BYTES:
        raise BundleError(f"member {name!r} has {len(raw)} bytes, at most {MOST_BYTES} allowed", mend=_MEND)
    try:
        text = str(raw, "utf-8")
        if (values := text.count(",") + text.count("[") + text.count("{")) > MOST_VALUES:
            raise BundleError(f"member {name!r} holds {values} values, at most {MOST_VALUES} allowed", mend=_MEND)
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_duplicates)
    except RecursionError as error:
        raise BundleError(f"member {name!r} nests JSON too deeply", mend=_MEND) from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError among them
        raise BundleError(f"member {name!r} is not valid JSON: {error}", mend=_MEND) from error
    if not isinstance(value, dict):
        raise BundleError(f"member {name!r} holds a JSON {type(value).__name__}, expected an object", mend=_MEND)
    _check_inside(value, name)
    return value


def one_line(error: ValidationError) -> str:
    """The first complaint of pydantic, with its place, and how many more there are."""
    complaints = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(_shown(str(part)) for part in complaints[0]["loc"][:8]) or "top level"
    rest = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return f"{place}: {_shown(complaints[0]['msg'])}{rest}"


def _shown(text: str) -> str:
    """What stands in a file may stand in a message: cut, and with nothing that a terminal acts on."""
    cut = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)


def _check_inside(value: dict[str, Any], name: str) -> None:
    """Depth and characters. Level by level, as what is nested deeply is not to be walked by recursion."""
    level: list[Any] = [value]
    for _ in range(MOST_DEEP):
        texts = [one for one in level if isinstance(one, str)]
        texts += [key for one in level if isinstance(one, dict) for key in one]
        for text in texts:
            if (found := _UNSPEAKABLE.search(text)) is not None:
                raise BundleError(f"member {name!r} holds the character {found[0]!a}", mend=_MEND)
        level = [
            inside
            for one in level
            if isinstance(one, dict | list)
            for inside in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise BundleError(f"member {name!r} nests JSON deeper than {MOST_DEEP} levels", mend=_MEND)


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
