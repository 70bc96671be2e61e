"""The bank of pasted defects: whose images, whose maps, and features as the student will meet them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffad_calibration.dataset import open_dataset
from diffad_export.backbone.extractor import normalise
from diffad_export.grids import GridLayout
from diffad_export.mapbank import make_map_bank
from diffad_export.runfolder import Run, open_run
from diffad_export.split import Split
from diffad_export.training.mapmatch import MapBank

COUNT = 5


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return open_run(tiny_run)


@pytest.fixture(scope="module")
def split(run: Run, line_data: Path) -> Split:
    return run.split(open_dataset(line_data))


def made(run: Run, split: Split, layout: GridLayout | None = None, *, seed: int = 3, count: int = COUNT) -> MapBank:
    return make_map_bank(run, split, layout or run.extractor().as_pyramid().layout, seed=seed, count=count)


def test_defects_are_pasted_into_training_images(run: Run, split: Split) -> None:
    bank = made(run, split, count=3)
    assert (bank.images.shape, str(bank.images.dtype)) == ((3, 64, 64, 3), "uint8")
    for image, clean in zip(bank.images, split.train, strict=False):
        changed = (image != clean).any(-1).mean()
        assert 0 < changed < 0.6
    again, other = made(run, split, count=3), made(run, split, seed=4, count=3)
    assert np.array_equal(bank.images, again.images)
    assert np.array_equal(bank.maps, again.maps)
    assert not np.array_equal(bank.images, other.images)


def test_every_defect_is_a_new_one_where_images_come_round_again(run: Run, split: Split) -> None:
    few = Split(split.name, split.train[:2], split.held, split.held_names, split.digest)
    bank = made(run, few, count=4)
    assert not np.array_equal(bank.images[0], bank.images[2])


@torch.no_grad()
def test_maps_are_the_teacher_s_before_they_are_enlarged(run: Run, split: Split) -> None:
    bank, score = made(run, split), run.score("line")
    model = run.reconstructor(run.teacher(), "line", score.config, score.fitted)
    x = normalise(torch.from_numpy(bank.images))
    anomaly, _, _ = model(x, run.extractor().grids(x))
    assert (bank.maps.shape, str(bank.maps.dtype)) == ((COUNT, 16, 16), "float32")
    torch.testing.assert_close(model.to_map(torch.from_numpy(bank.maps)), anomaly, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pyramid", [True, False])
@torch.no_grad()
def test_features_are_those_of_the_images_as_they_are(pyramid: bool, run: Run, split: Split) -> None:
    extractor = run.extractor().as_pyramid() if pyramid else run.extractor()
    bank, norm, layout = made(run, split, extractor.layout), run.norm(), extractor.layout
    x = normalise(torch.from_numpy(bank.images))
    assert len(bank.features) == (3 if pyramid else 1)
    for found, f, own in zip(bank.features, extractor.grids(x), layout.slices(), strict=True):
        assert found.dtype == np.float16
        expected = (f - norm.mean[own].view(1, -1, 1, 1)) / norm.std[own].view(1, -1, 1, 1)
        torch.testing.assert_close(torch.from_numpy(found).float(), expected, rtol=2e-3, atol=2e-2)
