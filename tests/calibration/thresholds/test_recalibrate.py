"""Recalibration on a real bundle of two tiny graphs: what changes, what stays byte for byte, and what is refused."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_calibration.thresholds import freshframes
from diffad_calibration.thresholds.conformal import uniform_bound
from diffad_calibration.thresholds.freshframes import neighbour_correlation
from diffad_calibration.thresholds.recalibrate import RecalibrateOptions, Recalibration, recalibrate
from diffad_calibration.thresholds.setting import image_threshold, pixel_threshold
from diffad_runtime.bundle import describe_members, golden_members, open_bundle, write_bundle
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.errors import DataError, EngineError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import NormalScores
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score


def frame(seed: int, noise: float = 20.0) -> Image:
    """A grey part, 64 x 64, more or less noisy: score 2.0 (the old threshold) is at a noise of about 45."""
    rng = np.random.default_rng(seed)
    return (128 + rng.normal(0, noise * rng.uniform(0.7, 1.3), (64, 64, 3))).clip(0, 255).astype(np.uint8)


def write(folder: Path, images: list[Image], first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start=first):
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good frames in a folder and below it."""
    folder = write(tmp_path_factory.mktemp("frames") / "good", [frame(seed) for seed in range(30)])
    write(folder / "more", [frame(seed) for seed in range(30, 40)])
    return folder


