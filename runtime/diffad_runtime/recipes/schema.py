"""What may stand in a recipe file.

Knows names, types and limits of the fields. Does not know syntax (load.py) nor what is done with them (regions/).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from typing_extensions import Self

from diffad_runtime.regions.polygons import polygon_fault, without_repeats

SCHEMA_VERSION: Final = 1
MOST_REGIONS: Final = 64
MOST_POLYGONS: Final = 64
MOST_POINTS_IN_ALL: Final = 25_000
"""Of one recipe. In polygons of 500 points one takes 77 microseconds to check, and a line waits for that."""
_BIGGEST: Final = 1 << 15  # pixels along a side


class _Strict(BaseModel):
    # pydantic before 2.10 warns of a field that is called model_id.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True, protected_namespaces=())


def _named(name: str) -> str:
    if name.isdigit():
        raise ValueError("a name of digits alone would be taken for an index, expected a letter as well")
    return name


def _whole_polygon(polygon: list[list[float]]) -> list[list[float]]:
    points = without_repeats(np.array(polygon, np.float64).reshape(-1, 2))
    fault = polygon_fault(points)
    if fault is not None:
        raise ValueError(f"this polygon cannot be filled: {fault}")
    return [[float(x), float(y)] for x, y in points]


def _listed(table: object, name: str) -> list[object]:
    """A field that should be a list, before anything is known of it."""
    found = table.get(name) if isinstance(table, dict) else None
    return found if isinstance(found, list) else []


def _number(value: object) -> object:
    # Beyond float64 pydantic raises OverflowError by itself, which is not a ValidationError.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1 << 53:
        raise ValueError("this number is too large")
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}$"), AfterValidator(_named)]
Number = Annotated[float, BeforeValidator(_number)]
# Compared as float32, whose range ends at 3e38.
Threshold = Annotated[Number, Field(ge=-1e30, le=1e30)]
Polygon = Annotated[
    list[Annotated[list[Number], Field(min_length=2, max_length=2)]],
    Field(min_length=3, max_length=501),
    AfterValidator(_whole_polygon),
]
Polygons = Annotated[list[Polygon], Field(max_length=MOST_POLYGONS)]
Side = Annotated[int, Field(ge=1, le=_BIGGEST)]
Area = Annotated[int, Field(ge=1, le=_BIGGEST**2)]
View = Literal["frame", "crop", "tiles"]


class BundleReference(_Strict):
    """The bundle that the recipe was made with."""

    model_id: Annotated[str, StringConstraints(min_length=1, max_length=120)] | None = None
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class OrientationTable(_Strict):
    """Degrees clockwise, then the flip."""

    rotate: Literal[0, 90, 180, 270] = 0
    flip: Literal["none", "horizontal", "vertical"] = "none"


class TilingTable(_Strict):
    """Frame pixels. `size` is one side of a square, or [width, height]."""

    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)]
    overlap: Annotated[int, Field(ge=0)] = 0

    @property
    def sides(self) -> tuple[int, int]:
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])

    @model_validator(mode="after")
    def _moves_on(self) -> Self:
        least = min(self.sides)
        if self.overlap > least // 2:
            raise ValueError(f"tiles of {least} pixels may overlap by {least // 2} at most, got {self.overlap}")
        return self


class CleanupTable(_Strict):
    """Radii in frame pixels: `open` removes what is narrower than twice that, `close` bridges such gaps."""

    open: Annotated[float, Field(ge=0, le=100)] = 0.0
    close: Annotated[float, Field(ge=0, le=100)] = 0.0


class RegionTable(_Strict):
    """Without polygons: the whole frame."""

    name: Name
    polygons: Polygons = []
    view: View | None = None
    image_threshold: Threshold | None = None
    pixel_threshold: Threshold | None = None
    min_defect_area: Area | None = None


class IgnoreTable(_Strict):
    """Polygons, or a picture beside the recipe, white where nothing counts."""

    polygons: Polygons = []
    image: Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f]+\.png$", max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.polygons) == (self.image is not None):
            raise ValueError("expected either polygons or an image")
        return self


class RecipeFile(_Strict):
    """Contents of one file."""

    version: Literal[1]
    name: Name
    index: Annotated[int, Field(ge=0, le=65535)] | None = None
    product: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    unit: Literal["pixel", "relative"] = "pixel"
    frame: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    image_threshold: Threshold | None = None
    pixel_threshold: Threshold | None = None
    min_defect_area: Area = 1
    bundle: BundleReference = BundleReference()
    orientation: OrientationTable = OrientationTable()
    tiling: TilingTable | None = None
    cleanup: CleanupTable = CleanupTable()
    regions: Annotated[list[RegionTable], Field(max_length=MOST_REGIONS)] = []
    ignore: Annotated[list[IgnoreTable], Field(max_length=MOST_REGIONS)] = []

    @model_validator(mode="before")
    @classmethod
    def _checked_in_time(cls, values: object) -> object:
        tables = [table for name in ("regions", "ignore") for table in _listed(values, name)]
        polygons = [polygon for table in tables for polygon in _listed(table, "polygons")]
        points = sum(len(polygon) for polygon in polygons if isinstance(polygon, list))
        if points > MOST_POINTS_IN_ALL:
            raise ValueError(f"its polygons have {points} points, expected at most {MOST_POINTS_IN_ALL}")
        return values

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        twice = [name for name, count in Counter(region.name for region in self.regions).items() if count > 1]
        if twice:
            raise ValueError(f"two regions are called {twice[0]!r}, expected a name for each")
        return self

    @model_validator(mode="after")
    def _tiles_are_described(self) -> Self:
        wanting = [region.name for region in self.regions if region.view == "tiles"]
        if wanting and self.tiling is None:
            raise ValueError(f"region {wanting[0]!r} wants tiles, expected a table [tiling] with their size")
        if self.tiling is not None and self.regions and all(r.view in {"frame", "crop"} for r in self.regions):
            raise ValueError("there is a table [tiling], but every region has another view")
        return self

    @model_validator(mode="after")
    def _points_lie_in_the_frame(self) -> Self:
        polygons = list(self._all_polygons())
        if not polygons:
            return self
        if self.unit == "relative":
            width, height = 1.0, 1.0
        elif self.frame is None:
            raise ValueError("polygons are in pixels, expected the frame's size as well: frame = [width, height]")
        else:
            width, height = self.frame
        for where, polygon in polygons:
            for x, y in polygon:
                if not (0 <= x <= width and 0 <= y <= height):
                    unit = "with unit = 'relative'" if self.unit == "relative" else "pixels"
                    raise ValueError(
                        f"{where}: point [{x:g}, {y:g}] lies outside the frame of {width:g} x {height:g} {unit}"
                    )
        return self

    def _all_polygons(self) -> Iterable[tuple[str, list[list[float]]]]:
        for region in self.regions:
            for index, polygon in enumerate(region.polygons):
                yield f"polygon {index} of region {region.name!r}", polygon
        for number, table in enumerate(self.ignore):
            for index, polygon in enumerate(table.polygons):
                yield f"polygon {index} of ignore[{number}]", polygon
