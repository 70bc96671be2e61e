"""Differences of two rows against sums by hand, and replicates there and back."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_calibration.metrics import FIGURES, Bootstrap, ClassMeter
from diffad_export.ablation.pairs import Measured, leads, load_drawn, save_drawn
from diffad_export.ablation.record import Figures

AURO = "image_auroc"
HALF = Bootstrap(level=0.5)


def measured(**categories: tuple[float, list[float]]) -> Measured:
    """One figure by category: its value, and its replicates."""
    classes: dict[str, dict[str, float | None]] = {name: {AURO: value} for name, (value, _) in categories.items()}
    mean = sum(value for value, _ in categories.values()) / len(categories)
    drawn = {name: {AURO: np.array(values)} for name, (_, values) in categories.items()}
    return Measured(Figures(classes=classes, macro={AURO: mean}), drawn)


def test_one_seed_by_hand() -> None:
    one = measured(disc=(0.9, [0.9, 0.8, 1.0, 0.7, 0.9]), plate=(0.5, [0.5, 0.5, 0.5, 0.5, 0.5]))
    other = measured(disc=(0.7, [0.8, 0.5, 0.6, 0.7, 0.7]), plate=(0.7, [0.6, 0.5, 0.8, 0.9, 0.7]))
    found = leads([(one, other)], HALF)
    # differences of disc: .1 .3 .4 0 .2; of plate: -.1 0 -.3 -.4 -.2; their means: 0 .15 .05 -.2 0
    assert found["disc"][AURO] == pytest.approx((0.2, 0.1, 0.3))
    assert found["plate"][AURO] == pytest.approx((-0.2, -0.3, -0.1))
    assert found["macro"][AURO] == pytest.approx((0.0, 0.0, 0.05))
    assert set(found["disc"]) == {AURO}


def test_seeds_are_pooled_in_pairs() -> None:
    """Each seed leads by the same in every draw: what is left is which seeds were drawn."""
    pairs = [(measured(disc=(0.5 + gap, [0.5 + gap] * 4000)), measured(disc=(0.5, [0.5] * 4000))) for gap in (0.1, 0.3)]
    difference, low, high = leads(pairs, Bootstrap(level=0.4))["disc"][AURO]
    assert difference == pytest.approx(0.2)
    # of two draws out of {.1, .3}: .1 a quarter of the time, .2 half, .3 a quarter; the middle 40 % are .2
    assert (low, high) == pytest.approx((0.2, 0.2))
    _, low, high = leads(pairs, Bootstrap(level=0.6))["disc"][AURO]
    assert (low, high) == pytest.approx((0.1, 0.3))


def test_a_constant_lead_is_sure_whatever_the_images_do() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(0.5, 0.2, 300)
    pair = (measured(disc=(0.51, list(images + 0.01))), measured(disc=(0.5, list(images))))
    assert leads([pair, pair])["disc"][AURO] == pytest.approx((0.01, 0.01, 0.01))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(0, 1), min_size=6, max_size=6), min_size=2, max_size=4))
def test_turned_round(values: list[list[float]]) -> None:
    models = [measured(disc=(v[0], v)) for v in values]
    pairs = list(pairwise(models))
    there = leads(pairs)["macro"][AURO]
    back = leads([(b, a) for a, b in pairs])["macro"][AURO]
    assert there == pytest.approx((-back[0], -back[2], -back[1]))


def test_draws_of_two_models_are_the_same_images() -> None:
    """A model that is better on one image only: each replicate differs by how often that image was drawn."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    how = Bootstrap(resamples=50)
    meters = []
    for last in (-1.0, 4.0):  # below all good images, or above
        meter = ClassMeter()
        for score, label in zip([0.0, 1.0, 2.0, 3.0, 3.5, last], labels, strict=True):
            meter.add(np.full((2, 2), score, np.float32), None if label == 0 else np.ones((2, 2)), score, int(label))
        meters.append(meter)
    worse, better = (meter.replicates(how, 3)[AURO] for meter in meters)
    assert better - worse == pytest.approx(how.weights(labels, 3)[:, 5] / 3)


def test_replicates_there_and_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn = {
        name: {f"a/{c}": {figure: rng.random(3) for figure in FIGURES} for c in ("x", "y")} for name in ("row", "P/D")
    }
    drawn["row"]["a/x"]["f1_max"] = np.array([np.nan, 0.1 + 0.2, 1.0])
    save_drawn(tmp_path / "deep" / "k.safetensors", drawn)
    found = load_drawn(tmp_path / "deep" / "k.safetensors")
    assert found is not None
    for name, categories in drawn.items():
        for category, figures in categories.items():
            assert set(found[name][category]) == set(FIGURES)
            for figure, values in figures.items():
                np.testing.assert_array_equal(found[name][category][figure], values)


def test_replicates_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert load_drawn(tmp_path / "missing.safetensors") is None
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 30)
    assert load_drawn(tmp_path / "broken.safetensors") is None
