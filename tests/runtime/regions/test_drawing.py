"""A recipe drawn over a frame: outlines on the edges, dimmed outside, hatched where ignored, an arrow for up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.recipes import make_recipe
from diffad_runtime.regions.drawing import draw_recipe
from diffad_runtime.regions.plan import Plan
from diffad_runtime.rules import DecisionRules

RULES = DecisionRules(0.5, 0.6, ImageScore(pixels=5))
BOX = [[0.25, 0.5], [0.75, 0.5], [0.75, 1], [0.25, 1]]
VALUES = {
    "version": 1,
    "name": "r",
    "unit": "relative",
    "regions": [{"name": "lower", "polygons": [BOX], "view": "crop"}],
    "ignore": [{"polygons": [[[0.4, 0.8], [0.6, 0.8], [0.6, 0.95], [0.4, 0.95]]]}],
}


def test_what_is_drawn_where() -> None:
    recipe = make_recipe(VALUES)
    image = np.full((400, 600), 100, np.uint8)
    drawn = draw_recipe(image, recipe, Plan.of(recipe, RULES, 64, image.shape))
    assert (drawn.shape, image.min()) == ((400, 600, 3), 100)
    assert drawn[50, 50].tolist() == [50, 50, 50]  # counts for nothing
    assert drawn[300, 400].tolist() == [100, 100, 100]
    assert drawn[198:203, 300].std() > 0  # the region's upper edge
    hatched = drawn[320:380, 240:360].reshape(-1, 3)
    assert {tuple(colour) for colour in hatched.tolist()} == {(50, 50, 50), (60, 60, 230)}
    with pytest.raises(InputError, match="no pixel to judge"):
        draw_recipe(image, make_recipe({**VALUES, "ignore": [{"polygons": [BOX]}]}))


@pytest.mark.parametrize(("rotate", "tip"), [(0, "top"), (90, "left"), (180, "bottom"), (270, "right")])
def test_the_arrow_points_to_what_becomes_up(rotate: int, tip: str) -> None:
    """Its head is heavier than its tail. A frame turned by 90 degrees clockwise has its left side up."""
    recipe = make_recipe({"version": 1, "name": "r", "orientation": {"rotate": rotate}})
    drawn = draw_recipe(np.full((400, 400, 3), 90, np.uint8), recipe)
    corner = (drawn[6:36, 364:394] != 90).any(axis=2)
    halves = {"top": corner[:15], "bottom": corner[15:], "left": corner[:, :15], "right": corner[:, 15:]}
    assert max(halves, key=lambda side: int(np.count_nonzero(halves[side]))) == tip


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80))
def test_any_size(height: int, width: int) -> None:
    recipe = make_recipe({"version": 1, "name": "r", "regions": [{"name": "a" * 64}], "tiling": {"size": 9}})
    assert draw_recipe(np.zeros((height, width, 3), np.uint8), recipe).shape == (height, width, 3)
