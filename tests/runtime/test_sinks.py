"""What the sinks write, where, and that they never write anywhere else."""

import dataclasses
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.result import Defect, Frame, RegionScore, Result, Verdict
from diffad_runtime.rle import decode
from diffad_runtime.sinks import (
    CallbackSink,
    JsonlSink,
    MaskSink,
    OverlayPictures,
    OverlayVideo,
    RawSink,
    Retention,
    Sink,
    draw_overlay,
    open_overlay,
)
from diffad_runtime.sinks.outputfolder import OutputFolder
from diffad_runtime.sinks.overlay import heat

WHEN = datetime(2026, 11, 24, 8, 0, 0, 250_000, timezone.utc)


def _frame(number: int = 0, name: str = "", shape: tuple[int, int] = (48, 64)) -> Frame:
    return Frame(np.full((*shape, 3), 90, np.uint8), number, 0.0, WHEN, name=name)


def _result(frame: Frame, verdict: Verdict = Verdict.NG, **changes: object) -> Result:
    height, width = frame.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    anomaly = np.zeros((16, 16), np.float32)
    if verdict is Verdict.NG:
        mask[10:20, 30:44] = 255
        anomaly[4:6, 8:11] = 1.5
    result = Result(
        frame_id=frame.frame_id,
        t_capture=frame.t_capture,
        score=0.75,
        verdict=verdict,
        mask=mask,
        anomaly_map=anomaly,
        latency_ms={"resize": 0.5, "total": 2.0},
        bundle_digest="d" * 64,
        variant="int8",
        backend="onnxruntime",
        image_threshold=0.5,
        pixel_threshold=0.8,
        name=frame.name,
    )
    if verdict is Verdict.ERROR:
        changes = {
            "score": float("nan"),
            "anomaly_map": np.full((16, 16), np.nan, np.float32),
            "error": "it broke",
            **changes,
        }
    return dataclasses.replace(result, **changes)  # type: ignore[arg-type]


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_masks_are_named_after_files_or_numbers(tmp_path: Path) -> None:
    sink = MaskSink(tmp_path / "out")
    for frame in (_frame(3), _frame(0, "crack/001.jpg"), _frame(1, "b.tar.bmp")):
        sink.write(frame, _result(frame))
        read = cv2.imread(sink.path_of(frame, _result(frame)), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read, _result(frame).mask)
    sink.close()
    assert _files(tmp_path) == {"out/00000003.png", "out/crack/001.png", "out/b.tar.png"}


@pytest.mark.parametrize("kind", [MaskSink, RawSink])
def test_an_error_leaves_no_file_and_no_old_one(tmp_path: Path, kind: type[MaskSink | RawSink]) -> None:
    sink = kind(tmp_path)
    frame = _frame(0, "a.png")
    sink.write(frame, _result(frame))
    assert len(_files(tmp_path)) == 1
    sink.write(frame, _result(frame, Verdict.ERROR))
    sink.write(frame, _result(frame, Verdict.ERROR))
    assert _files(tmp_path) == set()


def test_two_files_never_share_one_output(tmp_path: Path) -> None:
    sink = MaskSink(tmp_path)
    sink.write(_frame(0, "a.jpg"), _result(_frame(0, "a.jpg")))
    with pytest.raises(InputError, match=r"'a\.png' and 'a\.jpg' would both"):
        sink.write(_frame(1, "a.png"), _result(_frame(1, "a.png")))


NASTY = ["/etc/x", "../x", "a/../../x", "a/..", "..", ".", "", "a\0b", "link/x.png", "link/deeper/x.png"]