@pytest.fixture
def signed(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with a signature and two golden frames: one noisier than the good frames, one like them."""
    bundle = open_bundle(tiny_bundle)
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    with OnnxRuntimeEngine(*bundle.graphs(), input_size=64, variant="fp32", threads=1) as engine:
        for number, noise in enumerate((60.0, 20.0)):
            image = frame(number, noise)
            anomaly = engine.infer(image).anomaly
            score = image_score(anomaly, bundle.manifest.image_score)
            assert score < bundle.manifest.thresholds.image
            members |= golden_members(number, image, FrameOutcome(anomaly, score, ng=False), "x")
    manifest = bundle.manifest.model_copy(update={"members": describe_members(members), "version": 7})
    return write_bundle(tmp_path / "signed.diffad", manifest, members, signature=b"s" * 64)


def scores_of(model: Path, folder: Path) -> tuple[list[float], list[np.ndarray]]:  # type: ignore[type-arg]
    with Inspector.open(model, threads=1) as inspector:
        results = [inspector.inspect(cv2.imread(str(path))) for path in sorted(folder.rglob("*.png"))]  # type: ignore[arg-type]
    return [result.score for result in results], [result.anomaly_map for result in results]


def test_thresholds_are_new_and_the_graphs_are_not(signed: Path, good: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "deep" / "new.diffad", list[tuple[int, int | None]]()
    before_bytes = signed.read_bytes()
    options = RecalibrateOptions(false_reject_rate=0.05, threads=1)
    done = recalibrate(signed, str(good), out, options, lambda *at: heard.append(at))
    old, new = open_bundle(signed), open_bundle(out)
    scores, maps = scores_of(signed, good)

    limits = new.manifest.thresholds
    plain, guaranteed = image_threshold(scores, 0.05)
    assert limits.image == pytest.approx(plain + 0.01 * np.std(scores))
    assert (limits.pixel, limits.pixel_guaranteed_rate) == pixel_threshold(maps, 0.001)
    assert (limits.good_images, limits.guaranteed_rate, limits.shared) == (40, guaranteed, False)
    assert limits.kind == "conformal"
    assert new.manifest.normal_scores == NormalScores(count=40, ranks=list(range(1, 41)), values=sorted(scores))
    assert (done.frames, done.old_rejects, done.golden_changed, done.signature_dropped) == (40, 0, 1, True)
    assert done.new_rejects == sum(score > limits.image for score in scores)
    assert done.highest[0][1] == max(scores)
    assert heard[-1] == (40, None)
    assert new.digest == done.digest != old.digest

    assert signed.read_bytes() == before_bytes
    assert (new.manifest.version, new.signature) == (8, None)
    assert new.manifest.created > old.manifest.created
    assert set(new.manifest.members) == set(old.manifest.members)
    same = [name for name in old.manifest.members if old.read(name) == new.read(name)]
    assert set(old.manifest.members) - set(same) == {"golden/00.json"}
    record = json.loads(old.read("golden/00.json"))
    assert json.loads(new.read("golden/00.json")) == record | {"verdict": "NG"}
    kept = {"version", "created", "thresholds", "normal_scores", "members", "provenance"}
    assert old.manifest.model_dump(exclude=kept) == new.manifest.model_dump(exclude=kept)
    assert [path.name for path in out.parent.iterdir()] == ["new.diffad"]


def test_every_recalibration_leaves_its_entry(signed: Path, good: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.diffad", tmp_path / "2.diffad"
    recalibrate(signed, str(good), first, RecalibrateOptions(threads=1))
    options = RecalibrateOptions(threads=1, variant="second", force=True, frames=20)
    done = recalibrate(first, f"dir://{good}", second, options)
    bundle = open_bundle(second)
    history = bundle.manifest.provenance["recalibrated"]
    assert bundle.manifest.provenance["config"] == {"preset": "[hand] made"}
    assert [entry["from_version"] for entry in history] == [7, 8]
    assert [entry["from_digest"] for entry in history] == [open_bundle(signed).digest, open_bundle(first).digest]
    assert [entry["frames"] for entry in history] == [40, 20]
    assert [(entry["source"], entry["variant"]) for entry in history] == [("folder", "fp32"), ("dir", "second")]
    assert [entry["backend"] for entry in history] == ["onnxruntime"] * 2
    assert history[1]["old"] == history[0]["new"] == open_bundle(first).manifest.thresholds.model_dump(mode="json")
    assert history[1]["time"].endswith("+00:00")
    assert str(good) not in json.dumps(history)
    assert any("set with variant second; by itself the bundle runs fp32" in warning for warning in done.warnings)
    json.dumps(done.to_json(), allow_nan=False)


def test_the_rate_of_the_bundle_is_kept_unless_another_is_asked_for(
    tiny_bundle: Path, good: Path, tmp_path: Path
) -> None:
    done = recalibrate(tiny_bundle, str(good), tmp_path / "a.diffad", RecalibrateOptions(threads=1))
    assert done.after.thresholds.false_reject_rate == done.before.thresholds.false_reject_rate == 0.05
    options = RecalibrateOptions(threads=1, false_reject_rate=0.001)
    done = recalibrate(tiny_bundle, str(good), tmp_path / "b.diffad", options)
    assert done.after.thresholds.false_reject_rate == 0.001
    assert any("that takes at least 999" in warning for warning in done.warnings)


def test_a_bundle_may_replace_itself_only_under_its_own_name(tiny_bundle: Path, good: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.diffad"
    model.write_bytes(tiny_bundle.read_bytes())
    other = tmp_path / "same.diffad"
    other.symlink_to(model)
    with pytest.raises(InputError, match=r"same\.diffad is .*m\.diffad by another name"):
        recalibrate(model, str(good), other, RecalibrateOptions(threads=1))
    assert model.read_bytes() == tiny_bundle.read_bytes()
    recalibrate(model, str(good), model, RecalibrateOptions(threads=1))
    assert open_bundle(model).manifest.version == 2
    relative = Path(os.path.relpath(model))
    recalibrate(model, str(good), relative, RecalibrateOptions(threads=1))
    assert open_bundle(model).manifest.version == 3


def test_defective_parts_are_not_made_the_measure(tiny_bundle: Path, tmp_path: Path) -> None:
    mixed = write(tmp_path / "bad", [frame(seed, 110) for seed in range(5)])
    write(mixed, [frame(seed) for seed in range(15)], first=50)
    out = tmp_path / "new.diffad"
    with pytest.raises(DataError, match=r"5 of 20 new frames score above the threshold in force \(median .*--force"):
        recalibrate(tiny_bundle, str(mixed), out, RecalibrateOptions(threads=1))
    assert not out.exists()
    done = recalibrate(tiny_bundle, str(mixed), out, RecalibrateOptions(threads=1, force=True))
    assert (done.old_rejects, done.after.provenance["recalibrated"][0]["forced"]) == (5, True)
    (mixed / "000.png").unlink()
    write(mixed, [frame(70)], first=70)
    assert recalibrate(tiny_bundle, str(mixed), out, RecalibrateOptions(threads=1)).old_rejects == 4  # one in five


def refused(model: Path, folder: Path | str, match: str, **options: object) -> None:
    out = model.parent / "refused.diffad"
    out.unlink(missing_ok=True)
    with pytest.raises(InputError, match=match) as caught:
        recalibrate(model, str(folder), out, RecalibrateOptions(threads=1, **options))  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert not out.exists()


def test_frames_that_cannot_be_used(tiny_bundle: Path, good: Path, tmp_path: Path) -> None:
    few = write(tmp_path / "few", [frame(seed) for seed in range(9)])
    refused(tiny_bundle, few, "9 different frames are too few .* at least 10")
    refused(tiny_bundle, good, "8 different frames are too few", frames=8)
    refused(tiny_bundle, write(tmp_path / "frozen", [frame(0)] * 15), "all 15 frames have the same pixels: a frozen")
    dark = write(tmp_path / "dark", [frame(seed) for seed in range(12)])
    cv2.imwrite(str(dark / "011.png"), np.full((64, 64, 3), (3, 2, 1), np.uint8))
    refused(tiny_bundle, dark, r"011\.png is of a single colour")
    (dark / "011.png").write_bytes(b"no picture")
    refused(tiny_bundle, dark, r"1 images cannot be read, the first: .*011\.png")
    refused(tiny_bundle, tmp_path / "nowhere", "neither a file, nor a folder")
    refused(tiny_bundle, "synthetic://line?fps=50", "goes on without end.*--frames 1000")
    refused(tiny_bundle, good, "false reject rate is 1.5", false_reject_rate=1.5)
    refused(tiny_bundle, good, "holds no labelled images", labelled=few)
    refused(tiny_bundle, good, "no variant 'int9'", variant="int9")


def test_a_source_that_does_not_end_is_not_read_for_ever(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshframes, "MOST_FRAMES", 15)
    refused(tiny_bundle, "synthetic://line?fps=0&size=64", "gives more than 15 frames", force=True)


def test_a_live_camera_gives_as_many_frames_as_asked_for(tiny_bundle: Path, tmp_path: Path) -> None:
    camera = "synthetic://line?fps=500&size=64"
    options = RecalibrateOptions(frames=12, threads=1, force=True)
    done = recalibrate(tiny_bundle, camera, tmp_path / "new.diffad", options)
    assert done.frames == 12
    assert done.after.provenance["recalibrated"][0]["source"] == "synthetic"
    assert done.highest[0][0].startswith("frame ")


def test_a_map_with_nan_is_refused_with_its_frame(
    tiny_bundle: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise EngineError("the engine gave a map with NaN or infinite values", mend="Run another variant")

    monkeypatch.setattr(Inspector, "inspect", broken)
    refused(tiny_bundle, good, r"000\.png cannot be judged: the engine gave a map with NaN.* Run another variant")


def test_copies_are_left_out_and_said(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "copies", [frame(seed % 12) for seed in range(20)])
    done = recalibrate(tiny_bundle, str(folder), tmp_path / "new.diffad", RecalibrateOptions(threads=1))
    assert (done.frames, done.after.thresholds.good_images) == (12, 12)
    assert done.warnings[0].startswith("8 frames have the same pixels as an earlier one")
    assert done.after.provenance["recalibrated"][0]["copies_left_out"] == 8


def test_frames_that_hang_together_are_said(tiny_bundle: Path, tmp_path: Path) -> None:
    rising = write(tmp_path / "rising", [frame(3, 5 + seed) for seed in range(30)])
    done = recalibrate(tiny_bundle, str(rising), tmp_path / "new.diffad", RecalibrateOptions(threads=1))
    assert any("scores of neighbouring frames are alike (correlation 1.00)" in line for line in done.warnings)


def test_neighbour_correlation() -> None:
    assert neighbour_correlation([1, 2, 3, 4, 5]) == pytest.approx(1)
    assert neighbour_correlation([1, 2, 1, 2, 1, 2]) == pytest.approx(-1)
    assert neighbour_correlation([2.0] * 9) == 0
    rng = np.random.default_rng(0)
    found = [neighbour_correlation(list(rng.lognormal(size=50))) for _ in range(500)]
    assert np.mean(found) == pytest.approx(-1 / 50, abs=0.03)
    assert np.std(found) == pytest.approx(1 / np.sqrt(50), rel=0.15)


@pytest.mark.parametrize("layout", ["test", "."])
@pytest.mark.parametrize("ceiling", [None, 0.02])
def test_a_threshold_between_good_and_defective(
    tiny_bundle: Path, good: Path, tmp_path: Path, layout: str, ceiling: float | None
) -> None:
    root = tmp_path / "set"
    write(root / layout / "good", [frame(seed) for seed in range(50, 60)])
    write(root / layout / "scratch", [frame(seed, 45) for seed in range(60, 72)])
    write(root / "train" / "good", [frame(99)])  # looked at in neither layout
    options = RecalibrateOptions(threads=1, labelled=root, false_reject_rate=ceiling)
    done: Recalibration = recalibrate(tiny_bundle, str(good), tmp_path / "new.diffad", options)
    limits = done.after.thresholds
    assert limits.kind == "labelled"
    assert limits.labelled is not None
    assert (limits.labelled.good, limits.labelled.defective) == (50, 12)
    assert limits.labelled.found >= 10
    assert limits.labelled.false_rejects <= (1 if ceiling else 2)
    assert (limits.false_reject_rate, limits.guaranteed_rate) == (ceiling or 1.0, 1.0)
    assert limits.confident_rate == uniform_bound(50, limits.labelled.false_rejects)
    with Inspector.open(tmp_path / "new.diffad", threads=1) as inspector:
        images = [cv2.imread(str(path)) for path in (root / layout / "scratch").iterdir()]
        verdicts = [inspector.inspect(image).verdict.value for image in images]  # type: ignore[arg-type]
    assert verdicts.count("NG") == limits.labelled.found


def test_labelled_files_that_cannot_be_read(tiny_bundle: Path, good: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root / "scratch", [frame(1, 60), frame(2, 60)])
    (root / "scratch" / "bad.png").write_bytes(b"")
    refused(tiny_bundle, good, r"1 labelled images cannot be read, the first: .*bad\.png", labelled=root)
