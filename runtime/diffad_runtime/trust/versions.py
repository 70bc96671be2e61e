"""versions.json: how old a model may be, so that nobody can bring back one that was replaced for a reason.

Knows one small file, its numbers, and that they never fall. Does not know bundles on the disk, nor when a model is
committed (models/).

For each model id two numbers and a digest. `highest` is the highest version that was ever committed, with the digest of
that very bundle: what is installed must be newer, or be that very one (it was rolled back, and is wanted after all).
`floor` is the lowest version that may still run: that of the oldest generation that was kept when one was committed
last, so that there is a way back to it, and to nothing before it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from typing_extensions import Self

from diffad_runtime.bundle.strictjson import one_line, parse_object
from diffad_runtime.errors import BundleError, InputError

FILE: Final = "versions.json"
_MOST_BYTES = 1 << 20
_ModelId = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Seen(_Strict):
    """What is known of one model id."""

    floor: int = Field(ge=1, description="lowest version that may run")
    highest: int = Field(ge=1, description="highest version that was committed")
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="of the bundle with that version")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.floor > self.highest:
            raise ValueError(f"floor {self.floor} is above highest {self.highest}")
        return self


class _File(_Strict):
    schema_version: Literal[1] = 1
    models: dict[_ModelId, Seen]


@dataclass(frozen=True, slots=True)
class Committed:
    """A generation that was committed, as far as versions go."""

    model_id: str
    version: int
    digest: str


def raised(seen: Mapping[str, Seen], kept: tuple[Committed, ...]) -> dict[str, Seen]:
    """The numbers once these generations, and no others, are kept. No number ever falls; twice is as once.

    Args:
        seen: before.
        kept: all generations that were committed and are still there.
    """
    after = dict(seen)
    for model_id in {one.model_id for one in kept}:
        own = [one for one in kept if one.model_id == model_id]
        lowest, newest = min(one.version for one in own), max(own, key=lambda one: one.version)
        before = after.get(model_id)
        if before is None:
            after[model_id] = Seen(floor=lowest, highest=newest.version, digest=newest.digest)
            continue
        higher = newest.version > before.highest
        after[model_id] = Seen(
            floor=max(before.floor, lowest),
            highest=newest.version if higher else before.highest,
            digest=newest.digest if higher else before.digest,
        )
    return after


def too_old_to_run(seen: Mapping[str, Seen], model_id: str, version: int) -> str:
    """Why that version may not run, "" where it may."""
    known = seen.get(model_id)
    if known is None or version >= known.floor:
        return ""
    return f"version {version} of model {model_id!r} is older than this device goes back to, version {known.floor}"


def too_old_to_install(seen: Mapping[str, Seen], model_id: str, version: int, digest: str) -> str:
    """Why that bundle may not be installed, "" where it may."""
    known = seen.get(model_id)
    if known is None or version > known.highest or (version, digest) == (known.highest, known.digest):
        return ""
    return f"version {version} of model {model_id!r} is not newer than version {known.highest}, which this device had"


def read_versions(path: Path) -> dict[str, Seen]:
    """The numbers by model id; {} where there is no such file.

    Raises:
        InputError: damaged. It is never begun anew by itself: that would let an old model in.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}", mend="Check the path and its permissions"
        ) from error
    if len(raw) > _MOST_BYTES:
        raise _damaged(path, f"it has more than {_MOST_BYTES} bytes")
    try:
        return _File.model_validate(parse_object(raw, path.name)).models
    except ValidationError as error:
        raise _damaged(path, one_line(error)) from error
    except BundleError as error:
        raise _damaged(path, error.what) from error


def versions_bytes(seen: Mapping[str, Seen]) -> bytes:
    """The file for these numbers."""
    return json.dumps(_File(models=dict(sorted(seen.items()))).model_dump(), indent=2).encode("ascii") + b"\n"


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is damaged: {why}. It says how old a model may be, so nothing is taken for granted without it",
        mend="Look at who wrote to it; move it away by hand, and what is kept on this device sets the numbers again",
    )
