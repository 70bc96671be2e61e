"""What the archive keeps, in which form, under which names, and what a crash or a limit leaves of it."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.archive import ImageArchive, Record
from diffad_runtime.archive.reading import read_frame, records_of, sessions_of
from diffad_runtime.archive.session import FILES
from diffad_runtime.errors import DataError, ImageError, InputError
from diffad_runtime.result import Defect, Frame, RegionScore, Result, Verdict
from diffad_runtime.rle import decode
from diffad_runtime.sinks import Retention

NOW = 1795774500.0  # 2026-11-27 10:15:00 UTC
WHEN = datetime(2026, 11, 27, 10, 15, 0, 250_000, timezone.utc)
PARTS = ["", "A1", "../../x", "a/b", "a_b", "a\0b", "x" * 300, "Gerät 7", "\ud800", ".", "..", "-rf", "a\nb", "a\tb"]


def _pair(number: int, verdict: Verdict = Verdict.NG, **changes: object) -> tuple[Frame, Result]:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    error = verdict is Verdict.ERROR
    mask = np.where(rng.random((24, 32)) > 0.5, np.uint8(255), np.uint8(0))
    result = Result(
        frame_id=number,
        t_capture=WHEN,
        score=float("nan") if error else float(rng.normal()),
        verdict=verdict,
        mask=np.zeros_like(mask) if error else mask,
        anomaly_map=np.full((8, 8), np.nan, np.float32) if error else rng.normal(size=(8, 8)).astype(np.float32),
        latency_ms={"total": 0.1},
        bundle_digest="d" * 64,
        variant="int8",
        backend="onnxruntime",
        image_threshold=0.5,
        pixel_threshold=float("inf"),
        error="it broke" if error else "",
    )
    return Frame(image, number, 0.0, WHEN), dataclasses.replace(result, **changes)  # type: ignore[arg-type]


def _pictures(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix in {".png", ".bmp"})


def _records(root: Path) -> list[Record]:
    found = [record for session in sessions_of(root) for record in records_of(session)]
    assert all(isinstance(record, Record) for record in found)
    return [record for record in found if isinstance(record, Record)]


@pytest.mark.parametrize(("keep_ok", "expected"), [(1, range(10)), (4, (0, 4, 8)), (100, (0,)), (0, ())])
def test_ng_and_error_always_and_one_in_n_good(tmp_path: Path, keep_ok: int, expected: tuple[int, ...]) -> None:
    with ImageArchive(tmp_path, keep_ok=keep_ok) as archive:
        for number in range(10):
            archive.write(*_pair(number, Verdict.OK))
            archive.write(*_pair(100 + number, Verdict.NG))
            archive.write(*_pair(200 + number, Verdict.ERROR))
    kept = {verdict: [r.frame_id for r in _records(tmp_path) if r.verdict is verdict] for verdict in Verdict}
    assert kept[Verdict.OK] == list(expected)
    assert kept[Verdict.NG] == list(range(100, 110))
    assert kept[Verdict.ERROR] == list(range(200, 210))
    assert len(_pictures(tmp_path)) == len(_records(tmp_path))


def test_a_long_row_of_errors_does_not_push_out_what_was_found(tmp_path: Path) -> None:
    with ImageArchive(tmp_path) as archive:
        for number in range(105):
            archive.write(*_pair(number, Verdict.ERROR))
        archive.write(*_pair(500, Verdict.NG))
        archive.write(*_pair(501, Verdict.ERROR))
    assert [record.frame_id for record in _records(tmp_path)] == [*range(20), 39, 59, 79, 99, 500, 501]


@pytest.mark.parametrize("form", ["png", "bmp"])
@pytest.mark.parametrize("grey", [True, False])
def test_everything_comes_back_to_the_last_bit(tmp_path: Path, form: str, grey: bool) -> None:
    frame, result = _pair(7, part_id="A1", recipe="box", name="x.png", t_trigger=WHEN - timedelta(milliseconds=3))
    if grey:
        frame = dataclasses.replace(frame, image=frame.image[..., 0].copy())
    defect = Defect(3, (1, 2, 3, 4), 0.1 + 0.2, (1.5, 2.5), "lid")
    region = RegionScore("lid", 0.1, 0.5, Verdict.OK)
    result = dataclasses.replace(result, defects=(defect,), regions=(region,))
    with ImageArchive(tmp_path, form=form) as archive:  # type: ignore[arg-type]
        archive.write(frame, result)
    (session,) = sessions_of(tmp_path)
    assert sessions_of(session) == [session]
    (record,) = _records(tmp_path)
    assert record.file == f"000000_NG_20261127T101500.250000Z_A1.{form}"
    image = read_frame(session, record)
    assert image is not None
    np.testing.assert_array_equal(image, frame.image)
    assert record.mask is not None
    np.testing.assert_array_equal(decode(record.mask.model_dump()), result.mask)
    assert record.map_sha256 == hashlib.sha256(result.anomaly_map.tobytes()).hexdigest()
    assert (record.defects, record.regions) == (result.defects, result.regions)
    for name in ("score", "image_threshold", "pixel_threshold", "t_capture", "t_trigger", "part_id", "recipe", "name"):
        assert getattr(record, name) == getattr(result, name)
    json.loads((session / "frames.jsonl").read_text(), parse_constant=pytest.fail)  # JSON that anything reads


@settings(deadline=None)
@given(
    st.floats(allow_nan=False), st.floats(allow_nan=False), st.text(st.characters(exclude_categories=())), st.floats()
)
def test_lines_keep_every_number_and_text(score: float, threshold: float, text: str, latency: float) -> None:
    frame, result = _pair(0, score=score, image_threshold=threshold, part_id=text, error=text)
    record = Record.of(0, frame, dataclasses.replace(result, latency_ms={"total": latency}), None, None)
    line = record.to_line()
    assert "\n" not in line
    again = Record.parse(line.encode())
    assert again.to_line() == line
    assert (again.score, again.image_threshold) == (score, threshold)
    if text.encode("utf-8", "ignore").decode() == text:
        assert again.part_id == text


@pytest.mark.parametrize("part", PARTS)
def test_no_part_id_leads_out_or_breaks_a_name(tmp_path: Path, part: str) -> None:
    root = tmp_path / "archive"
    with ImageArchive(root) as archive:
        for number in range(2):
            archive.write(*_pair(number, part_id=part))
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}
    pictures = _pictures(root)
    assert [path.parent.parent for path in pictures] == [root] * 2
    assert all(FILES.fullmatch(path.name) for path in pictures)
    assert [record.frame_id for record in _records(root)] == [0, 1]


def test_a_frame_that_is_no_picture_has_a_line_alone(tmp_path: Path) -> None:
    frame, result = _pair(0, Verdict.ERROR)
    images = [np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), None]
    with ImageArchive(tmp_path) as archive:
        for image in images:
            archive.write(dataclasses.replace(frame, image=image), result)  # type: ignore[arg-type]
    assert [record.file for record in _records(tmp_path)] == [None] * 4
    assert _pictures(tmp_path) == []


def test_a_session_for_each_run_day_and_ten_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffad_runtime.archive.sink._MOST_FRAMES", 3)
    now = [NOW]
    for _ in range(2):
        with ImageArchive(tmp_path, wall=lambda: now[0]) as archive:
            for number in range(4):
                archive.write(*_pair(number))
            now[0] += 86400
            archive.write(*_pair(9))
    assert [(session.name, len(list(records_of(session)))) for session in sessions_of(tmp_path)] == [
        ("20261127T101500Z", 3),
        ("20261127T101500Z-001", 1),
        ("20261128T101500Z", 1),
        ("20261128T101500Z-001", 3),
        ("20261128T101500Z-002", 1),
        ("20261129T101500Z", 1),
    ]


def test_a_clock_that_jumps_mixes_no_sessions(tmp_path: Path) -> None:
    for now in (NOW, NOW + 3e9, NOW, 1000.0, NOW):  # 2026, 2121, back, 1970, back
        keep_all = Retention(max_bytes=10**9)
        with ImageArchive(tmp_path, wall=lambda now=now: now, retention=keep_all) as archive:  # type: ignore[misc]
            for number in range(3):
                archive.write(*_pair(number))
    sessions = sessions_of(tmp_path)
    assert [session.name[:4] for session in sessions] == ["1970", "2026", "2026", "2026", "2121"]
    assert [[r.seq for r in records_of(s) if isinstance(r, Record)] for s in sessions] == [[0, 1, 2]] * 5


def test_a_wrong_clock_clears_no_archive(tmp_path: Path) -> None:
    """Two pictures for each new one are all that a limit of age may cost."""
    with ImageArchive(tmp_path, wall=lambda: NOW) as archive:
        for number in range(40):
            archive.write(*_pair(number))
    with ImageArchive(tmp_path, wall=lambda: NOW + 3e9) as archive:
        assert archive.keeper.counted.wait(5)
        for number in range(3):
            archive.write(*_pair(number))
    assert len(_pictures(tmp_path)) == 40 - 6 + 3


def test_limits_hold_and_lines_tell_of_what_has_gone(tmp_path: Path) -> None:
    limit = 20 * 4096
    for _ in range(3):
        with ImageArchive(tmp_path, retention=Retention(max_bytes=limit)) as archive:
            assert archive.keeper.counted.wait(5)
            for number in range(15):
                archive.write(*_pair(number))
                files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".diffad-lock"]
                assert sum(-(-path.stat().st_size // 4096) * 4096 for path in files) <= limit
                assert f"/{_pictures(tmp_path)[-1].name}"[1:7] == f"{number:06d}"
    assert len(sessions_of(tmp_path)) <= 2
    for session in sessions_of(tmp_path):
        left = {path.name for path in _pictures(session)}
        named = [record.file for record in records_of(session) if isinstance(record, Record)]
        assert left == {name for name in named if name in left}
        assert named[len(named) - len(left) :] == sorted(left)


def test_limits_too_tight_for_one_frame_are_a_fault_each_time(tmp_path: Path) -> None:
    with ImageArchive(tmp_path, retention=Retention(max_bytes=4096)) as archive:
        for number in range(3):
            with pytest.raises(InputError, match="no room"):
                archive.write(*_pair(number))
    assert _pictures(tmp_path) == []


def test_a_line_that_cannot_be_written_takes_its_picture_along(tmp_path: Path) -> None:
    with ImageArchive(tmp_path) as archive:
        archive.write(*_pair(0))
        (session,) = sessions_of(tmp_path)
        (session / "frames.jsonl").rename(session / "away")
        (session / "frames.jsonl").mkdir()
        with pytest.raises(InputError):
            archive.write(*_pair(1))
        assert len(_pictures(tmp_path)) == 1
        (session / "frames.jsonl").rmdir()
        (session / "away").rename(session / "frames.jsonl")
        archive.write(*_pair(2))
    assert [record.frame_id for record in _records(tmp_path)] == [0, 2]
    assert len(_pictures(tmp_path)) == 2


def test_an_archive_cleared_away_meanwhile_begins_anew(tmp_path: Path) -> None:
    with ImageArchive(tmp_path / "a") as archive:
        archive.write(*_pair(0))
        (session,) = sessions_of(tmp_path / "a")
        session.rename(tmp_path / "elsewhere")
        archive.write(*_pair(1))
    assert [record.frame_id for record in _records(tmp_path / "a")] == [1]


def test_killed_at_any_time_pictures_and_lines_agree(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from test_archive import _pair\n"
        "from diffad_runtime.archive import ImageArchive\n"
        "archive = ImageArchive(sys.argv[1]); n = 0; pairs = [_pair(k) for k in range(20)]; print('on', flush=True)\n"
        "while True: archive.write(*pairs[n % 20]); n += 1"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    for round_ in range(4):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "on\n"
        time.sleep(0.1 + 0.037 * round_)
        child.kill()
        child.wait()
        child.stdout.close()
    assert len(sessions_of(tmp_path)) == 4
    for session in sessions_of(tmp_path):
        records = [record for record in records_of(session) if isinstance(record, Record)]
        assert records
        assert [record.seq for record in records] == list(range(len(records)))
        for record in records:
            assert read_frame(session, record) is not None  # whole: its SHA-256 was checked
        named = {record.file for record in records}
        assert (
            len([path for path in _pictures(session) if not path.name.startswith(".") and path.name not in named]) <= 1
        )
    with ImageArchive(tmp_path) as archive:
        assert archive.keeper.counted.wait(5)
    assert [path for path in tmp_path.rglob(".*") if ".tmp" in path.name] == []


def test_damage_is_seen_when_read(tmp_path: Path) -> None:
    with ImageArchive(tmp_path) as archive:
        for number in range(3):
            archive.write(*_pair(number))
    (session,) = sessions_of(tmp_path)
    first, second, third = _records(tmp_path)
    assert first.file is not None
    data = bytearray((session / first.file).read_bytes())
    data[60] ^= 1
    (session / first.file).write_bytes(data)
    with pytest.raises(ImageError, match="SHA-256 differs"):
        read_frame(session, first)
    (session / str(second.file)).unlink()
    assert read_frame(session, second) is None
    assert read_frame(session, third) is not None
    with (session / "frames.jsonl").open("a") as lines:
        lines.write('{"seq": 3}\n{"seq": 4, "fi')
    *_, foreign, torn = records_of(session)
    assert isinstance(foreign, DataError)
    assert "frames.jsonl line 4" in foreign.what
    assert torn is None


def test_a_line_cannot_name_a_file_elsewhere() -> None:
    line = json.loads(Record.of(0, *_pair(0), None, None).to_line())
    for name in ("../../etc/passwd", "/etc/passwd", "000000_NG_20261127T101500.250000Z_../x.png", "x.png"):
        with pytest.raises(DataError):
            Record.parse(json.dumps({**line, "file": name}).encode())


def test_places_that_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for opening in (
        lambda: sessions_of(tmp_path),
        lambda: sessions_of(tmp_path / "nothing"),
        lambda: sessions_of(tmp_path / "file"),
        lambda: ImageArchive(tmp_path / "file"),
        lambda: ImageArchive(tmp_path / "new", keep_ok=-1),
    ):
        with pytest.raises(InputError):
            opening()


def test_png_is_what_the_settings_say(tmp_path: Path) -> None:
    """Huffman only: a row's matches are not looked for, which is the time that is saved."""
    with ImageArchive(tmp_path) as archive:
        archive.write(*_pair(0))
    (picture,) = _pictures(tmp_path)
    frame, _ = _pair(0)
    default = cv2.imencode(".png", frame.image)[1].tobytes()
    assert picture.read_bytes()[:8] == default[:8]
    assert picture.stat().st_size < 1.2 * len(default)
