"""Golden frames run again: what passes, what is refused and why, by maps and by records alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from diffad_runtime.bundle import Bundle, describe_members, golden_members, open_bundle, write_bundle
from diffad_runtime.engines.base import Tensors
from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.errors import BundleError, EngineError, GateError, InputError
from diffad_runtime.manifest import Variant
from diffad_runtime.parity import TOLERANCES, FrameOutcome
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.scoring import image_score
from diffad_runtime.selfcheck import check_golden, check_variants

S = 64
Change = Callable[[FloatMap], FloatMap]


class Changed(FakeEngine):
    """A FakeEngine under a variant's name whose map is changed before it is handed out. Its map lies in [0, 1]."""

    def __init__(self, variant: str = "fp32", change: Change = lambda one: one) -> None:
        super().__init__(S)
        self.variant = variant
        self.change = change

    def _reconstruct(self, inputs: Tensors) -> Tensors:
        maps = dict(super()._reconstruct(inputs))
        maps["anomaly_map"] = np.asarray(self.change(maps["anomaly_map"]), np.float32)
        return maps


def picture(seed: int) -> Image:
    """Even numbers: grey, so good; odd ones: with a dark square, the darker the smaller the number."""
    image = np.random.default_rng(seed).integers(118, 139, (S, S, 3), dtype=np.uint8)
    if seed % 2:
        image[10:30, 20:40] = seed
    return image


def bundle_of(tiny_bundle: Path, folder: Path, *, frames: int = 4, maps: bool = True, threshold: float = 0.5) -> Bundle:
    """The hand-made graphs under five names; golden answers are the FakeEngine's own."""
    tiny = open_bundle(tiny_bundle)
    graphs = tiny.manifest.variants["fp32"]
    variants = {
        "fp32": graphs,
        "fp16": graphs.model_copy(update={"precision": "fp16"}),
        "int8": graphs.model_copy(update={"precision": "int8", "target": "cpu"}),
        "int8-trt": graphs.model_copy(update={"precision": "int8", "target": "tensorrt"}),
    }
    members = {name: tiny.read(name) for name in {graphs.extractor, graphs.reconstructor}}
    with FakeEngine(S) as engine:
        for number in range(frames):
            image = picture(number)
            anomaly = engine.infer(image).anomaly
            score = image_score(anomaly, tiny.manifest.image_score)
            made = golden_members(number, image, FrameOutcome(anomaly, score, score > threshold), "any")
            members |= {name: body for name, body in made.items() if maps or not name.endswith(".f16")}
    thresholds = tiny.manifest.thresholds.model_copy(update={"image": threshold})
    manifest = tiny.manifest.model_copy(
        update={"variants": variants, "thresholds": thresholds, "members": describe_members(members)}
    )
    return open_bundle(write_bundle(folder / "m.diffad", manifest, members))


@pytest.mark.parametrize("maps", [True, False])
def test_the_same_engine_passes_without_a_difference(tiny_bundle: Path, tmp_path: Path, maps: bool) -> None:
    bundle = bundle_of(tiny_bundle, tmp_path, maps=maps)
    found = check_golden(bundle, Changed())
    assert (found.status, found.reason, found.passed) == ("passed", "", True)
    assert (found.variant, found.precision, found.backend, found.foreign) == ("fp32", "fp32", "fake", False)
    assert (found.against, found.names) == ("maps" if maps else "records", ("00", "01", "02", "03"))
    assert found.parity is not None
    assert (found.parity.map_max, found.parity.map_mean, found.parity.score_max, found.parity.flips) == (0, 0, 0, 0)
    found.require()
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(record["frames"]) == ["00", "01", "02", "03"]
    assert record["frames"]["03"] == {"map_max": 0, "map_mean": 0, "score": 0, "flipped": False}
    assert record["status"] == "passed"


