"""Frames judged by regions: what counts, what does not, where it lands, and how often the network is asked."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.defects import find_defects
from diffad_runtime.engines.base import RawMaps
from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.errors import InputError
from diffad_runtime.geometry import to_input
from diffad_runtime.manifest import ImageScore
from diffad_runtime.masks import defect_mask
from diffad_runtime.recipes import make_recipe
from diffad_runtime.regions.orientation import Orientation
from diffad_runtime.regions.plan import Judged, Plan, Plans
from diffad_runtime.result import FloatMap, Image, Verdict
from diffad_runtime.rules import DecisionRules
from diffad_runtime.scoring import image_score

S = 32
RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=5), min_defect_pixels=1)
LEFT, RIGHT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
WAYS = [(rotate, flip) for rotate in (0, 90, 180, 270) for flip in ("none", "horizontal")]


class Pointwise:
    """Each input pixel for itself: 0 is good, 255 is 1. Keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Image] = []

    def __call__(self, image: Image) -> RawMaps:
        assert image.shape[2] == 3
        assert image.flags.c_contiguous
        self.seen.append(image.copy())
        anomaly: FloatMap = image[..., 0].astype(np.float32) / np.float32(255)
        return RawMaps(anomaly, None, anomaly, 1.0, 2.0)


def recipe_of(**fields: Any) -> Any:
    return make_recipe({"version": 1, "name": "r", "unit": "relative", **fields})


def judge(image: Image, rules: DecisionRules = RULES, *, size: int = S, **fields: Any) -> Judged:
    return Plan.of(recipe_of(**fields), rules, size, image.shape).judge(image, Pointwise())


def dark(height: int = S, width: int = S) -> Image:
    return np.zeros((height, width, 3), np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 90), st.integers(1, 90), st.booleans())
def test_without_a_recipe_as_ever(seed: int, height: int, width: int, grey: bool) -> None:
    """Resize, score and mask as Inspector has them, bit for bit."""
    generator = np.random.default_rng(seed)
    frame = generator.integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
    rules = DecisionRules(float(generator.random()), float(generator.random()), ImageScore(pixels=9), 3)
    engine = FakeEngine(S)
    small = to_input(frame, S)
    maps = engine.infer(np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR), np.uint8) if grey else small)
    mask = defect_mask(maps.anomaly, rules.pixel_threshold, 3, height, width)
    judged = Plan.of(None, rules, S, frame.shape).judge(frame, engine.infer)
    assert judged.score == image_score(maps.anomaly, rules.image_score)
    assert judged.verdict is (Verdict.NG if judged.score > rules.image_threshold else Verdict.OK)
    assert (judged.image_threshold, judged.pixel_threshold) == (rules.image_threshold, rules.pixel_threshold)
    np.testing.assert_array_equal(judged.mask, mask)
    np.testing.assert_array_equal(judged.anomaly_map, maps.anomaly)
    assert judged.defects == find_defects(mask, maps.anomaly)
    assert judged.regions == ()
    # A recipe that says nothing is the same again, but for the name of its one region.
    same = Plan.of(recipe_of(), rules, S, frame.shape).judge(frame, engine.infer)
    np.testing.assert_array_equal(same.mask, mask)
    np.testing.assert_array_equal(same.anomaly_map, maps.anomaly)
    assert (same.score, same.verdict, len(same.defects)) == (judged.score, judged.verdict, len(judged.defects))
    assert [(r.region, r.score, r.verdict) for r in same.regions] == [("frame", judged.score, judged.verdict)]


