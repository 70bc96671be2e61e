"""A study file as plain values: TOML or YAML, by its suffix.

Knows syntax. Does not know fields.
"""

import sys
from pathlib import Path
from typing import Any

from diffad_runtime.errors import InputError, MissingExtraError

if sys.version_info >= (3, 11):
    import tomllib

SUFFIXES = (".toml", ".yaml", ".yml")


def read_study_file(path: Path) -> dict[str, Any]:
    """Parse a file into tables, lists and scalars.

    Raises:
        InputError: no such file, an unknown suffix, a syntax error, or TOML before Python 3.11.
        MissingExtraError: YAML, and PyYAML is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"a study is {', '.join(SUFFIXES)}, got {path.name!r}", mend="Rename the file after what is in it"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the study {path}: {error}", mend="Check the path") from None
    value = _toml(path, text) if path.suffix.lower() == ".toml" else _yaml(path, text)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, expected a table", mend="Begin with: version = 1")
    return value


def _toml(path: Path, text: str) -> Any:
    if sys.version_info < (3, 11):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InputError(
            f"{path} is TOML, which Python reads from 3.11 on; this is {version}",
            mend="Write the study as YAML, or use Python 3.11",
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}", mend="Correct that line") from None


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]  # noqa: PLC0415  not needed for TOML
    except ImportError:
        raise MissingExtraError("yaml", extra="export", purpose=f"reading {path.name}") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}", mend="Correct that line") from None