@pytest.mark.parametrize("maps", [True, False])
def test_differences_by_hand(tiny_bundle: Path, tmp_path: Path, maps: bool) -> None:
    """A map shifted by half a spread: values, mean, maximum and score differ by that; large ones by less."""
    bundle = bundle_of(tiny_bundle, tmp_path, maps=maps, threshold=10.0)
    with FakeEngine(S) as engine:
        values = [engine.infer(picture(number)).anomaly.astype(np.float64) for number in range(4)]
    spread = float(np.concatenate([one.ravel() for one in values]).std())
    parity = check_golden(bundle, Changed("int8", lambda one: one + np.float32(spread / 2))).parity
    assert parity is not None
    assert parity.spread == pytest.approx(spread, rel=1e-3)
    for frame, found in zip(bundle.golden(), parity.frames, strict=True):
        score = frame.record["score"]
        assert found.score == pytest.approx(0.5 * min(1, spread / (score / 4)), rel=1e-2)
        assert found.map_max == pytest.approx(0.5 if maps or score < 0.5 else found.score, rel=2e-2)
        assert found.map_mean == pytest.approx(0.5, rel=5e-2)
    assert parity.score_max == max(frame.score for frame in parity.frames)


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one * np.float32(1.1), "fp32 parity: map_max of frame"),
        (lambda one: one + np.float32(0.003), "fp32 parity: map_m"),
        (lambda one: one * 0, "fp32 parity: map_max"),
        (lambda one: one * np.float32(1e30), "fp32 parity: map_max"),
    ],
    ids=["scaled", "shifted", "blind", "beyond float16"],
)
def test_another_map_is_refused(tiny_bundle: Path, tmp_path: Path, maps: bool, change: Change, reason: str) -> None:
    found = check_golden(bundle_of(tiny_bundle, tmp_path, maps=maps), Changed(change=change))
    assert (found.status, found.passed) == ("refused", False)
    assert reason in found.reason
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(GateError, match="variant 'fp32' on fake does not judge the golden frames as torch does"):
        found.require()


