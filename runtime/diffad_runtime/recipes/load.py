"""One recipe file, read and checked.

Knows the pictures beside it and what a recipe is made of. Does not know TOML (tomlfile.py), nor several recipes
(book.py).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from diffad_runtime.errors import ImageError, InputError
from diffad_runtime.imagefile import read_mask
from diffad_runtime.recipes.recipe import Recipe, Region, Tiling, View
from diffad_runtime.recipes.schema import RecipeFile
from diffad_runtime.regions.orientation import Orientation
from diffad_runtime.rle import Rle, encode
from diffad_runtime.tomlfile import MOST_BYTES, checked, parse, read_file

WHOLE_FRAME: Final = "frame"
"""Name of the one region of a recipe that lists none."""


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        path: NAME.toml, as docs/recipes.md describes it.

    Raises:
        InputError: no such file, not TOML, a field that is unknown, missing or out of its range, a polygon that cannot
            be filled, a picture that is missing or of another size. One line names the file, the field, what was
            expected and what was got.
    """
    path = Path(path)
    data = read_file(path, "a recipe", see="docs/recipes.md", too_large="Draw large areas as an ignore image")
    return make_recipe(parse(path, data), where=str(path), folder=path.parent, path=path, data=data)


def make_recipe(
    values: Mapping[str, Any],
    *,
    where: str = "the recipe",
    folder: Path | None = None,
    path: Path | None = None,
    data: bytes = b"",
) -> Recipe:
    """A recipe of plain values, as they stand in a file.

    Args:
        values: fields of RecipeFile.
        where: named in errors.
        folder: of ignore images; None: there may be none.
        path, data: the file, for the recipe's `path` and `digest`.

    Raises:
        InputError: as `load_recipe`.
    """
    file = checked(RecipeFile, dict(values), where, "the recipe")
    pictures, digest = _pictures(file, where, folder, data)
    usual: View = "tiles" if file.tiling is not None else "frame"
    regions = tuple(
        Region(
            name=region.name,
            polygons=tuple(np.array(polygon, np.float64) for polygon in region.polygons),
            view=region.view or usual,
            image_threshold=file.image_threshold if region.image_threshold is None else region.image_threshold,
            pixel_threshold=file.pixel_threshold if region.pixel_threshold is None else region.pixel_threshold,
            min_defect_area=region.min_defect_area or file.min_defect_area,
        )
        for region in file.regions
    )
    whole = Region(WHOLE_FRAME, (), usual, file.image_threshold, file.pixel_threshold, file.min_defect_area)
    return Recipe(
        name=file.name,
        regions=regions or (whole,),
        index=file.index,
        product=file.product,
        ignore=tuple(np.array(polygon, np.float64) for table in file.ignore for polygon in table.polygons),
        ignore_images=pictures,
        relative=file.unit == "relative",
        frame=None if file.frame is None else (file.frame[0], file.frame[1]),
        orientation=Orientation.of(file.orientation.rotate, file.orientation.flip),
        tiling=None if file.tiling is None else Tiling(*file.tiling.sides, file.tiling.overlap),
        opening=file.cleanup.open,
        closing=file.cleanup.close,
        model_id=file.bundle.model_id or "",
        bundle_digest=file.bundle.digest or "",
        path=path,
        digest=digest,
    )


def ignore_image_names(path: Path) -> tuple[str, ...]:
    """Names of the pictures that a recipe file speaks of, () where it cannot be read."""
    try:
        tables = parse(path, path.read_bytes()[:MOST_BYTES]).get("ignore")
    except (InputError, OSError):
        return ()
    images = [table.get("image") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return tuple(image for image in images if isinstance(image, str) and image and "\0" not in image)


def _pictures(file: RecipeFile, where: str, folder: Path | None, data: bytes) -> tuple[tuple[Rle, ...], str]:
    """The ignore images as run lengths, and the digest of everything that the recipe is made of."""
    hashed, pictures = hashlib.sha256(data), []
    for number, table in enumerate(file.ignore):
        if table.image is None:
            continue
        field = f"{where}: ignore[{number}].image"
        if folder is None:
            raise InputError(f"{field}: expected polygons, as this recipe has no folder", mend="Load it from a file")
        try:
            mask = read_mask(folder / table.image)
        except ImageError as error:
            raise InputError(f"{field}: {error.what}", mend=error.mend) from None
        height, width = mask.shape
        if file.frame is not None and (width, height) != tuple(file.frame):
            raise InputError(
                f"{field}: expected a picture of {file.frame[0]} x {file.frame[1]} pixels, as frame says, "
                f"{table.image} has {width} x {height}",
                mend="Draw it on a frame of this camera",
            )
        pictures.append(encode(mask))
        hashed.update(f"{pictures[-1]}".encode())
    return tuple(pictures), hashed.hexdigest() if data else ""
