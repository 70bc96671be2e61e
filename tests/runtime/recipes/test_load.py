"""Recipe files: what they may say, and how each fault is told in one line; no bytes give a traceback."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.imagefile import write_mask
from diffad_runtime.recipes import load_recipe, make_recipe
from diffad_runtime.recipes.schema import (
    BundleReference,
    CleanupTable,
    IgnoreTable,
    OrientationTable,
    RecipeFile,
    RegionTable,
    TilingTable,
)
from diffad_runtime.regions.orientation import Orientation
from diffad_runtime.rle import decode

DOCS = Path(__file__).parents[3] / "docs"
WHOLE = """
version = 1
name = "bracket-A"
index = 7
product = "Bracket, left"
frame = [1920, 1080]
pixel_threshold = 0.9
min_defect_area = 12

[bundle]
model_id = "bracket"
digest = "{digest}"

[orientation]
rotate = 90
flip = "vertical"

[tiling]
size = [512, 480]
overlap = 64

[cleanup]
open = 1.5
close = 3

[[regions]]
name = "rim"
polygons = [[[100, 100], [900.5, 100], [900, 700]]]
view = "crop"
image_threshold = 2.5

[[regions]]
name = "rest"
pixel_threshold = 1
min_defect_area = 4

[[ignore]]
polygons = [[[0, 0], [60, 0], [60, 40], [0, 40]]]