def test_every_precision_has_its_own_tolerance(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundle_of(tiny_bundle, tmp_path)
    off = {
        name: check_golden(bundle, Changed(name, lambda one: one * np.float32(1.01))).passed
        for name in ("fp32", "fp16")
    }
    assert off == {"fp32": False, "fp16": True}
    assert set(get_args(Variant.model_fields["precision"].annotation)) <= set(TOLERANCES)
    assert TOLERANCES["int8-fp16"] == TOLERANCES["int8"]


@pytest.mark.parametrize("maps", [True, False])
def test_one_pixel_is_enough(tiny_bundle: Path, tmp_path: Path, maps: bool) -> None:
    def spot(one: FloatMap) -> FloatMap:
        one = one.copy()
        one[0, 5, 5] = 3
        return one

    found = check_golden(bundle_of(tiny_bundle, tmp_path, maps=maps), Changed(change=spot))
    assert "map_max of frame" in found.reason


def test_maps_say_more_than_records(tiny_bundle: Path, tmp_path: Path) -> None:
    """Mirrored: the same mean, maximum and score."""
    mirrored = Changed(change=lambda one: one[:, :, ::-1])
    assert check_golden(bundle_of(tiny_bundle, tmp_path, maps=False), mirrored).passed
    assert not check_golden(bundle_of(tiny_bundle, tmp_path), mirrored).passed


def test_an_engine_does_not_hide_behind_its_own_spread(tiny_bundle: Path, tmp_path: Path) -> None:
    """Fifty times too high, and known by records alone: the unit stays that of torch's maps."""
    bundle = bundle_of(tiny_bundle, tmp_path, maps=False)
    right = check_golden(bundle, Changed("int8")).parity
    wrong = check_golden(bundle, Changed("int8", lambda one: one * np.float32(50))).parity
    assert right is not None
    assert wrong is not None
    assert wrong.spread == pytest.approx(right.spread, rel=1e-4)
    assert wrong.score_max > 10


def test_no_golden_decision_may_flip_whatever_the_precision(tiny_bundle: Path, tmp_path: Path) -> None:
    """Of 20 frames INT8 might flip two elsewhere, and the figures are far within its tolerance."""
    probe = bundle_of(tiny_bundle, tmp_path, frames=20)
    scores = sorted(frame.record["score"] for frame in probe.golden())
    bundle = bundle_of(tiny_bundle, tmp_path, frames=20, threshold=scores[-1] * 0.9999)
    found = check_golden(bundle, Changed("int8", lambda one: one * np.float32(0.999)))
    assert found.parity is not None
    assert found.parity.flips == 1
    assert found.status == "refused"
    assert "the decision flips on golden frame" in found.reason
    assert "none is allowed" in found.reason


def test_decisions_are_those_of_the_threshold_in_force(tiny_bundle: Path, tmp_path: Path) -> None:
    """Recorded as OK at 10, all below the threshold of today: still no flip."""
    bundle = bundle_of(tiny_bundle, tmp_path, threshold=10.0)
    thresholds = bundle.manifest.thresholds.model_copy(update={"image": 0.001})
    today = replace(bundle, manifest=bundle.manifest.model_copy(update={"thresholds": thresholds}))
    assert {frame.record["verdict"] for frame in today.golden()} == {"OK"}
    assert check_golden(today, Changed()).passed


def test_without_golden_frames_nothing_passes(tiny_bundle: Path) -> None:
    found = check_golden(open_bundle(tiny_bundle), Changed())
    assert (found.status, found.against, found.parity) == ("refused", "", None)
    assert found.reason == "the bundle holds no golden frames to check with"
    with pytest.raises(GateError, match="no golden frames"):
        found.require()


def test_what_cannot_be_checked(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundle_of(tiny_bundle, tmp_path)
    with pytest.raises(InputError, match="runs variant 'fake' at 64 px, the bundle has fp32, fp16"):
        check_golden(bundle, FakeEngine(S))
    with pytest.raises(EngineError, match="NaN"):
        check_golden(bundle, Changed(change=lambda one: one * np.float32(np.nan)))
    members = {name: bundle.read(name) for name in bundle.manifest.members} | {"golden/00.json": b'{"score": 1.0}'}
    manifest = bundle.manifest.model_copy(update={"members": describe_members(members)})
    with pytest.raises(BundleError, match="record of golden frame 00 is not complete: map_mean: Field required"):
        check_golden(open_bundle(write_bundle(tmp_path / "n.diffad", manifest, members)), Changed())


def test_variants_one_after_the_other(tiny_bundle: Path, tmp_path: Path) -> None:
    """The real engine is not the fake one: all are measured, all are refused, none stops the others."""
    bundle = bundle_of(tiny_bundle, tmp_path)
    rounds: list[tuple[int, int]] = []
    found = check_variants(bundle, threads=1, on_round=lambda done, total: rounds.append((done, total)))
    assert [one.variant for one in found] == ["fp32", "fp16", "int8", "int8-trt"]
    assert {one.backend for one in found} == {"onnxruntime"}
    assert [one.foreign for one in found] == [False, False, False, True]
    assert all(one.status == "refused" and one.parity is not None for one in found)
    assert rounds == [(done, 4) for done in range(1, 5)]
    assert [one.variant for one in check_variants(bundle, variants=["int8-trt"], threads=1)] == ["int8-trt"]


def test_an_engine_that_cannot_be_made_is_a_finding(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundle_of(tiny_bundle, tmp_path)
    found = check_variants(bundle, "tensorrt")
    assert [one.variant for one in found] == ["fp32", "fp16", "int8-trt"]
    assert {(one.status, one.backend, one.parity) for one in found} == {("failed", "tensorrt", None)}
    with pytest.raises(EngineError, match="variant 'fp32' on tensorrt cannot be checked: TensorRT is not installed"):
        found[0].require()


def test_names_are_checked_before_anything_runs(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = bundle_of(tiny_bundle, tmp_path)
    rounds: list[int] = []
    with pytest.raises(InputError, match="no variant 'int9'"):
        check_variants(bundle, variants=["fp32", "int9"], on_round=lambda done, _: rounds.append(done))
    with pytest.raises(InputError, match="Name each once"):
        check_variants(bundle, variants=["fp32", "fp32"])
    with pytest.raises(InputError, match="unknown backend"):
        check_variants(bundle, "abacus")
    assert rounds == []