def test_ignoring_and_limiting_take_one_inference() -> None:
    """Three regions and an ignored place on the whole frame: the network is asked once."""
    thirds = [[[n / 3, 0], [(n + 1) / 3, 0], [(n + 1) / 3, 1], [n / 3, 1]] for n in range(3)]
    regions = [{"name": f"r{n}", "polygons": [third]} for n, third in enumerate(thirds)]
    recipe = recipe_of(regions=regions, ignore=[{"polygons": [[[0, 0], [0.1, 0], [0, 0.1]]]}])
    plan, network = Plan.of(recipe, RULES, S, (70, 90, 3)), Pointwise()
    judged = plan.judge(dark(70, 90), network)
    assert len(network.seen) == len(plan.looks) == 1
    assert (judged.extract_ms, judged.reconstruct_ms) == (1.0, 2.0)
    assert judged.anomaly_map.shape == (S, S)
    assert [region.region for region in judged.regions] == ["r0", "r1", "r2"]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["frame", "tiles"]), st.sampled_from(WAYS))
def test_what_does_not_count_changes_nothing(seed: int, view: str, way: tuple[int, str]) -> None:
    """With a network that sees each pixel for itself, at the frame's own scale, other pixels may be anything."""
    generator = np.random.default_rng(seed)
    frame = generator.integers(0, 256, (S, S, 3), dtype=np.uint8)
    inside = np.zeros((S, S), np.bool_)
    inside[4:20, 6:26] = True
    inside[10:14, 12:15] = False
    fields: dict[str, Any] = {
        "orientation": {"rotate": way[0], "flip": way[1]},
        "frame": [S, S],
        "unit": "pixel",
        "regions": [{"name": "a", "polygons": [[[6, 4], [26, 4], [26, 20], [6, 20]]], "view": view}],
        "ignore": [{"polygons": [[[12, 10], [15, 10], [15, 14], [12, 14]]]}],
        "cleanup": {"open": 1, "close": 1} if seed % 2 else {},
    }
    size = S
    if view == "tiles":
        fields["tiling"] = {"size": 12, "overlap": 3}
        size = 12
    other = np.where(inside[..., None], frame, generator.integers(0, 256, frame.shape, dtype=np.uint8))
    one, two = judge(frame, size=size, **fields), judge(other, size=size, **fields)
    np.testing.assert_array_equal(one.mask, two.mask)
    assert not one.mask[~inside].any()
    assert (one.score, one.verdict, one.defects) == (two.score, two.verdict, two.defects)
    np.testing.assert_array_equal(one.anomaly_map[inside], two.anomaly_map[inside])
    if view == "frame":
        top = np.sort(frame[..., 0][inside].astype(np.float32) / np.float32(255))[-5:]
        assert one.score == pytest.approx(float(top.mean()), abs=1e-6)
        assert set(np.unique(one.anomaly_map[~inside])) == {np.float32(0)}  # 0.5 below the threshold 0.5


@pytest.mark.parametrize("way", [*WAYS, (90, "vertical")])
@pytest.mark.parametrize("view", ["frame", "crop", "tiles"])
def test_masks_land_where_defects_are(way: tuple[int, str], view: str) -> None:
    frame = dark(61, 83)
    frame[11:18, 50:60] = 255
    fields: dict[str, Any] = {"orientation": {"rotate": way[0], "flip": way[1]}}
    region = {"name": "a", "polygons": [[[0.4, 0.1], [0.9, 0.1], [0.9, 0.9], [0.4, 0.9]]], "view": view}
    if view == "tiles":
        fields["tiling"] = {"size": 20, "overlap": 5}
    judged = judge(frame, regions=[region], **fields)
    assert judged.verdict is Verdict.NG
    (defect,) = judged.defects
    assert defect.centre == (pytest.approx(55, abs=1), pytest.approx(14.5, abs=1))
    assert defect.area_px == pytest.approx(70, rel=0.5)
    left, top, width, height = defect.box
    outside = judged.mask.copy()
    outside[top : top + height, left : left + width] = 0
    assert not outside.any()
    assert np.count_nonzero(judged.mask) == defect.area_px
    # The map, stretched over the frame, has its heat at the same place.
    rows, columns = np.nonzero(judged.anomaly_map > 0.6)
    shape = judged.anomaly_map.shape
    assert (rows.mean() + 0.5) / shape[0] * 61 == pytest.approx(14.5, abs=1.5)
    assert (columns.mean() + 0.5) / shape[1] * 83 == pytest.approx(55, abs=1.5)


