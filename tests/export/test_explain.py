"""What `explain` shows: the right images, pictures that are what the model was given and said, the same every time."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffad_calibration.references import PaDiM
from diffad_calibration.report.explained import Explanation
from diffad_export.backbone.extractor import normalise
from diffad_export.denoiser import Denoised, Denoiser, to_blocks
from diffad_export.diffusion.posterior import level_at
from diffad_export.diffusion.schedule import linear_schedule, respace
from diffad_export.explain import ExplainSettings, Model, Subject, choose_subjects, explain, to_picture
from diffad_export.grids import Grids
from diffad_export.guidance import GradientSettings, Guide
from diffad_runtime.errors import InputError
from diffad_runtime.result import Image

SIDE = 32
GOOD = 130  # grey level of a good part
CHAIN = respace(linear_schedule(), 250)
SHORT = ExplainSettings(gradient=GradientSettings(steps=10), ddim_steps=4, ancestral_steps=6, frames=4)


class Always(Denoiser):
    """Every part is a good one: flat grey. An echo believes what it is given instead."""

    def __init__(self, *, echo: bool = False) -> None:
        super().__init__()
        self.echo = echo
        self.seen: list[tuple[int, Tensor | None]] = []

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        self.seen.append((int(t[0]), label))
        blocks = to_blocks(x_t if self.echo else torch.full_like(x_t, GOOD / 127.5 - 1))
        return Denoised(blocks, torch.zeros_like(blocks), (blocks,), (blocks,))


class Pixels(nn.Module):
    """Features that are the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(1))

    def features(self, x: Tensor) -> Tensor:
        return to_blocks(x)

    def grids(self, x: Tensor) -> Grids:
        return (to_blocks(x),)


@dataclass
class Scores:
    """Fused map: how far a pixel is from a good one."""

    calls: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor, f: Grids) -> tuple[Tensor, Tensor, Tensor]:
        self.calls.append(x)
        away = (127.5 * (x + 1) - GOOD).abs()
        grid = f[0].mean(1)
        return away.mean(1), grid, grid + 1


def model(label: int | None = None) -> Model:
    extractor, places = Pixels(), (SIDE // 4) ** 2
    padim = PaDiM(
        np.arange(48),
        np.full((places, 48), GOOD / 127.5 - 1, np.float32),
        np.repeat(np.eye(48, dtype=np.float32)[None], places, 0),
        SIDE,
    )
    levels = tuple(level_at(CHAIN, step) for step in (5, 50, 100))
    return Model(
        denoiser=Always(),
        extractor=extractor,  # type: ignore[arg-type]
        guide=Guide(extractor, padim),  # type: ignore[arg-type]
        scores=Scores(),
        image_score=lambda fused: float(fused.max()),
        levels=levels,
        label=label,
    )


def spoilt() -> Image:
    image = np.full((SIDE, SIDE, 3), GOOD, np.uint8)
    image[4:12, 4:12] = (10, 20, 30)
    return image


def subject() -> Subject:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 4:12] = 255
    return Subject("blot/0.png", "blot", spoilt(), mask)


def shown(one: Explanation) -> list[Image]:
    frames = [frame.image for strip in one.strips for frame in strip.frames]
    return [one.noised, one.reconstruction, *frames]


