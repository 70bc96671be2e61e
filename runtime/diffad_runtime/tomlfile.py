"""TOML files that people write: read whole and checked, and the first fault told in one line.

Knows TOML, limits of size, and what pydantic says. Does not know what any file is for.

TOML and nothing else: YAML reads `no` as false and 010 as eight, and its aliases grow without bound.
"""

import difflib
import re
import sys
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from diffad_runtime.errors import InputError

SUFFIX: Final = ".toml"
_Table = TypeVar("_Table", bound=BaseModel)
MOST_BYTES = 1 << 20
_MOST_DOTS = 2000
# Dots that are in no number: of keys, and of text. tomllib takes the square of a key's dots to read it.
_DOTS = re.compile(r"\.(?!\d)|\.\d+(?=\s*\.)")
_SHOWN = 60  # characters of a wrong value
_TOLD = 200  # characters of what a library says


def read_file(path: Path, what: str, *, see: str, too_large: str = "Split it") -> bytes:
    """The bytes of a TOML file.

    Args:
        path: NAME.toml.
        what: as in "a recipe".
        see: where its format is described.
        too_large: what to do about a file of more than a mebibyte.

    Raises:
        InputError: no .toml, not readable, no regular file, or too large.
    """
    the = f"the {what.split(' ', 1)[-1]}"
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"{what} is a {SUFFIX} file, got {path.name!r}", mend=f"See {see} for the format")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited on for ever
            raise InputError(f"cannot read {the} {path}: it is no regular file", mend="Check the path")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {the} {path}: {reason}", mend="Check the path") from None
    if len(data) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES} bytes", mend=too_large)
    return data


def checked(model: type[_Table], values: dict[str, Any], where: str, whole: str) -> _Table:
    """Values as a table.

    Args:
        model: of the whole file.
        values: as they stand in it.
        where: the file, for the message.
        whole: as in "the recipe".

    Raises:
        InputError: the first fault: which field, what was expected and what was got.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _told(error, where, model, whole) from None


def parse(path: Path, data: bytes) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        InputError: it is none, or would take too long to read.
    """
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415  beside the package that stands for it
    else:
        try:
            import tomli as tomllib  # noqa: PLC0415
        except ImportError:
            raise InputError(
                f"reading {path} needs the package 'tomli' before Python 3.11", mend="Run: pip install tomli"
            ) from None
    try:
        text = data.decode("utf-8")
        if len(_DOTS.findall(text)) > _MOST_DOTS:
            raise InputError(
                f"{path} has more than {_MOST_DOTS} dots outside numbers", mend="Shorten its keys and comments"
            )
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 text: line {line}", mend="Save it as UTF-8") from None
    except RecursionError:
        raise InputError(f"{path} is not valid TOML: nested too deeply", mend="Lists are three deep at most") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise InputError(
            f"{path} is not valid TOML: {_short(error, quoted=False, most=_TOLD)}", mend="Correct that line"
        ) from None


def _told(error: ValidationError, where: str, model: type[BaseModel], whole: str) -> InputError:
    """The first fault in one line."""
    faults = error.errors(include_url=False)
    first = faults[0]
    field = _field(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    mend = f"Correct {field or whole}"
    got = ""
    if first["type"] == "extra_forbidden":
        known = _known(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 2)
        message = "there is no such field"
        mend = f"Write {' or '.join(near)}" if near else f"Known here: {', '.join(known)}"
    elif first["type"] == "missing":
        message = "the field is missing"
        mend = f"Add it{', as in: version = 1' if field == 'version' else ''}"
    elif first["type"] != "value_error":
        message = message.removeprefix("Input should be ").removeprefix("Input should ")
        message, got = f"expected {message}", f", got {_short(first['input'])}"
    more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
    return InputError(f"{where}: {f'{field}: ' if field else ''}{message}{got}{more}", mend=mend)


def _field(loc: tuple[int | str, ...]) -> str:
    """("regions", 0, "polygons", 1) -> "regions[0].polygons[1]"."""
    # pydantic puts the name of a union's branch between the fields.
    parts = [part for part in loc if isinstance(part, int) or (part.replace("_", "").isalnum() and part != "int")]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return _short(text.lstrip("."), quoted=False)


def _known(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Fields of the table at that place."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _table(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _table(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `list[Model]` or `Model | None`."""
    inner = get_args(annotation)
    if not inner:  # Python 3.10 takes list[Model] for a class
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return next((model for model in map(_table, inner) if model is not None), None)


def _short(value: object, *, quoted: bool = True, most: int = _SHOWN) -> str:
    """As much of a value as a message holds, without anything that a terminal acts on."""
    try:
        text = repr(value) if quoted else str(value)
    except ValueError:  # an int of thousands of digits
        text = "a number of thousands of digits"
    except RecursionError:
        text = "something nested deeply"
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