@pytest.mark.parametrize("way", WAYS)
def test_the_network_sees_the_frame_turned(way: tuple[int, str]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)
    network = Pointwise()
    orientation = {"rotate": way[0], "flip": way[1]}
    Plan.of(recipe_of(orientation=orientation), RULES, S, frame.shape).judge(frame, network)
    np.testing.assert_array_equal(network.seen[0], Orientation.of(*way).apply(frame))


SIDES = st.integers(1, 40)


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, st.sampled_from(["frame", "crop", "tiles"]), st.sampled_from(WAYS), st.data())
def test_any_frame_down_to_a_pixel(
    height: int, width: int, view: str, way: tuple[int, str], data: st.DataObject
) -> None:
    """A box of whole pixels that is all defect is found, inside itself, whatever the sizes."""
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    polygon = [[left, top], [right, top], [right, bottom], [left, bottom]]
    fields: dict[str, Any] = {"unit": "pixel", "frame": [width, height]}
    if view == "tiles":
        side = data.draw(st.integers(1, 20))
        fields["tiling"] = {"size": side, "overlap": side // 3}
    recipe = recipe_of(
        regions=[{"name": "a", "polygons": [polygon], "view": view}],
        orientation={"rotate": way[0], "flip": way[1]},
        **fields,
    )
    try:
        plan = Plan.of(recipe, RULES, S, (height, width))
    except InputError as error:
        assert "inferences" in str(error)  # noqa: PT017  a thousand tiles of a pixel
        return
    frame = np.full((height, width), 255, np.uint8)
    judged = plan.judge(frame, Pointwise())
    assert judged.verdict is Verdict.NG
    assert judged.score == pytest.approx(1)
    inside = np.zeros((height, width), np.bool_)
    inside[top:bottom, left:right] = True
    assert judged.mask.shape == (height, width)
    np.testing.assert_array_equal(judged.mask != 0, inside)
    (defect,) = judged.defects
    assert (defect.area_px, defect.box) == (inside.sum(), (left, top, right - left, bottom - top))
    assert (judged.anomaly_map > 0.5).any()
    good = plan.judge(np.zeros_like(frame), Pointwise())
    assert (good.verdict, good.score, good.defects, int(good.mask.max())) == (Verdict.OK, 0.0, (), 0)


@pytest.mark.parametrize(
    ("corner", "touched"), [((100, 100), 1), ((101, 107), 1), ((109, 99), 4), ((0, 0), 1), ((318, 318), 1)]
)
def test_a_region_smaller_than_a_map_pixel_is_judged(corner: tuple[int, int], touched: int) -> None:
    """2 x 2 pixels of a frame of which the network sees 10 x 10 as one."""
    x, y = corner
    polygon = [[x, y], [x + 2, y], [x + 2, y + 2], [x, y + 2]]
    fields: dict[str, Any] = {"unit": "pixel", "frame": [320, 320], "regions": [{"name": "a", "polygons": [polygon]}]}
    judged = judge(np.full((320, 320, 3), 255, np.uint8), **fields)
    assert judged.verdict is Verdict.NG
    assert [(d.area_px, d.box) for d in judged.defects] == [(4, (x, y, 2, 2))]
    assert (judged.anomaly_map > 0.5).sum() == touched
    assert judge(dark(320, 320), **fields).verdict is Verdict.OK


def test_thresholds_for_each_region_and_which_score_stands_for_the_frame() -> None:
    frame = dark()
    frame[:, :16], frame[:, 16:] = 153, 204  # 0.6 and 0.8
    regions = [
        {"name": "left", "polygons": [LEFT], "image_threshold": 0.55, "pixel_threshold": 0.58},
        {"name": "right", "polygons": [RIGHT], "image_threshold": 0.9, "pixel_threshold": 0.85},
    ]
    judged = judge(frame, regions=regions)
    assert [(r.region, r.threshold, r.verdict) for r in judged.regions] == [
        ("left", 0.55, Verdict.NG),
        ("right", 0.9, Verdict.OK),
    ]
    assert judged.verdict is Verdict.NG
    assert (judged.score, judged.image_threshold, judged.pixel_threshold) == (judged.regions[0].score, 0.55, 0.58)
    assert judged.mask[:, :16].all()
    assert not judged.mask[:, 16:].any()
    regions[0]["image_threshold"] = 0.7
    fine = judge(frame, regions=regions)
    assert (fine.verdict, fine.image_threshold) == (Verdict.OK, 0.7)  # both 0.1 below; the first is named
    assert judge(frame, image_threshold=0.85).verdict is Verdict.OK
    assert judge(frame, image_threshold=0.75).verdict is Verdict.NG


def test_a_score_that_is_no_number_is_an_error() -> None:
    def broken(_: Image) -> RawMaps:
        anomaly = np.zeros((S, S), np.float32)
        anomaly[3, 3] = np.nan
        return RawMaps(anomaly, None, anomaly, 0, 0)

    regions = [{"name": "right", "polygons": [RIGHT]}, {"name": "left", "polygons": [LEFT]}]
    for recipe in (None, recipe_of(regions=regions)):
        judged = Plan.of(recipe, RULES, S, (S, S)).judge(dark(), broken)
        assert judged.verdict is Verdict.ERROR
        assert np.isnan(judged.score)
    assert [region.verdict for region in judged.regions] == [Verdict.OK, Verdict.ERROR]


@pytest.mark.parametrize("views", [("frame", "frame"), ("frame", "crop"), ("tiles", "tiles")])
def test_one_defect_over_two_regions_is_one(views: tuple[str, str]) -> None:
    frame = dark(64, 64)
    frame[20:30, 20:50] = 200
    frame[24:26, 44:47] = 255
    regions = [
        {"name": "left", "polygons": [LEFT], "view": views[0]},
        {"name": "right", "polygons": [RIGHT], "view": views[1]},
    ]
    tiling = {"tiling": {"size": 32, "overlap": 8}} if "tiles" in views else {}
    (defect,) = judge(frame, regions=regions, **tiling).defects
    assert defect.region == "right"
    assert defect.centre == (pytest.approx(35, abs=1), pytest.approx(25, abs=1))


def test_where_regions_overlap_the_first_one_is_named() -> None:
    frame = dark()
    frame[10:14, 10:14] = 255
    regions: list[Mapping[str, Any]] = [
        {"name": "whole"},
        {"name": "left", "polygons": [LEFT], "pixel_threshold": 0.2},
    ]
    assert [d.region for d in judge(frame, regions=regions).defects] == ["whole"]
    assert [d.region for d in judge(frame, regions=regions[::-1]).defects] == ["left"]


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 76), st.integers(20, 76))
def test_a_defect_on_a_seam_is_one_defect(x: int, y: int) -> None:
    frame = dark(96, 96)
    cv2.circle(frame, (x, y), 9, (255, 255, 255), -1)
    judged = judge(frame, tiling={"size": 32, "overlap": 8})
    (defect,) = judged.defects
    assert defect.area_px == np.count_nonzero(frame[..., 0])  # at the frame's own scale nothing is lost
    np.testing.assert_array_equal(judged.mask, frame[..., 0])
    np.testing.assert_allclose(judged.anomaly_map, frame[..., 0] / 255, atol=1e-6)


