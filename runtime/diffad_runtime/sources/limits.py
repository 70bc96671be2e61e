"""How long a live camera may be silent, stand still or stay away before something is done about it.

Knows the limits and their defaults for each kind of camera. Does not know who watches them (watch.py).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_runtime.errors import InputError


class Limits(BaseModel):
    """Limits of a supervised source, seconds unless it is said otherwise. Frozen; unknown fields are refused.

    Raises:
        InputError: an unknown field or a bad value, from `Limits.of`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    stall_s: float = Field(default=2.0, gt=0, description="age of the newest frame from which the camera is stalled")
    frozen_s: float | None = Field(
        default=3.0, gt=0, description="how long the picture may stay bit-identical; none: it is not looked at"
    )
    reopen_s: float = Field(
        default=3.0, gt=0, description="how long it may be stalled before it is closed and opened again"
    )
    open_s: float = Field(default=10.0, gt=0, description="how long opening may take before it is given up as hung")
    backoff_s: float = Field(default=0.25, gt=0, description="longest wait before the first new attempt to open")
    backoff_cap_s: float = Field(default=2.0, gt=0, description="longest wait before any attempt to open")
    jitter: float = Field(default=0.5, ge=0, le=1, description="share of each wait that is left to chance")
    settle_s: float = Field(default=2.0, ge=0, description="good frames for that long begin the waits anew")
    wait_s: float | None = Field(
        default=0.0, ge=0, description="how long to go on trying where the first opening fails; none: for ever"
    )
    give_up_s: float | None = Field(
        default=None, gt=0, description="how long without a good frame until the source has failed; none: never"
    )
    release_s: float = Field(
        default=1.0, ge=0, description="how long a dropped reader may take to let go of the device before the next"
    )
    abandoned: int = Field(default=4, ge=1, le=64, description="readers that may hang in native code at once, count")

    @classmethod
    def of(cls, **values: Any) -> "Limits":
        """Check limits that a user gave; the others keep their defaults."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            field = cls.model_fields.get(name)
            about = f"{name} is: {field.description}" if field else f"Use one of {', '.join(cls.model_fields)}"
            raise InputError(f"camera limit {name}={first['input']!r}: {first['msg']}", mend=about) from error
