"""The camera's picture beside its reference: planted faults are found, parts and their defects are none."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_runtime.health.camera import CameraHealth
from diffad_runtime.health.reference import Reference, learn, load_reference
from diffad_runtime.result import Frame, Image, SourceState, Verdict
from diffad_runtime.synthetic import LineConfig, SyntheticLine

UTC = datetime.now(timezone.utc)
SIDE = 256


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    """110 plates of the synthetic line, each fifth defective, the lamp drifting as it does."""
    line = SyntheticLine(LineConfig(size=SIDE, seed=3, defects=0.2))
    return [line.frame(number).image for number in range(110)]


@pytest.fixture(scope="module")
def reference(pictures: list[Image]) -> Reference:
    return learn(pictures[:40])


def show(
    camera: CameraHealth, images: Iterable[Image], verdict: Verdict = Verdict.NG, begin: float = 0.0
) -> list[tuple[str, ...]]:
    """A look a picture; what is said after each."""
    found = []
    for number, image in enumerate(images):
        camera.look(Frame(image, number, begin + 2.0 * number, UTC), verdict)
        found.append(camera.faults())
    return found


def kinds(faults: tuple[str, ...]) -> set[str]:
    assert all(line.startswith("SETUP: ") for line in faults)
    return {line.split(": ")[1] for line in faults}


def test_parts_and_defects_are_no_fault(pictures: list[Image], reference: Reference) -> None:
    assert set(show(CameraHealth(reference), pictures[40:])) == {()}


def _noisy(image: np.ndarray) -> Image:
    rng = np.random.default_rng(int(image.sum()) % 2**32)
    return np.clip(image + rng.normal(0, 1.8, image.shape) + 0.5, 0, 255).astype(np.uint8)


def blurred(image: Image) -> Image:
    """Out of focus; the sensor's noise stays."""
    return _noisy(cv2.GaussianBlur(image, (0, 0), 1.5).astype(float))


def brighter(factor: float) -> Callable[[Image], Image]:
    return lambda image: np.clip(image * factor, 0, 255).astype(np.uint8)


def redder(image: Image) -> Image:
    return np.clip(image * np.array([1, 1, 1.15]), 0, 255).astype(np.uint8)


def moved(image: Image) -> Image:
    return np.roll(image, (0, 13), (0, 1))


def capped(image: Image) -> Image:
    return _noisy(np.full(image.shape, 3.0))


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (blurred, {"picture blurred"}),
        (brighter(0.7), {"picture dark"}),
        (brighter(1.3), {"picture bright", "picture saturated"}),
        (redder, {"colours changed"}),
        (moved, {"picture shifted"}),
        (capped, {"picture dark", "picture flat"}),
    ],
)
def test_planted_faults(
    plant: Callable[[Image], Image], kind: set[str], pictures: list[Image], reference: Reference
) -> None:
    camera = CameraHealth(reference)
    assert set(show(camera, pictures[40:50])) == {()}
    found = show(camera, map(plant, pictures[50:75]), begin=100)
    assert found[3] == ()  # the median of nine: a few odd pictures are nothing
    assert kind <= kinds(found[12])
    assert kinds(found[-1]) - kind <= {"picture saturated"}
    assert show(camera, pictures[75:90], begin=200)[-1] == ()


def test_parts_that_lie_as_they_like_widen_the_limits() -> None:
    """At any angle and up to 5 % off: what one fixture would call a shift, or another light, is how they are."""
    line = SyntheticLine(LineConfig(size=128, seed=1, rotate=180, shift=0.05, defects=0.1))
    images = [line.frame(number).image for number in range(130)]
    assert set(show(CameraHealth(learn(images[:50])), images[50:])) == {()}


def test_the_figures_are_said(pictures: list[Image], reference: Reference) -> None:
    camera = CameraHealth(reference)
    (shift,) = show(camera, map(moved, pictures[40:60]))[-1]
    assert shift.startswith("SETUP: picture shifted: by (1")
    assert "px right and down, limits" in shift
    assert camera.gauges()["camera_shift_ratio"] == pytest.approx(13 / SIDE, abs=0.012)
    camera = CameraHealth(reference)
    show(camera, map(brighter(0.7), pictures[40:60]))
    assert camera.gauges()["camera_brightness_ratio"] == pytest.approx(0.7, abs=0.05)
    assert camera.gauges()["camera_learned"] == 1