def test_the_score_of_tiles_is_made_of_as_many_network_pixels() -> None:
    """A tile of 16 frame pixels on a network of 32: four network pixels for each of the frame's."""
    frame = dark(48, 48)
    frame[10:14, 10:14] = 255  # linear between pixels, the middle four stay at 1
    rules = DecisionRules(0.5, 0.6, ImageScore(pixels=16))
    assert judge(frame, rules, tiling={"size": 16, "overlap": 4}).score == pytest.approx(1)
    frame[10:12] = frame[:, 10:12] = 0
    assert judge(frame, rules, size=16, tiling={"size": 16, "overlap": 4}).score == pytest.approx(0.25)
    small = [[0, 0], [2, 0], [2, 2], [0, 2]]
    frame[:2, :2] = 255
    tiny = {"unit": "pixel", "frame": [48, 48], "regions": [{"name": "a", "polygons": [small]}]}
    assert judge(frame, rules, size=48, **tiny).score == pytest.approx(1)  # four pixels are all it has


def test_clean_up_and_least_area() -> None:
    frame = dark()
    frame[4:10, 4:10] = 255
    frame[20, 3:30] = 255  # a line
    frame[28:30, 28:30] = 255
    assert len(judge(frame).defects) == 3
    assert [d.area_px for d in judge(frame, min_defect_area=5).defects] == [36, 27]
    assert [d.area_px for d in judge(frame, cleanup={"open": 1}).defects] == [
        32
    ]  # a disc of five pixels does not fill corners
    regions = [{"name": "a", "min_defect_area": 28}]
    judged = judge(frame, regions=regions)
    assert [d.area_px for d in judged.defects] == [36]
    assert np.count_nonzero(judged.mask) == 36


