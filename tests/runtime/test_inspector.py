"""Verdicts, usable and unusable frames, streams and closing, on the engine without a network."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from diffad_runtime import DecisionRules, FakeEngine, Frame, Inspector, Verdict
from diffad_runtime.errors import EngineError, InputError, SourceError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.result import SourceState
from diffad_runtime.sources import Shot, Source

GREY = np.full((48, 64, 3), 128, np.uint8)
RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=9), min_defect_pixels=4)


def _spotted() -> npt.NDArray[np.uint8]:
    image = GREY.copy()
    image[20:30, 40:52] = 0
    return image


def _inspector(**options: object) -> Inspector:
    return Inspector(FakeEngine(32, **options), RULES, bundle_digest="d" * 64)  # type: ignore[arg-type]


class Camera(Source):
    """Grey frames for ever, one each millisecond."""

    def __init__(self) -> None:
        super().__init__("test://camera", live=True, fps_hint=None)
        self.released = 0

    def _grab(self) -> Shot | None:
        return None if self._closing.wait(0.001) else Shot(GREY)

    def _release(self) -> None:
        self.released += 1


def test_good_and_bad_part() -> None:
    inspector = _inspector()
    good, bad = inspector.inspect(GREY, "A-1"), inspector.inspect(_spotted(), "A-2")
    assert (good.verdict, good.score, good.mask.max(), good.part_id) == (Verdict.OK, 0.0, 0, "A-1")
    assert (bad.verdict, bad.part_id, bad.error) == (Verdict.NG, "A-2", "")
    assert bad.score == pytest.approx(1.0)
    rows, columns = np.nonzero(bad.mask)
    assert (rows.mean(), columns.mean()) == (pytest.approx(24.5, abs=1.5), pytest.approx(45.5, abs=2))
    assert bad.anomaly_map.shape == (32, 32)
    assert list(bad.latency_ms) == ["resize", "extract", "reconstruct", "mask", "total"]
    stages = dict(bad.latency_ms)
    assert 0 < sum(stages.values()) - stages["total"] <= stages["total"]
    assert (good.frame_id, bad.frame_id) == (0, 1)
    assert bad.t_capture.utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert (bad.bundle_digest, bad.backend, bad.variant) == ("d" * 64, "fake", "fake")


def test_the_threshold_itself_is_ok() -> None:
    score = _inspector().inspect(_spotted()).score
    at = Inspector(FakeEngine(32), RULES.with_thresholds(image=score))
    below = Inspector(FakeEngine(32), RULES.with_thresholds(image=np.nextafter(score, 0)))
    assert (at.inspect(_spotted()).verdict, below.inspect(_spotted()).verdict) == (Verdict.OK, Verdict.NG)


def test_grey_equals_its_three_channels_and_frames_are_not_touched() -> None:
    inspector = _inspector()
    spotted = _spotted()
    before = spotted.copy()
    spotted.flags.writeable = False
    colour, grey = inspector.inspect(spotted), inspector.inspect(spotted[..., 0])
    np.testing.assert_array_equal(colour.anomaly_map, grey.anomaly_map)
    np.testing.assert_array_equal(colour.mask, grey.mask)
    np.testing.assert_array_equal(spotted, before)
    mirrored = inspector.inspect(spotted[:, ::-1])
    np.testing.assert_allclose(mirrored.anomaly_map, colour.anomaly_map[:, ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (GREY.astype(np.float32), "float32"),
        (GREY / 255.0, "float64"),
        (GREY.astype(np.uint16), "uint16"),
        (GREY[..., :2], r"\(48, 64, 2\)"),
        (np.dstack([GREY, GREY[..., 0]]), r"\(48, 64, 4\)"),
        (GREY[None], r"\(1, 48, 64, 3\)"),
        (GREY[:0], "empty"),
        (np.zeros(0, np.uint8), "shape"),
        ("frame.png", "is a str"),
        (None, "is a NoneType"),
    ],
)
def test_unusable_frames(frame: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        _inspector().inspect(frame)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_engine_failure_is_raised_by_inspect_and_judged_by_judge() -> None:
    inspector = _inspector(fails=lambda image: image.min() == 0)
    with pytest.raises(EngineError, match="as it was told to"):
        inspector.inspect(_spotted())
    frame = Frame(_spotted(), 7, 0.0, inspector.inspect(GREY).t_capture, name="a/b.png")
    result = inspector.judge(frame, "P")
    assert (result.verdict, result.frame_id, result.name, result.part_id) == (Verdict.ERROR, 7, "a/b.png", "P")
    assert np.isnan(result.score)
    assert np.isnan(result.anomaly_map).all()
    assert result.mask.shape == (48, 64)
    assert "as it was told to" in result.error
    assert list(result.latency_ms) == ["resize", "extract", "reconstruct", "mask", "total"]
    broken = Frame(GREY.astype(np.float32), 8, 0.0, frame.t_capture)  # type: ignore[arg-type]
    assert "float32" in inspector.judge(broken).error


def test_stream_of_a_folder_survives_failing_frames(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, image in (("a.png", GREY), ("b.png", _spotted()), ("deep/c.png", GREY)):
        cv2.imwrite(str(tmp_path / name), image)
    results = list(_inspector().stream(f"dir://{tmp_path}"))
    assert [(result.name, result.verdict) for result in results] == [
        ("a.png", Verdict.OK),
        ("b.png", Verdict.NG),
        ("deep/c.png", Verdict.OK),
    ]
    failing = _inspector(fails=lambda image: image.min() == 0)
    assert [result.verdict for result in failing.stream(f"dir://{tmp_path}")] == ["OK", "ERROR", "OK"]


def test_an_unknown_uri_fails_at_once() -> None:
    with pytest.raises(SourceError):
        _inspector().stream("nonsense://x")


def test_close_ends_a_stream_from_another_thread() -> None:
    inspector, camera = _inspector(), Camera()
    seen = threading.Event()
    ended = threading.Event()

    def consume() -> None:
        for _ in inspector.stream(camera):
            seen.set()
        ended.set()

    threading.Thread(target=consume, daemon=True).start()
    assert seen.wait(5)
    inspector.close()
    inspector.close()
    assert ended.wait(5)
    assert camera.released
    with pytest.raises(EngineError, match="closed"):
        inspector.inspect(GREY)
    with pytest.raises(EngineError, match="closed"):
        inspector.stream(late := Camera())
    assert late.released


def test_a_stream_left_early_or_never_begun_closes_its_source() -> None:
    with _inspector() as inspector:
        left, never = Camera(), Camera()
        for _ in inspector.stream(left):
            break
        unused = inspector.stream(never)
    deadline = time.monotonic() + 5
    while not (left.released and never.released) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left.released
    assert never.released
    assert list(unused) == []


def test_threads_may_share_an_inspector() -> None:
    inspector = _inspector()
    expected = inspector.inspect(_spotted()).anomaly_map
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            if not np.array_equal(inspector.inspect(_spotted()).anomaly_map, expected):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert inspector.inspect(GREY).frame_id == 61


def test_import_is_lazy_and_complete() -> None:
    code = (
        "import sys, diffad_runtime\n"
        "heavy = {'cv2', 'numpy', 'pydantic', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in diffad_runtime.__all__: getattr(diffad_runtime, name)\n"
        "assert not {'torch', 'onnx', 'tensorrt'} & set(sys.modules)\n"
        "assert set(diffad_runtime.__all__) == set(diffad_runtime._HOME_OF) == set(dir(diffad_runtime))\n"
        "try: diffad_runtime.nothing\n"
        "except AttributeError: print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("fine", "")


def _recipes(folder: Path, **thresholds: float) -> Path:
    for index, (name, threshold) in enumerate(thresholds.items()):
        (folder / f"{name}.toml").write_text(
            f'version = 1\nname = "{name}"\nindex = {index}\n[[regions]]\nname = "all"\nimage_threshold = {threshold}\n'
        )
    return folder


def test_a_recipe_by_name_by_index_and_the_one_in_force(tiny_bundle: Path, tmp_path: Path) -> None:
    recipes = _recipes(tmp_path, strict=-1.0, lenient=1000.0)
    grey = np.full((64, 64, 3), 128, np.uint8)
    with Inspector.open(tiny_bundle, recipes=recipes, recipe="lenient") as inspector:
        assert [inspector.inspect(grey, "", key).verdict.value for key in ("strict", "lenient", 0, 1, "1", None)] == [
            *("NG", "OK", "NG", "OK", "OK", "OK")
        ]
        result = inspector.inspect(grey, "p", 0)
        assert (result.recipe, result.regions[0].threshold, result.image_threshold) == ("strict", -1.0, -1.0)
        with pytest.raises(InputError, match="no recipe 7"):
            inspector.inspect(grey, "", 7)
        inspector.recipe = "strict"
        assert inspector.inspect(grey).verdict is Verdict.NG
    with (
        Inspector.open(tiny_bundle, recipes=recipes) as inspector,
        pytest.raises(InputError, match="no recipe was named"),
    ):
        inspector.inspect(grey)


def test_recipes_that_cannot_be_used_are_refused_at_the_start(tiny_bundle: Path, tmp_path: Path) -> None:
    recipes = _recipes(tmp_path, plate=1.0)
    with pytest.raises(InputError, match="no recipe 'disc'"):
        Inspector.open(tiny_bundle, recipes=recipes, recipe="disc")
    with pytest.raises(InputError, match="none were loaded"):
        Inspector.open(tiny_bundle, recipe="plate")
    (recipes / "other.toml").write_text('version = 1\nname = "other"\n[bundle]\nmodel_id = "gear"\n')
    with pytest.raises(InputError, match="gear"):
        Inspector.open(tiny_bundle, recipes=recipes, recipe="plate")


def test_a_stream_gives_error_for_a_frozen_picture_and_for_another_size() -> None:
    class Ill(Source):
        def _grab(self) -> Shot | None:
            time.sleep(0.02)
            shots = [Shot(GREY), Shot(GREY, state=SourceState.STALLED), Shot(GREY[:20]), Shot(GREY)]
            return shots[self._next_id] if self._next_id < len(shots) else None

        def _release(self) -> None:
            pass

    with _inspector() as inspector:
        results = list(inspector.stream(Ill("test://ill", live=True, fps_hint=None)))
    assert [result.verdict.value for result in results] == ["OK", "ERROR", "ERROR", "OK"]
