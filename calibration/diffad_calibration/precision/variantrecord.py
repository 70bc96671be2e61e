"""calibration.json of a bundle: what variants were made with, so that one can be made again without images.

Knows the fields. Does not know how graphs are made (variants.py).
"""

import base64
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from diffad_runtime.errors import BundleError

MEMBER = "calibration.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class GraphRecord(_Strict):
    """One graph of one variant.

    Attributes:
        ranges: low and high end of each tensor that is rounded.
        keep_float: nodes that are not rounded.
        bias_shifts: what was added to each convolution's bias: (C,) float32, little endian, base64.
    """

    ranges: dict[str, tuple[float, float]] = Field(default_factory=dict)
    keep_float: list[str] = Field(default_factory=list)
    bias_shifts: dict[str, str] = Field(default_factory=dict)

    @field_validator("bias_shifts")
    @classmethod
    def _decodable(cls, texts: dict[str, str]) -> dict[str, str]:
        for name, text in texts.items():
            try:
                _decoded(text)
            except ValueError as error:  # base64's own error is one
                raise ValueError(f"the bias shifts of {name!r} are not float32 in base64") from error
        return texts

    def keep_shifts(self, shifts: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Encode; the inverse of `shifts`."""
        self.bias_shifts = {
            name: base64.b64encode(np.asarray(one, "<f4").tobytes()).decode("ascii") for name, one in shifts.items()
        }

    def shifts(self) -> dict[str, npt.NDArray[np.float32]]:
        """By the convolution's name: (C,)."""
        return {name: _decoded(text) for name, text in self.bias_shifts.items()}


class VariantRecord(_Strict):
    """One variant.

    Attributes:
        recipe: its name in the table of variants.
        tuned: its weights were trained further after FP32: it cannot be made of the FP32 graphs.
    """

    recipe: str
    graphs: dict[str, GraphRecord]
    tuned: bool = False


class CalibrationRecord(_Strict):
    """All variants of a bundle.

    Attributes:
        frames: calibration images that were run.
        estimator: of ranges.
        extremes: by graph, smallest and largest value of every float tensor: what the range guard of FP16 judges by.
    """

    version: Literal[1] = 1
    frames: int = Field(ge=1)
    estimator: str
    extremes: dict[str, dict[str, tuple[float, float]]]
    variants: dict[str, VariantRecord]

    def to_bytes(self) -> bytes:
        """The member."""
        return self.model_dump_json().encode() + b"\n"

    @staticmethod
    def of_bytes(member: bytes) -> "CalibrationRecord":
        """Read.

        Raises:
            BundleError: not such a record.
        """
        try:
            return CalibrationRecord.model_validate_json(member)
        except ValidationError as error:
            raise BundleError(
                f"{MEMBER} is not valid: {error.errors()[0]['msg']}", mend="Export the bundle again"
            ) from error


def _decoded(text: str) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