@pytest.mark.parametrize("name", [name for name in NASTY if name])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "inside"
    folders = [OutputFolder(inside, ".png", replace=replace) for replace in (True, False)]
    (inside / "link").symlink_to(outside)
    for folder in folders:
        with pytest.raises(InputError, match="leads out of the output folder"):
            folder.path_of(_frame(0, name))
    assert _files(tmp_path) == set()
    assert list(outside.iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab./\\~: -\0", max_size=20), st.booleans())
def test_whatever_the_name_the_path_is_inside(
    tmp_path_factory: pytest.TempPathFactory, name: str, replace: bool
) -> None:
    root = tmp_path_factory.getbasetemp() / "inside"
    folder = OutputFolder(root, ".png", replace=replace)
    try:
        path = folder.path_of(_frame(0, name))
    except InputError:
        return
    assert Path(path).resolve().is_relative_to(root.resolve())
    assert Path(path).resolve() != root.resolve()
    assert path.endswith(".png")


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    sink = MaskSink(tmp_path / "out")
    (tmp_path / "out" / "a.png").symlink_to(victim)
    sink.write(_frame(0, "a.png"), _result(_frame(0, "a.png")))
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "out" / "a.png").is_symlink()


def test_raw_maps_are_float32_in_frame_coordinates(tmp_path: Path) -> None:
    sink = RawSink(tmp_path)
    frame = _frame(0, "crack/001.png")
    sink.write(frame, _result(frame))
    read: npt.NDArray[np.float32] = np.load(tmp_path / "crack" / "001.png.npy", allow_pickle=False)
    assert (read.dtype, read.shape) == (np.float32, (48, 64))
    assert read[14, 37] == pytest.approx(1.5)
    assert read[40, 5] == 0
    assert _files(tmp_path) == {"crack/001.png.npy"}


def test_lines_hold_every_field_of_a_result(tmp_path: Path) -> None:
    masks = MaskSink(tmp_path / "masks")
    sink = JsonlSink(tmp_path / "deep" / "results.jsonl", masks)
    frames = [_frame(0, "a.png"), _frame(1, "b.png"), _frame(2, "c.png")]
    verdicts = [Verdict.NG, Verdict.OK, Verdict.ERROR]
    for count, (frame, verdict) in enumerate(zip(frames, verdicts, strict=True), start=1):
        sink.write(frame, _result(frame, verdict))
        written = (tmp_path / "deep" / "results.jsonl").read_text().splitlines()
        assert len(written) == count  # flushed at once
    sink.close()
    sink.close()
    ng, ok, error = (json.loads(line, parse_constant=pytest.fail) for line in written)
    expected = {field.name for field in dataclasses.fields(Result)} - {"mask", "anomaly_map"}
    assert set(ng) == expected | {"mask_path", "mask_pixels", "anomaly_max"}
    assert (ng["verdict"], ng["score"], ng["mask_pixels"], ng["anomaly_max"]) == ("NG", 0.75, 140, 1.5)
    assert ng["mask_path"] == str(tmp_path / "masks" / "a.png")
    assert datetime.fromisoformat(ng["t_capture"]) == WHEN
    assert ng["latency_ms"] == {"resize": 0.5, "total": 2.0}
    assert (ok["verdict"], ok["mask_pixels"]) == ("OK", 0)
    assert (error["verdict"], error["score"], error["error"]) == ("ERROR", None, "it broke")
    assert (error["mask_path"], error["mask_pixels"], error["anomaly_max"]) == (None, None, None)


def test_lines_without_masks(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "r.jsonl") as sink:
        sink.write(_frame(), _result(_frame(), extra={"x": float("inf")}))
    (line,) = (tmp_path / "r.jsonl").read_text().splitlines()
    assert (json.loads(line)["mask_path"], json.loads(line)["extra"]) == (None, {"x": None})


