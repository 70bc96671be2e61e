"""Dotted paths into a configuration, as in "features.grid_stride": checked, read, changed, put into words.

Knows fields of pydantic models. Does not know study files, nor which rows a value has a part in.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from diffad_export.config import TrainConfig
from diffad_runtime.errors import InputError

Config = TypeVar("Config", bound=BaseModel)

NONE = "none"
"""Stands for "no value" where a field allows it: TOML has no null."""


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables -> (dotted path, value); what is no table is a value."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_path(path: str, where: str, root: type[BaseModel] = TrainConfig) -> None:
    """Whether `path` names a value of a configuration.

    Args:
        where: file and place, for the message.
        root: the configuration.

    Raises:
        InputError: it does not; the message says what is allowed there.
    """
    model: type[BaseModel] | None = root
    above: list[str] = []
    for name in path.split("."):
        fields = {} if model is None else model.model_fields
        if name not in fields:
            place = f" in [{'.'.join(above)}]" if above else ""
            allowed = f"Allowed{place}: {', '.join(fields)}" if fields else f"{'.'.join(above)} is a value, not a table"
            raise InputError(f"{where}: unknown key {path!r}", mend=allowed)
        annotation = fields[name].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
        above.append(name)
    if model is not None:
        raise InputError(f"{where}: {path!r} is a table, got one value", mend=f"Name one of: {_below(path, model)}")


def changed(base: Config, changes: Mapping[str, Any], where: str) -> Config:
    """`base` with other values.

    Args:
        changes: dotted path -> value.
        where: file and place, for the message.

    Raises:
        InputError: an unknown path, or a value that does not fit.
    """
    dump = base.model_dump()
    for path, value in changes.items():
        check_path(path, where, type(base))
        *above, last = path.split(".")
        table = dump
        for name in above:
            table = table[name]
        table[last] = None if value == NONE else value
    try:
        return type(base).model_validate(dump)
    except ValidationError as error:
        raise _refused(error, changes, where) from None


def value_at(config: BaseModel, path: str) -> Any:
    """The value that a checked path names."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def words(value: Any) -> str:
    """A value for a table; different values get different words."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return "+".join(words(one) for one in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def short_names(paths: tuple[str, ...]) -> dict[str, str]:
    """The last part of each path; the whole path where two would be called the same."""
    last = [path.rpartition(".")[2] for path in paths]
    return {path: one if last.count(one) == 1 else path for path, one in zip(paths, last, strict=True)}


def _below(path: str, model: type[BaseModel]) -> str:
    return ", ".join(f"{path}.{name}" for name in model.model_fields)


def _refused(error: ValidationError, changes: Mapping[str, Any], where: str) -> InputError:
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    # The path as it was written, without the place inside a list; a check over several fields names only their table.
    path = next((p for p in changes if p.split(".") == names[: p.count(".") + 1]), ".".join(names))
    value = changes.get(path)
    got = f", got {value!r}" if path in changes else ""
    below = [p for p in changes if p.startswith(f"{path}.")]
    mend = f"Change {' or '.join(below) or path}"
    if path in changes and isinstance(value, (int, float)) and first["type"] == "tuple_type":
        mend = f"{path} is a list itself, so a grid takes a list of lists, as in [[{value}]]"
    return InputError(f"{where}: {path}: {first['msg']}{got}", mend=mend)