def test_a_crop_shows_no_heat_where_nothing_counts() -> None:
    """The box of a triangle, all of it defect; heat above the diagonal only, and nothing below every threshold's."""
    judged = judge(
        np.full((64, 64, 3), 255, np.uint8),
        regions=[{"name": "a", "view": "crop", "polygons": [[[0, 0], [0.5, 0], [0, 0.5]]]}],
    )
    rows, columns = np.indices(judged.anomaly_map.shape)
    assert judged.anomaly_map.shape == (64, 64)
    np.testing.assert_array_equal(judged.anomaly_map == 1, rows + columns < 31)
    np.testing.assert_array_equal(judged.anomaly_map == 0, rows + columns >= 31)


def test_grey_is_its_three_channels_and_frames_are_not_touched() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    colour = np.repeat(frame[..., None], 3, axis=2)
    colour.flags.writeable = False
    fields: dict[str, Any] = {
        "orientation": {"rotate": 90},
        "tiling": {"size": 32, "overlap": 8},
        "regions": [{"name": "a"}, {"name": "b", "view": "crop", "polygons": [LEFT]}],
    }
    one, other = judge(frame, **fields), judge(colour, **fields)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)
    assert (one.score, one.defects, one.regions) == (other.score, other.defects, other.regions)
    assert one.mask.flags.writeable


def test_regions_that_see_the_same_share_inferences() -> None:
    box = [[0.1, 0.1], [0.6, 0.1], [0.6, 0.7], [0.1, 0.7]]
    half = [[0.1, 0.1], [0.6, 0.1], [0.6, 0.7]]
    regions = [
        {"name": "a", "polygons": [box], "view": "crop"},
        {"name": "b", "polygons": [half], "view": "crop"},
        {"name": "c", "polygons": [half], "view": "frame"},
        {"name": "d", "view": "frame"},
    ]
    plan = Plan.of(recipe_of(regions=regions), RULES, S, (100, 100))
    assert [tuple(look.box) for look in plan.looks] == [(10, 10, 50, 60), (0, 0, 100, 100)]


def test_a_region_smaller_than_a_tile_keeps_its_scale() -> None:
    corner = [[0.9, 0.9], [1, 0.9], [1, 1], [0.9, 1]]
    regions = [{"name": "a", "polygons": [corner], "view": "tiles"}]
    plan = Plan.of(recipe_of(regions=regions, tiling={"size": [30, 120]}), RULES, S, (100, 100))
    assert [tuple(look.box) for look in plan.looks] == [(70, 0, 30, 100)]