def test_the_columns_are_what_the_network_was_given_and_what_it_said() -> None:
    one = explain([subject()], model())[0]
    level = level_at(CHAIN, 50)
    x = normalise(torch.from_numpy(spoilt()[None]))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(one.noised, to_picture(level.signal * x + level.noise * noise))
    assert (one.reconstruction == GOOD).all()
    assert one.timestep == level.timestep == 201
    assert one.score == pytest.approx(110)
    assert one.fused.shape == (SIDE, SIDE)
    assert one.pixel.shape == (SIDE // 4, SIDE // 4)
    np.testing.assert_allclose(one.feature - one.pixel, 1, atol=1e-6)
    assert one.seconds > 0


def test_strips_start_at_the_image_and_end_at_a_good_part() -> None:
    one = explain([subject()], model(), SHORT)[0]
    assert [strip.kind for strip in one.strips] == ["gradient", "ddim", "ancestral"]
    for strip in one.strips:
        assert len(strip.frames) <= SHORT.frames
        np.testing.assert_array_equal(strip.frames[0].image, spoilt())
        assert strip.frames[0].words == "image"
        assert strip.frames[0].score == pytest.approx(110)
        assert (strip.frames[-1].image == GOOD).all()
        assert strip.frames[-1].score == pytest.approx(0, abs=1e-4)
    gradient, ddim, ancestral = one.strips
    assert [frame.words for frame in gradient.frames] == ["image", "step 5", "step 10"]
    distances = [frame.distance for frame in gradient.frames]
    assert all(d is not None for d in distances)
    assert distances[-1] == pytest.approx(0, abs=1e-3)
    for strip in (ddim, ancestral):
        assert strip.frames[1].words == f"t = {int(CHAIN.timestep[SHORT.start])}"
        assert strip.frames[-1].words == "end"
        assert all(frame.distance is None for frame in strip.frames)
        assert np.abs(strip.frames[1].image.astype(int) - GOOD).mean() > 10  # noised


def test_the_network_is_called_at_the_chains_levels_with_the_label() -> None:
    named = model(label=3)
    explain([subject()], named, SHORT)
    assert isinstance(named.denoiser, Always)
    seen = named.denoiser.seen
    low, start = int(CHAIN.timestep[SHORT.low]), int(CHAIN.timestep[SHORT.start])
    times = [t for t, _ in seen]
    assert times[0] == 201
    assert times[1:3] == [low, low]
    assert len(times) == 1 + 2 + 4 + 6
    assert times[3] == times[7] == start
    assert all(label is not None and label.tolist() == [3] for _, label in seen)


def test_scored_pictures_stay_in_the_range_of_pixels() -> None:
    white = Subject("w", "blot", np.full((SIDE, SIDE, 3), 255, np.uint8), None)
    bright = model()
    explain([white], bright, replace(SHORT, gradient=GradientSettings(steps=3, every=9, s=0.9)))
    assert all(x.abs().max() <= 1 for x in bright.scores.calls)  # type: ignore[attr-defined]


def test_same_seed_same_pictures_whatever_came_before() -> None:
    echo = replace(model(), denoiser=Always(echo=True))
    first, again = explain([subject(), subject()], echo, SHORT)
    other = explain([subject()], echo, replace(SHORT, seed=1))[0]
    for a, b in zip(shown(first), shown(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.noised != other.noised).any()
    for one, two in zip(first.strips, other.strips, strict=True):
        assert (one.frames[-1].image != two.frames[-1].image).any()


def test_a_good_part_has_no_truth() -> None:
    part = Subject("good/0.png", "good", spoilt(), np.zeros((SIDE, SIDE), np.uint8))
    assert explain([part], model(), SHORT)[0].truth is None
    assert explain([subject()], model(), SHORT, category="c")[0].category == "c"


def test_pictures_undo_the_normalisation() -> None:
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(to_picture(normalise(torch.from_numpy(every))), every[0])
    assert to_picture(torch.full((1, 3, 2, 2), -1.2)).max() == 0
    assert to_picture(torch.full((1, 3, 2, 2), 1.2)).min() == 255


KINDS = ["a", "a", "a", "b", "b", "b", "good", "good", "good"]
SCORES = np.array([3.0, 1.0, 2.0, 9.0, 7.0, 8.0, 0.3, 0.1, 0.2])


def test_of_each_kind_the_highest_and_the_median_then_a_median_good_part() -> None:
    assert choose_subjects(KINDS, SCORES, 9) == [0, 2, 3, 5, 8]
    assert choose_subjects(["a", "good"], np.array([1.0, 0.0]), 9) == [0, 1]
    assert choose_subjects(["good"] * 3, SCORES[6:], 4) == [2]
    assert choose_subjects(["a"] * 3, SCORES[:3], 4) == [0, 2]


@pytest.mark.parametrize(("most", "rows"), [(4, [0, 2, 3, 8]), (3, [0, 3, 8]), (2, [0, 8]), (1, [8])])
def test_with_little_room_the_highest_come_first_and_the_good_part_stays(most: int, rows: list[int]) -> None:
    assert choose_subjects(KINDS, SCORES, most) == rows


def test_no_images_to_explain_is_refused() -> None:
    with pytest.raises(InputError, match="1 or more"):
        choose_subjects(KINDS, SCORES, 0)
