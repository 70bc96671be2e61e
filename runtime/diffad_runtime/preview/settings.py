"""How often, how large and how many: the bounds of a preview page, and who it is about.

Knows numbers and names. Does not know frames, nor the web.
"""

import math
from dataclasses import dataclass, fields

from diffad_runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Settings:
    """Bounds; every one of them holds for all viewers together.

    Attributes:
        rate: pictures a second at most.
        viewers: pages that are served at a time; one more is told that there is no place.
        results: in the strip of scores, and in the percentiles.
        rejects: parts that were NG or ERROR, kept in memory as small pictures.
        longest: of the picture's sides, pixels; larger frames are shrunk. Rejects have two thirds of it.
        quality: of JPEG, 1 to 100.

    Raises:
        InputError: out of its range.
    """

    rate: float = 10.0
    viewers: int = 8
    results: int = 300
    rejects: int = 24
    longest: int = 960
    quality: int = 80

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least, most = _RANGES[field.name]
            if not (math.isfinite(value) and least <= value <= most):
                raise InputError(
                    f"preview: {field.name} is {value}, expected {least:g} to {most:g}", mend="Give one in that range"
                )


_RANGES = {
    "rate": (0.2, 60),
    "viewers": (1, 64),
    "results": (10, 2000),
    "rejects": (1, 100),
    "longest": (64, 4096),
    "quality": (1, 100),
}


@dataclass(frozen=True, slots=True)
class About:
    """What a snapshot does not tell of a run.

    Attributes:
        model_id, version: of the bundle; "" and None where there is none.
        station: the page's heading, as in "press 4, left"; "" for none.
        camera: its URI without a password, "" where it is not to be shown.
    """

    model_id: str = ""
    version: int | None = None
    station: str = ""
    camera: str = ""