@pytest.mark.parametrize(
    ("fields", "shape", "expected"),
    [
        ({"frame": [64, 48]}, (64, 48), "for frames of 64 x 48 pixels, this one has 48 x 64"),
        ({"ignore": [{"polygons": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}]}, (9, 9), "'frame' .* all of it is ignored"),
        (
            {"regions": [{"name": "thin", "polygons": [[[0.51, 0], [0.52, 0], [0.52, 1]]]}]},
            (9, 9),
            "'thin' .* in a frame of 9 x 9: its polygons hold the centre of no pixel",
        ),
        ({"tiling": {"size": 10}}, (200, 200), "takes 400 inferences for a frame of 200 x 200, expected 256 at most"),
    ],
)
def test_frames_that_a_recipe_is_not_for(fields: Any, shape: tuple[int, int], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Plan.of(recipe_of(**fields), RULES, S, shape)


def test_plans_are_kept_and_few() -> None:
    plans, recipe, other = Plans(S), recipe_of(), recipe_of()
    first = plans.of(recipe, RULES, (40, 50, 3))
    assert plans.of(recipe, RULES, (40, 50)) is first
    assert plans.of(recipe, RULES.with_thresholds(pixel=0.9), (40, 50)) is not first
    assert plans.of(other, RULES, (40, 50)) is not first
    assert plans.of(None, RULES, (40, 50)).recipe is None
    assert plans.of(recipe, RULES, (40, 50)) is first
    for width in range(20):
        plans.of(None, RULES, (9, 9 + width))
    assert plans.of(recipe, RULES, (40, 50)) is not first
    with pytest.raises(InputError, match="the plan is for frames of 50 x 40, got 40 x 50"):
        first.judge(dark(50, 40), Pointwise())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 70), st.integers(20, 70))
def test_marks_as_by_the_plain_way(seed: int, height: int, width: int) -> None:
    """Two regions, an ignored place and clean-up: every step on whole frames, in the order of its description."""
    generator = np.random.default_rng(seed)
    frame = cv2.resize(generator.integers(0, 256, (7, 9, 3), dtype=np.uint8), (width, height))
    polygons = [[[0, 0], [0.7, 0], [0.5, 1], [0, 0.9]], [[0.3, 0.2], [1, 0], [1, 1]]]
    hole = [[0.35, 0.3], [0.6, 0.4], [0.4, 0.6]]
    cleanup = {"open": 1.0, "close": 2.0} if seed % 2 else {}
    fields: dict[str, Any] = {
        "regions": [{"name": name, "polygons": [p]} for name, p in zip("ab", polygons, strict=True)],
        "ignore": [{"polygons": [hole]}],
        "cleanup": cleanup,
        "min_defect_area": 4,
    }
    judged = judge(np.asarray(frame, np.uint8), **fields)
    np.testing.assert_array_equal(judged.mask, _plainly(np.asarray(frame, np.uint8), polygons, hole, cleanup))
    assert sum(d.area_px for d in judged.defects) == np.count_nonzero(judged.mask)


def _plainly(
    frame: Image, polygons: list[list[list[float]]], hole: list[list[float]], cleanup: dict[str, float]
) -> npt.NDArray[np.uint8]:
    from diffad_runtime.regions.cleanup import clean
    from diffad_runtime.regions.polygons import fill

    height, width = frame.shape[:2]
    unit = np.array([width, height])
    ignored = fill([np.array(hole) * unit], height, width)
    counted = [fill([np.array(p) * unit], height, width) & ~ignored for p in polygons]
    anomaly = Pointwise()(to_input(frame, S)).anomaly
    centres = ((2 * np.arange(S) + 1) * side // (2 * S) for side in (height, width))
    inside = (counted[0] | counted[1])[np.ix_(*centres)]
    low = np.where(inside, anomaly, np.minimum(anomaly, np.float32(0.5)))
    whole = defect_mask(low, 0.5, 1, height, width)
    mask = np.zeros_like(whole)
    for pixels in counted:
        part = np.where(pixels, whole, np.uint8(0))
        opening, closing = cleanup.get("open", 0), cleanup.get("close", 0)
        mask |= clean(part, opening=opening, closing=closing, min_area=4, counted=pixels)
    return mask
