"""One recipe file, read and checked.

Knows TOML, the pictures beside it, and how a fault is told. Does not know several recipes (book.py).

TOML and nothing else: YAML reads `no` as false and 010 as eight, its aliases grow without bound, and one way to write
a recipe is enough.
"""

import difflib
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from pydantic import BaseModel, ValidationError

from diffad_runtime.errors import ImageError, InputError
from diffad_runtime.imagefile import read_mask
from diffad_runtime.recipes.recipe import Recipe, Region, Tiling, View
from diffad_runtime.recipes.schema import RecipeFile
from diffad_runtime.regions.orientation import Orientation
from diffad_runtime.rle import Rle, encode

SUFFIX: Final = ".toml"
WHOLE_FRAME: Final = "frame"
"""Name of the one region of a recipe that lists none."""
_MOST_BYTES = 1 << 20
_MOST_DOTS = 2000
# Dots that are in no number: of keys, and of text. tomllib takes the square of a key's dots to read it.
_DOTS = re.compile(r"\.(?!\d)|\.\d+(?=\s*\.)")
_SHOWN = 60  # characters of a wrong value
_TOLD = 200  # characters of what a library says


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
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"a recipe is a {SUFFIX} file, got {path.name!r}", mend="See docs/recipes.md for the format")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited on for ever
            raise InputError(f"cannot read the recipe {path}: it is no regular file", mend="Check the path")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the recipe {path}: {reason}", mend="Check the path") from None
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path} has more than {_MOST_BYTES} bytes", mend="Draw large areas as an ignore image")
    return make_recipe(_toml(path, data), where=str(path), folder=path.parent, path=path, data=data)


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
    try:
        file = RecipeFile.model_validate(dict(values))
    except ValidationError as error:
        raise _told(error, where) from None
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
        tables = _toml(path, path.read_bytes()[:_MOST_BYTES]).get("ignore")
    except (InputError, OSError):
        return ()
    images = [table.get("image") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return tuple(image for image in images if isinstance(image, str) and image and "\0" not in image)


def _toml(path: Path, data: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415  beside the package that stands for it
    else:
        try:
            import tomli as tomllib  # noqa: PLC0415
        except ImportError:
            raise InputError(
                f"reading {path} needs the package 'tomli' before Python 3.11", mend="Run: pip install tomli"
            ) from None
    try:
        text = data.decode("utf-8")
        if len(_DOTS.findall(text)) > _MOST_DOTS:
            raise InputError(
                f"{path} has more than {_MOST_DOTS} dots outside numbers", mend="Shorten its keys and comments"
            )
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 text: line {line}", mend="Save it as UTF-8") from None
    except RecursionError:
        raise InputError(f"{path} is not valid TOML: nested too deeply", mend="Lists are three deep at most") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise InputError(
            f"{path} is not valid TOML: {_short(error, quoted=False, most=_TOLD)}", mend="Correct that line"
        ) from None


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


def _told(error: ValidationError, where: str) -> InputError:
    """The first fault in one line."""
    faults = error.errors(include_url=False)
    first = faults[0]
    field = _field(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    mend = f"Correct {field or 'the recipe'}"
    got = ""
    if first["type"] == "extra_forbidden":
        known = _known(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 2)
        message = "there is no such field"
        mend = f"Write {' or '.join(near)}" if near else f"Known here: {', '.join(known)}"
    elif first["type"] == "missing":
        message = "the field is missing"
        mend = f"Add it{', as in: version = 1' if field == 'version' else ''}"
    elif first["type"] != "value_error":
        message = message.removeprefix("Input should be ").removeprefix("Input should ")
        message, got = f"expected {message}", f", got {_short(first['input'])}"
    more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
    return InputError(f"{where}: {f'{field}: ' if field else ''}{message}{got}{more}", mend=mend)


def _field(loc: tuple[int | str, ...]) -> str:
    """("regions", 0, "polygons", 1) -> "regions[0].polygons[1]"."""
    # pydantic puts the name of a union's branch between the fields.
    parts = [part for part in loc if isinstance(part, int) or (part.replace("_", "").isalnum() and part != "int")]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return _short(text.lstrip("."), quoted=False)


def _known(loc: tuple[int | str, ...]) -> list[str]:
    """Fields of the table at that place."""
    model: type[BaseModel] = RecipeFile
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _table(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _table(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `list[Model]` or `Model | None`."""
    inner = get_args(annotation)
    if not inner:  # Python 3.10 takes list[Model] for a class
        return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    return next((model for model in map(_table, inner) if model is not None), None)


def _short(value: object, *, quoted: bool = True, most: int = _SHOWN) -> str:
    """As much of a value as a message holds, without anything that a terminal acts on."""
    try:
        text = repr(value) if quoted else str(value)
    except ValueError:  # an int of thousands of digits
        text = "a number of thousands of digits"
    except RecursionError:
        text = "something nested deeply"
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
