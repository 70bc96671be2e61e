"""What turns maps into verdicts: thresholds, the way of scoring, the smallest defect.

Knows numbers that may be overridden on the line. Does not know engines, frames or files.
"""

from dataclasses import dataclass, replace

from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore, Manifest


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """In force for an inspector.

    Attributes:
        pixel_threshold: a map value above it is a defect pixel.
        image_threshold: an image score above it is NG.
        image_score: how the score is made of the map.
        min_defect_pixels: smaller blobs are erased from the mask, in pixels of the (S, S) map.
    """

    pixel_threshold: float
    image_threshold: float
    image_score: ImageScore
    min_defect_pixels: int = 1

    @classmethod
    def of(cls, manifest: Manifest) -> "DecisionRules":
        """As the bundle says."""
        return cls(
            pixel_threshold=manifest.thresholds.pixel,
            image_threshold=manifest.thresholds.image,
            image_score=manifest.image_score,
            min_defect_pixels=manifest.min_defect_pixels,
        )

    def with_thresholds(self, *, pixel: float | None = None, image: float | None = None) -> "DecisionRules":
        """The same with other thresholds; None keeps one.

        Raises:
            InputError: NaN, which would let every part pass.
        """
        for name, value in (("pixel", pixel), ("image", image)):
            if value is not None and value != value:  # noqa: PLR0124  only NaN differs from itself
                raise InputError(f"the {name} threshold is NaN, expected a number", mend="Give a number")
        return replace(
            self,
            pixel_threshold=self.pixel_threshold if pixel is None else float(pixel),
            image_threshold=self.image_threshold if image is None else float(image),
        )
