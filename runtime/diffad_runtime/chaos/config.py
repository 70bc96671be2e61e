"""What a chaos:// URI and its script may say.

Knows names, limits and defaults. Does not know when a fault comes (timetable.py) nor how it is done.
"""

import sys
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from diffad_runtime.chaos.kinds import FAULTS, FaultKind, kinds_named
from diffad_runtime.chaos.timetable import ScriptedFault, check_order
from diffad_runtime.errors import SourceError
from diffad_runtime.synthetic.line import LineConfig


class ChaosConfig(LineConfig):
    """The parameters of chaos://; those of the synthetic line draw the pictures, unless `over` gives them."""

    fps: float = Field(default=30.0, gt=0, le=1000, description="pictures a second")
    faults: str = Field(
        default="all", description="kinds or groups with commas between: freeze,silence,corrupt,colour,clock,all,none"
    )
    every: float = Field(default=12.0, gt=0, le=1e6, description="seconds of good stream between two faults, about")
    length: float = Field(default=8.0, gt=0, le=1e4, description="seconds that a lasting fault lasts at least")
    script: str = Field(default="", description="path of a TOML file with the faults, instead of `faults` and a seed")
    over: str = Field(default="", description="URI of another source whose frames to spoil, percent-encoded")
    pictures: int = Field(default=8, ge=2, le=256, description="different pictures of the line, drawn at the start")

    _what: ClassVar[str] = "chaos://"

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Take the parameters apart.

        Raises:
            SourceError: an unknown parameter or fault, a bad value, a parameter twice.
        """
        place, _, query = uri.partition("://")[2].partition("?")
        if place.strip("/"):
            raise SourceError(f"{uri}: nothing may stand before the '?'", mend="Write chaos://?seed=7&faults=all")
        pairs = parse_qsl(query, keep_blank_values=True)
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SourceError(f"chaos:// parameter {twice[0]!r} is given twice", mend="Give it once")
        config = cls.from_query(dict(pairs))
        kinds_named(config.faults)
        return config


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: FaultKind
    at: float = Field(ge=0)
    length: float | None = Field(default=None, ge=0)
    amount: float | None = Field(default=None, ge=0)


class _Script(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fault: list[_Entry]


def read_script(path: str | Path, *, length_s: float) -> list[ScriptedFault]:
    """The faults of a TOML file: tables [[fault]] with kind, at (seconds of the stream), and length and amount.

    Args:
        path: of the file.
        length_s: for lasting faults that give none.

    Raises:
        SourceError: no such file, no TOML, an unknown kind, faults that overlap, or Python 3.10 without tomli.
    """
    path = Path(path)
    mend = 'Write tables such as [[fault]] with kind = "freeze", at = 10.0, length = 6.0'
    try:
        entries = _Script(**_toml(path)).fault
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SourceError(f"chaos script {path}, {where}: {first['msg']}", mend=mend) from error
    faults = []
    for number, entry in enumerate(entries):
        about = FAULTS[entry.kind]
        if entry.length and not about.lasting:
            raise SourceError(
                f"chaos script {path}: fault {number + 1} ({entry.kind.value}) is over at once, but length is "
                f"{entry.length:g}",
                mend="Leave length out",
            )
        length = (length_s if entry.length is None else entry.length) if about.lasting else 0.0
        amount = about.amount if entry.amount is None else entry.amount
        faults.append(ScriptedFault(number, entry.kind, entry.at, length, amount))
    check_order(faults)
    return faults


def _toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml  # noqa: PLC0415  absent before 3.11
    else:
        try:
            import tomli as toml  # noqa: PLC0415
        except ModuleNotFoundError:
            raise SourceError(
                "a chaos script in TOML needs the package tomli on Python 3.10", mend="Run: pip install tomli"
            ) from None
    try:
        read: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except toml.TOMLDecodeError as error:
        raise SourceError(f"chaos script {path} is no TOML: {error}", mend="Mend that line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"chaos script {path} cannot be read: {error}", mend="Check the path") from error
    return read