def test_lines_hold_defects_regions_triggers_and_masks(tmp_path: Path) -> None:
    defect = Defect(140, (30, 10, 14, 10), np.float32(1.5), (37.0, 15.0), "lid")  # type: ignore[arg-type]
    region = RegionScore("lid", float("nan"), 0.5, Verdict.ERROR)
    result = _result(_frame(), defects=(defect,), regions=(region,), t_trigger=WHEN, recipe="box")
    with JsonlSink(tmp_path / "r.jsonl", masks="rle") as sink:
        sink.write(_frame(), result)
        sink.write(_frame(), _result(_frame(), Verdict.ERROR))
    judged, error = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert judged["defects"] == [
        {"area_px": 140, "box": [30, 10, 14, 10], "peak": 1.5, "centre": [37.0, 15.0], "region": "lid"}
    ]
    assert judged["regions"] == [{"region": "lid", "score": None, "threshold": 0.5, "verdict": "ERROR"}]
    assert datetime.fromisoformat(judged["t_trigger"]) == WHEN
    assert judged["recipe"] == "box"
    np.testing.assert_array_equal(decode(judged["mask_rle"]), result.mask)
    assert (error["mask_rle"], error["t_trigger"], error["defects"]) == (None, None, [])


def test_a_second_run_appends_and_overwrites_only_when_told(tmp_path: Path) -> None:
    for number in range(2):
        with JsonlSink(tmp_path / "r.jsonl") as sink:
            sink.write(_frame(number), _result(_frame(number)))
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame_id"] for line in lines] == [0, 1]
    with JsonlSink(tmp_path / "r.jsonl", overwrite=True) as sink:
        sink.write(_frame(7), _result(_frame(7)))
    (line,) = (tmp_path / "r.jsonl").read_text().splitlines()
    assert json.loads(line)["frame_id"] == 7


def test_a_function_is_a_sink() -> None:
    seen: list[tuple[int, Verdict]] = []
    with CallbackSink(lambda frame, result: seen.append((frame.frame_id, result.verdict)), "list") as sink:
        sink.write(_frame(3), _result(_frame(3)))
    assert (sink.name, seen) == ("list", [(3, Verdict.NG)])
    assert CallbackSink(_result).name == "callback _result"


PARTS = ["", "A1", "../../x", "a/b", "a_b", "a\0b", "x" * 300, "Gerät 7", "\ud800", ".", "..", "-rf", "a\nb"]


@pytest.mark.parametrize("kind", [MaskSink, OverlayPictures])
def test_a_cameras_files_are_never_overwritten_whatever_the_part(
    tmp_path: Path, kind: type[MaskSink | OverlayPictures]
) -> None:
    """Frame numbers start again with each run; here even the times do."""
    for _ in range(2):
        with kind(tmp_path / "out", live=True, retention=Retention(max_bytes=10**8)) as sink:
            for part in PARTS:
                sink.write(_frame(5), _result(_frame(5), part_id=part))
    files = {name for name in _files(tmp_path) if not name.endswith(("/.diffad-output", "/.diffad-lock"))}
    assert len(files) == 2 * len(PARTS)
    assert len({name.rsplit("/", 1)[0] for name in files}) == 2
    assert {name.split("/")[0] for name in files} == {"out"}
    assert all(len(name.split("/")[-1].encode()) < 128 for name in files)


def test_a_cameras_masks_stay_within_limits_over_runs(tmp_path: Path) -> None:
    for run in range(3):
        with MaskSink(tmp_path, live=True, retention=Retention(max_bytes=20 * 4096)) as sink:
            for number in range(12):
                when = WHEN + timedelta(seconds=run * 100 + number)
                frame = dataclasses.replace(_frame(number), t_capture=when)
                sink.write(frame, _result(frame))
                kept = sorted(path.name for path in tmp_path.rglob("*.png"))
                assert kept[-1].startswith(f"{when:%Y%m%dT%H%M%S}")
            keeper = sink._output._keeper
            assert keeper is not None
            assert keeper.counted.wait(10)  # what earlier runs left is counted on a thread
    kept = list(tmp_path.rglob("*.png"))
    assert 5 <= len(kept) <= 20
    assert len(list(tmp_path.glob("2*"))) == 2  # the first run's folder went with its last mask


def test_one_camera_to_a_folder(tmp_path: Path) -> None:
    with (
        MaskSink(tmp_path, live=True),
        pytest.raises(InputError, match="being written to by another run or sink"),
    ):
        MaskSink(tmp_path, live=True)
    MaskSink(tmp_path, live=True).close()