[[ignore]]
image = "bracket-A.ignore.png"
"""
TRIANGLE = [[0, 0], [0.5, 0], [0.5, 0.5]]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "bracket-A.toml"
    path.write_text(WHOLE.replace("{digest}", "a" * 64))
    mask = np.zeros((1080, 1920), np.uint8)
    mask[5:9, 1000:] = 255
    write_mask(tmp_path / "bracket-A.ignore.png", mask)
    return path


def test_everything_that_may_be_said(whole: Path) -> None:
    recipe = load_recipe(whole)
    assert (recipe.name, recipe.index, recipe.product) == ("bracket-A", 7, "Bracket, left")
    assert (recipe.frame, recipe.relative, recipe.path) == ((1920, 1080), False, whole)
    assert recipe.orientation == Orientation.of(90, "vertical")
    assert recipe.tiling is not None
    assert (recipe.tiling.width, recipe.tiling.height, recipe.tiling.overlap) == (512, 480, 64)
    assert (recipe.opening, recipe.closing) == (1.5, 3.0)
    assert (recipe.model_id, recipe.bundle_digest) == ("bracket", "a" * 64)
    rim, rest = recipe.regions
    assert (rim.name, rim.view, rim.image_threshold, rim.pixel_threshold, rim.min_defect_area) == (
        "rim", "crop", 2.5, 0.9, 12
    )  # fmt: skip
    assert rim.polygons[0].tolist() == [[100, 100], [900.5, 100], [900, 700]]
    # What a region does not say, the recipe says; what neither says, the bundle.
    assert (rest.view, rest.polygons, rest.image_threshold, rest.pixel_threshold, rest.min_defect_area) == (
        "tiles", (), None, 1.0, 4
    )  # fmt: skip
    assert recipe.ignore[0].shape == (4, 2)
    assert np.count_nonzero(decode(recipe.ignore_images[0])) == 4 * 920
    assert re.fullmatch("[0-9a-f]{64}", recipe.digest)


def test_the_least_and_the_digest(whole: Path) -> None:
    recipe = make_recipe({"version": 1, "name": "a"})
    assert [(region.name, region.view, region.polygons) for region in recipe.regions] == [("frame", "frame", ())]
    assert (recipe.path, recipe.digest) == (None, "")
    before = load_recipe(whole).digest
    assert load_recipe(whole).digest == before
    write_mask(whole.with_name("bracket-A.ignore.png"), np.zeros((1080, 1920), np.uint8))
    assert load_recipe(whole).digest != before


def test_what_the_documentation_shows(tmp_path: Path) -> None:
    example = load_recipe(DOCS / "recipes" / "flange.toml")
    assert [region.view for region in example.regions] == ["tiles", "crop"]
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "shown.toml"
    path.write_text(re.sub(r'digest = ".*?"', f'digest = "{64 * "0"}"', shown), encoding="utf-8")
    write_mask(tmp_path / "flange-A.ignore.png", np.zeros((640, 640), np.uint8))
    recipe = load_recipe(path)
    assert (recipe.index, recipe.regions[1].image_threshold, len(recipe.ignore_images)) == (7, 0.9, 1)
    # Every field that there is, is shown.
    named = set(re.findall(r"^\[*(\w+)(?:\]+| =)", shown, re.MULTILINE))
    tables = (RecipeFile, RegionTable, TilingTable, CleanupTable, OrientationTable, BundleReference, IgnoreTable)
    assert named == {field for table in tables for field in table.model_fields}


def test_a_bundle_that_it_was_not_made_for(whole: Path) -> None:
    recipe = load_recipe(whole)
    recipe.check_bundle("bracket", "a" * 64)
    make_recipe({"version": 1, "name": "a"}).check_bundle("any", "b" * 64)
    with pytest.raises(InputError, match="a bundle of the model 'bracket', this one has 'other'"):
        recipe.check_bundle("other", "a" * 64)
    with pytest.raises(InputError, match=r"of the digest 'a+', this one has 'b+'"):
        recipe.check_bundle("bracket", "b" * 64)


def _with(**fields: Any) -> dict[str, Any]:
    return {"version": 1, "name": "a", "unit": "relative", **fields}


def _region(**fields: Any) -> dict[str, Any]:
    return _with(regions=[{"name": "r", **fields}])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, r"version: the field is missing \(and 1 more faults\)\. Add it, as in: version = 1"),
        ({"version": 2, "name": "a"}, "version: expected 1, got 2. Correct version"),
        (_with(regoins=[]), "regoins: there is no such field. Write regions"),
        (_region(colour=1), r"regions\[0\]\.colour: there is no such field\. Known here: name, polygons, view"),
        (_region(treshold=1), "Write (image|pixel)_threshold or (image|pixel)_threshold"),
        (_region(image_treshold=1), "Write image_threshold"),
        (_with(name="1234"), "name: a name of digits alone would be taken for an index"),
        (_with(name="a/b"), "name: expected .* pattern .*, got 'a/b'"),
        (_with(name=""), "name: expected"),
        (_with(index=-1), "index: expected .*greater than or equal to 0, got -1"),
        (_with(index=70000), "65535, got 70000"),
        (_with(index=True), "index: expected a valid integer, got True"),
        (_with(product="a\nb"), "product: expected"),
        (_with(unit="mm"), "unit: expected 'pixel' or 'relative', got 'mm'"),
        (_with(frame=[10]), "frame: expected"),
        (_with(frame=[10, 0]), r"frame\[1\]: expected .*greater than or equal to 1, got 0"),
        (_with(image_threshold="5"), "image_threshold: expected a valid number, got '5'"),
        (_with(image_threshold=float("nan")), "image_threshold: expected a finite number, got nan"),
        (_with(pixel_threshold=float("inf")), "pixel_threshold: expected a finite number, got inf"),
        (_with(pixel_threshold=1e31), r"pixel_threshold: expected less than or equal to 10+, got 1e\+31"),
        (_with(pixel_threshold=10**400), "pixel_threshold: this number is too large"),
        (_with(index=10**5000), "index: .*a number of thousands of digits"),
        (_with(min_defect_area=0), "min_defect_area: expected .*greater than or equal to 1, got 0"),
        (_with(orientation={"rotate": 45}), "orientation.rotate: expected 0, 90, 180 or 270, got 45"),
        (_with(orientation={"rotate": 0, "mirror": 1}), "orientation.mirror: there is no such field"),
        (_with(tiling={}), "tiling.size: the field is missing"),
        (_with(tiling={"size": 0}), "tiling.size: expected .*greater than or equal to 1, got 0"),
        (_with(tiling={"size": 64, "overlap": 33}), "tiling: tiles of 64 pixels may overlap by 32 at most, got 33"),
        (_with(cleanup={"open": -1}), "cleanup.open: expected .*greater than or equal to 0, got -1"),
        (_with(bundle={"digest": "A" * 64}), "bundle.digest: expected"),
        (_region(name="x", view="tiles"), r"region 'x' wants tiles, expected a table \[tiling\]"),
        (_with(tiling={"size": 9}, regions=[{"name": "x", "view": "crop"}]), "every region has another view"),
        (_with(regions=[{"name": "x"}, {"name": "x"}]), "two regions are called 'x'"),
        (_with(regions=[{"name": f"r{n}"} for n in range(65)]), "regions: expected .* at most 64 items"),
        (_region(polygons=TRIANGLE), r"regions\[0\]\.polygons\[0\]\[0\]: expected a valid list, got 0"),
        (_region(polygons=[TRIANGLE[:2]]), r"regions\[0\]\.polygons\[0\]: expected .*at least 3 items"),
        (_region(polygons=[[[0, 0, 0], *TRIANGLE]]), r"regions\[0\]\.polygons\[0\]\[0\]: expected"),
        (_region(polygons=[[[0, 0], [0, 0], [1, 1]]]), "at least 3 different points, got 2"),
        (_region(polygons=[[[0, 0], [0.5, 0.5], [1, 1]]]), "it encloses no area"),
        (_region(polygons=[[[0, 0], [1, 1], [1, 0], [0, 0.9]]]), "the edges after points 0 and 2"),
        (_region(polygons=[[[0, 0], [float("nan"), 1], [1, 0]]]), r"polygons\[0\]\[1\]\[0\]: expected a finite number"),
        (_region(polygons=[[[0, 0], [1.01, 0], [1, 1]]]), r"polygon 0 of region 'r': point \[1.01, 0\] lies outside"),
        (
            {"version": 1, "name": "a", "regions": [{"name": "r", "polygons": [TRIANGLE]}]},
            r"polygons are in pixels, expected the frame's size as well: frame = \[width, height\]",
        ),
        (
            {"version": 1, "name": "a", "frame": [8, 6], "ignore": [{"polygons": [[[0, 0], [8, 7], [0, 6]]]}]},
            r"polygon 0 of ignore\[0\]: point \[8, 7\] lies outside the frame of 8 x 6 pixels",
        ),
        (_with(ignore=[{}]), r"ignore\[0\]: expected either polygons or an image"),
        (_with(ignore=[{"polygons": [TRIANGLE], "image": "a.png"}]), "either polygons or an image"),
        (_with(ignore=[{"image": "../a.png"}]), r"ignore\[0\]\.image: expected"),
        (_with(ignore=[{"image": "a.jpg"}]), r"ignore\[0\]\.image: expected"),
        (_with(ignore=[{"image": "a.png"}]), r"ignore\[0\]\.image: expected polygons, as this recipe has no folder"),
    ],
)
def test_faults_are_told(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        make_recipe(values, where="x.toml")
    text = str(caught.value)
    assert text.startswith("x.toml: ")
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"version = 1\nname = \n", r"bad\.toml is not valid TOML: .*line 2"),
        (b"a = 1\na = 2", "not valid TOML"),
        (b"a = 1\nb = '\xff\xfe'", r"is not UTF-8 text: line 2"),
        (b"a = " + b"[" * 5000, "not valid TOML"),
        (b"a = " + b"9" * 5000, "not valid TOML"),
        (b"#" * (1 << 20) + b"##", "has more than 1048576 bytes"),
        (b"", "version: the field is missing"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=expected) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_paths_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a recipe is a \.toml file, got 'a\.yaml'"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(InputError, match=r"cannot read the recipe .*No such file"):
        load_recipe(tmp_path / "a.toml")
    with pytest.raises(InputError, match="cannot read the recipe"):
        load_recipe("a\0.toml")
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    for name in ("folder.toml", "pipe.toml"):
        with pytest.raises(InputError, match="it is no regular file"):
            load_recipe(tmp_path / name)


def test_ignore_images_that_cannot_be_used(whole: Path) -> None:
    picture = whole.with_name("bracket-A.ignore.png")
    write_mask(picture, np.zeros((1080, 1919), np.uint8))
    expected = r"bracket-A\.toml: ignore\[1\]\.image: expected a picture of 1920 x 1080 .* has 1919 x 1080"
    with pytest.raises(InputError, match=expected):
        load_recipe(whole)
    picture.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"ignore\[1\]\.image: .*is not an image"):
        load_recipe(whole)
    picture.unlink()
    with pytest.raises(InputError, match=r"ignore\[1\]\.image: image .*does not exist"):
        load_recipe(whole)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["a", "crop", "tiles", 1]),
)
FIELDS = st.sampled_from(
    [*RecipeFile.model_fields, "size", "overlap", "polygons", "image", "view", "open", "rotate", "x"]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=20
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(FIELDS, VALUES, max_size=6), st.booleans())
def test_any_values_give_a_recipe_or_one_line(values: dict[str, Any], nearly: bool) -> None:
    try:
        make_recipe({**values, "version": 1, "name": "a"} if nearly else values, where="x.toml")
    except InputError as error:
        told = str(error)
    else:
        return
    assert "\n" not in told
    assert len(told) < 1000


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), st.data())
def test_any_bytes_give_a_recipe_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, data: st.DataObject
) -> None:
    """Noise, and a good file with a piece of it overwritten."""
    path = tmp_path_factory.mktemp("recipe") / "a.toml"
    good = WHOLE.encode()
    at = data.draw(st.integers(0, len(good)))
    for content in (noise, good[:at] + noise[:3] + good[at + data.draw(st.integers(0, 5)) :]):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:  # the picture beside it is missing
            load_recipe(path)
        assert "\n" not in str(caught.value)