def dirty(image: Image) -> Image:
    """A soft dark spot on the lens, at (80, 170)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    spot = np.exp(-((x - 80) ** 2 + (y - 170) ** 2) / (2 * 5.0**2))
    return np.clip(image * (1 - 0.5 * spot)[..., None], 0, 255).astype(np.uint8)


def test_dirt_is_found_where_it_is(pictures: list[Image], reference: Reference) -> None:
    found = show(CameraHealth(reference), map(dirty, pictures[40:90]))
    assert set(found[:10]) == {()}
    assert kinds(found[-1]) == {"dirt"}
    left, top = map(int, found[-1][0].rpartition("(")[2].rstrip(")").split(", "))
    assert (left, top) == (pytest.approx(80, abs=12), pytest.approx(170, abs=12))


def test_a_defective_part_that_stands_still_is_no_dirt(pictures: list[Image], reference: Reference) -> None:
    """An hour of the same part: one part. Sensor noise is in it, so that no two pictures are equal."""
    standing = [_noisy(dirty(pictures[60]).astype(float)) for _ in range(60)]
    assert not any("dirt" in kinds(faults) for faults in show(CameraHealth(reference), standing))


def test_looks_are_taken_seldom(pictures: list[Image], reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    camera = CameraHealth(reference, period_s=1.0)
    monkeypatch.setattr(camera, "_compare", lambda image, _: looks.append(image))
    for number in range(301):
        camera.look(Frame(pictures[0], number, number / 30, UTC), Verdict.OK)
    assert len(looks) == 11
    camera.look(Frame(pictures[0], 0, -1000.0, UTC), Verdict.OK)  # its clock jumped back
    assert len(looks) == 12
    camera.look(Frame(pictures[0], 0, 500.0, UTC, source_state=SourceState.STALLED), Verdict.OK)
    camera.look(Frame(pictures[0][:8], 0, 600.0, UTC), Verdict.OK)
    assert len(looks) == 12


def test_learns_from_good_parts_and_keeps_it(
    pictures: list[Image],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    events: Callable[[pytest.LogCaptureFixture], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("diffad_runtime"), "propagate", True)
    caplog.set_level(logging.INFO, "diffad_runtime")
    kept = tmp_path / "here" / "camera.json"
    camera = CameraHealth(learn=30, save_to=kept)
    assert camera.gauges() == {"camera_learned": 0.0}
    show(camera, map(blurred, pictures[:40]), Verdict.NG)  # not from these
    show(camera, [pictures[0]] * 50, Verdict.OK, begin=100)  # and from a line that stands still one
    assert camera.reference is None
    show(camera, pictures[1:30], Verdict.OK, begin=300)
    assert camera.reference is not None
    again = load_reference(kept)
    assert again.figures.model_copy(update={"picture_sha256": ""}) == camera.reference.figures
    assert events(caplog) == ["camera_learned"]
    assert set(show(CameraHealth(again), pictures[40:70])) == {()}


def test_a_disk_that_is_full_does_not_end_it(pictures: list[Image], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    camera = CameraHealth(learn=10, save_to=tmp_path / "file" / "camera.json")
    show(camera, pictures[:10], Verdict.OK)
    assert camera.reference is not None


def test_another_product(pictures: list[Image], reference: Reference) -> None:
    camera = CameraHealth(reference)
    assert show(camera, map(moved, pictures[40:60]))[-1] != ()
    camera.use(learn([moved(image) for image in pictures[:40]]))
    assert camera.faults() == ()
    assert set(show(camera, map(moved, pictures[40:60]), begin=100)) == {()}


def test_a_reference_of_another_size(pictures: list[Image], reference: Reference) -> None:
    """A bundle's golden frames have the size trained on: all but sharpness is compared."""
    large = [np.asarray(cv2.resize(image, (640, 640), interpolation=cv2.INTER_CUBIC)) for image in pictures[40:60]]
    camera = CameraHealth(reference)
    assert set(show(camera, large)) == {()}
    assert "camera_sharpness_ratio" in camera.gauges()
    assert kinds(show(camera, map(brighter(0.7), large), begin=100)[-1]) == {"picture dark"}


def test_the_same_pictures_give_the_same_figures(pictures: list[Image], reference: Reference) -> None:
    gauges = []
    for _ in range(2):
        camera = CameraHealth(reference)
        show(camera, pictures[40:60])
        gauges.append(camera.gauges())
    assert gauges[0] == gauges[1]