def test_places_that_cannot_be_written_fail_when_opened(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    openings = [
        lambda: MaskSink(blocked / "m"),
        lambda: RawSink(blocked / "m"),
        lambda: JsonlSink(blocked / "r.jsonl"),
        lambda: JsonlSink(tmp_path),
        lambda: OverlayPictures(blocked),
        lambda: OverlayVideo(blocked / "v.avi"),
        lambda: open_overlay(tmp_path / "v.gif"),
    ]
    for opening in openings:
        with pytest.raises(InputError) as caught:
            opening()
        assert "\n" not in str(caught.value)
    assert _files(tmp_path) == {"file"}


def test_heat_hangs_on_the_threshold() -> None:
    np.testing.assert_allclose(heat(np.float32([-1, 0, 0.5, 1, 2, 9]), 1.0), [0, 0, 0.25, 0.5, 1, 1])
    np.testing.assert_allclose(heat(np.float32([-6, -4, -2, 0, 1]), -2.0), [0, 0, 0.5, 1, 1])
    assert np.isfinite(heat(np.float32([-1, 0, 1]), 0.0)).all()


def test_overlay_is_hot_where_the_map_is_and_leaves_the_frame_alone() -> None:
    frame = _frame(0, shape=(480, 640))
    anomaly = np.zeros((16, 16), np.float32)
    anomaly[8:12, 8:12] = 1.6
    result = _result(frame, Verdict.OK, anomaly_map=anomaly)
    picture = draw_overlay(frame.image, result)
    assert (picture.dtype, picture.shape) == (np.uint8, (480, 640, 3))
    assert np.abs(picture[300, 400].astype(int) - 90).max() > 40
    np.testing.assert_array_equal(picture[440, 100], [90, 90, 90])
    assert (frame.image == 90).all()
    mask = np.zeros((480, 640), np.uint8)
    mask[200:260, 100:180] = 255
    with_mask = draw_overlay(frame.image, _result(frame, Verdict.NG, mask=mask))
    assert (with_mask[200, 100:180] == 255).all()
    assert (with_mask[225:235, 120:160] < 255).all()
    for verdict in Verdict:  # grey and tiny frames are drawn as well
        assert draw_overlay(frame.image[..., 0], _result(frame, verdict)).shape == (480, 640, 3)
        assert draw_overlay(_frame(shape=(3, 5)).image, _result(_frame(shape=(3, 5)), verdict)).shape == (3, 5, 3)


def _play(path: Path) -> list[tuple[int, ...]]:
    capture = cv2.VideoCapture(str(path))
    shapes = []
    while True:
        got, image = capture.read()
        if not got:
            return shapes
        shapes.append(image.shape)


@pytest.mark.parametrize("name", ["out.avi", "out.mp4"])
def test_overlay_video_appears_when_closed(tmp_path: Path, name: str) -> None:
    sink: Sink = open_overlay(tmp_path / "deep" / name, fps=10)
    for number in range(5):
        frame = _frame(number, shape=(96, 128) if number < 3 else (48, 64))
        sink.write(frame, _result(frame))
        assert not (tmp_path / "deep" / name).exists()
    sink.close()
    sink.close()
    assert _files(tmp_path) == {f"deep/{name}"}
    assert _play(tmp_path / "deep" / name) == [(96, 128, 3)] * 5


def test_overlay_video_without_frames_leaves_nothing(tmp_path: Path) -> None:
    with open_overlay(tmp_path / "out.avi"):
        pass
    assert _files(tmp_path) == set()


def test_overlay_pictures(tmp_path: Path) -> None:
    with open_overlay(tmp_path / "pictures") as sink:
        sink.write(_frame(4), _result(_frame(4)))
        sink.write(_frame(5, "x/y.png"), _result(_frame(5, "x/y.png"), Verdict.ERROR))
    assert _files(tmp_path / "pictures") == {"00000004.jpg", "x/y.jpg"}
    assert cv2.imread(str(tmp_path / "pictures" / "x" / "y.jpg")).shape == (48, 64, 3)
