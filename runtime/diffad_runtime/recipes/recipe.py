"""A recipe as the runtime holds it: checked, and independent of the file's spelling.

Knows what is looked at and how it is judged. Does not know files (load.py) nor frames (regions/plan.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffad_runtime.errors import RecipeError
from diffad_runtime.regions.affine import Points
from diffad_runtime.regions.orientation import UPRIGHT, Orientation
from diffad_runtime.rle import Rle

View = Literal["frame", "crop", "tiles"]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the frame with a verdict of its own.

    Attributes:
        name: unique in its recipe.
        polygons: in the recipe's unit; what lies in any of them belongs to the region. Empty: the whole frame.
        view: what the network sees: "frame" the whole frame, "crop" the polygons' bounding box, "tiles" that box in
            tiles.
        image_threshold, pixel_threshold: None: those in force for the bundle.
        min_defect_area: smaller blobs are erased from the mask, frame pixels.
    """

    name: str
    polygons: tuple[Points, ...] = ()
    view: View = "frame"
    image_threshold: float | None = None
    pixel_threshold: float | None = None
    min_defect_area: int = 1


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of `width` x `height` frame pixels, each overlapping the next by `overlap` or more."""

    width: int
    height: int
    overlap: int


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """One product. Two recipes are equal only where they are the same object: plans are kept by it.

    Attributes:
        name, index: unique in a book; index is what a PLC sends, None where it has none.
        product: for people.
        regions: at least one.
        ignore: polygons, in the recipe's unit; pixels inside count for nothing.
        ignore_images: the same as pictures of the frame's size.
        relative: polygons are in shares of width and height, 0 to 1; otherwise in frame pixels.
        frame: (width, height) that the recipe is made for; None: any.
        orientation: how the network wants the frame turned. Polygons and results stay in the camera's frame.
        tiling: None where no region wants tiles.
        opening, closing: radii of the mask's clean-up, frame pixels, 0 for none.
        model_id, bundle_digest: of the bundle it was made for; "" for any.
        path, digest: the file, and SHA-256 of it and its pictures; None and "" where made by a program.
    """

    name: str
    regions: tuple[Region, ...]
    index: int | None = None
    product: str = ""
    ignore: tuple[Points, ...] = ()
    ignore_images: tuple[Rle, ...] = ()
    relative: bool = False
    frame: tuple[int, int] | None = None
    orientation: Orientation = UPRIGHT
    tiling: Tiling | None = None
    opening: float = 0.0
    closing: float = 0.0
    model_id: str = ""
    bundle_digest: str = ""
    path: Path | None = None
    digest: str = ""

    def check_bundle(self, model_id: str, digest: str) -> None:
        """Hold the bundle against the one that the recipe names, if it does.

        Raises:
            RecipeError: it is another.
        """
        for what, wanted, got in (("model", self.model_id, model_id), ("digest", self.bundle_digest, digest)):
            if wanted and wanted != got:
                raise RecipeError(
                    f"recipe {self.name!r} is for a bundle of the {what} {wanted!r}, this one has {got!r}",
                    mend="Run the bundle that it was made with, or set the thresholds anew and correct [bundle]",
                )
