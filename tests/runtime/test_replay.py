"""Replay: what was judged comes out the same to the last bit, and what does not is named."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_runtime import DecisionRules, FakeEngine, Inspector
from diffad_runtime.archive import ImageArchive
from diffad_runtime.archive.reading import sessions_of
from diffad_runtime.delivery import Delivery
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.replay import COMPARED, ReplayReport, replay
from diffad_runtime.result import Image, Verdict
from diffad_runtime.sources import open_source

RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=9))
DIGEST = "ab" * 32


def _inspector(rules: DecisionRules = RULES, digest: str = DIGEST, **options: object) -> Inspector:
    return Inspector(FakeEngine(32, **options), rules, bundle_digest=digest)  # type: ignore[arg-type]


def _image(number: int) -> Image:
    """Every third one, from the first, has a black spot and is NG."""
    image = np.random.default_rng(number).integers(110, 146, (90, 120, 3), dtype=np.uint8)
    if number % 3 == 0:
        image[30:60, 40:80] = number % 100
    return image if number % 4 else np.ascontiguousarray(image[..., 0])


def _archive(folder: Path, inspector: Inspector, length: int = 12) -> Path:
    delivery = Delivery([ImageArchive(folder, keep_ok=2)], wait=True)
    with open_source("synthetic://line?fps=0&count=1") as source:
        template = next(source)
    for number in range(length):
        frame = dataclasses.replace(template, image=_image(number), frame_id=number, truth=None)
        delivery.put(frame, inspector.judge(frame, f"part {number}"))
    delivery.close()
    assert delivery.faults == []
    return folder


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def test_the_same_bundle_gives_the_same_bits(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector())
    done: list[int] = []
    report = replay(folder, _inspector(), on_frame=done.append)
    assert (report.records, report.compared, report.identical, report.errors) == (8, 8, 8, 0)
    assert (report.counts, report.differences, report.missing, report.corrupt, report.other) == ({}, [], [], [], {})
    assert report.same
    assert done == list(range(1, 9))
    assert replay(sessions_of(folder)[0], _inspector()) == report
    assert json.loads(json.dumps(report.to_json()))["same"] is True


def test_a_real_bundle(tmp_path: Path, tiny_bundle: Path) -> None:
    with Inspector.open(tiny_bundle, threads=1) as inspector:
        _archive(tmp_path, inspector)
    with Inspector.open(tiny_bundle, threads=1) as inspector:
        assert replay(tmp_path, inspector).same


def test_thresholds_of_the_run_are_put_in_force_and_taken_back(tmp_path: Path) -> None:
    loose = RULES.with_thresholds(image=float("inf"), pixel=0.1)
    folder = _archive(tmp_path, _inspector(loose))
    inspector = _inspector()
    assert replay(folder, inspector).same
    assert inspector.rules == RULES


def test_every_field_that_differs_is_named(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector())
    (session,) = sessions_of(folder)
    lines = [json.loads(line) for line in (session / "frames.jsonl").read_text().splitlines()]
    lines[0]["score"] = float(np.nextafter(lines[0]["score"], -1))  # one bit
    lines[1]["map_sha256"] = "0" * 64
    lines[2]["verdict"] = "OK"
    lines[3]["mask"] = lines[0]["mask"]
    lines[4]["defects"] = [{"area_px": 1, "box": [0, 0, 1, 1], "peak": 1.0, "centre": [0.5, 0.5], "region": ""}]
    lines[5]["regions"] = [{"region": "lid", "score": 1.0, "threshold": 0.5, "verdict": "NG"}]
    (session / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = replay(folder, _inspector())
    names = [list(difference.fields) for difference in report.differences]
    assert names == [["score"], ["map_sha256"], ["verdict"], ["mask"], ["defects"], ["regions"]]
    assert report.counts == dict.fromkeys(["score", "map_sha256", "verdict", "mask", "defects", "regions"], 1)
    assert (report.compared, report.identical, report.same) == (8, 2, False)
    assert report.differences[2].fields["verdict"] == ["OK", "NG"]
    recorded, now = report.differences[3].fields["mask"]
    assert recorded > now == 0
    assert set(COMPARED) >= set(report.counts)


def test_a_frame_that_can_no_longer_be_judged_differs(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector())
    report = replay(folder, _inspector(fails=lambda image: image.min() < 50))
    assert report.counts == {"verdict": 4}
    assert report.differences[0].fields["verdict"][1].startswith("ERROR: the fake engine fails")


def test_errors_are_counted_and_not_compared(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector(fails=lambda image: image.min() < 50))
    report = replay(folder, _inspector())
    assert (report.errors, report.compared, report.same) == (4, 4, True)


def test_another_bundle_is_refused_or_counted(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector())
    with pytest.raises(InputError, match=r"judged by bundle digest 'abab.*', this is 'cdcd.*--allow-other"):
        replay(folder, _inspector(digest="cd" * 32))
    report = replay(folder, _inspector(digest="cd" * 32), allow_other=True)
    assert report.other == {"bundle_digest": [DIGEST, "cd" * 32]}
    assert report.same
    other = _inspector()
    other.engine.variant = "fp16"
    with pytest.raises(InputError, match="judged by variant 'fake', this is 'fp16'"):
        replay(folder, other)


def test_missing_damaged_and_removed_frames(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector())
    pictures = _pictures(folder)
    for gone in (pictures[0], pictures[1], pictures[4]):  # two by limits, from the oldest; one by somebody
        gone.unlink()
    pictures[5].write_bytes(pictures[6].read_bytes())  # whole, but of another frame
    with (sessions_of(folder)[0] / "frames.jsonl").open("a") as lines:
        lines.write("{}\n{torn")
    report = replay(folder, _inspector())
    assert (report.records, report.compared, report.identical, report.removed) == (9, 4, 4, 2)
    assert report.missing == [f"{pictures[4].parent.name}/{pictures[4].name}"]
    assert len(report.corrupt) == 2
    assert "SHA-256 differs" in report.corrupt[0]
    assert report.counts == {"missing": 1, "corrupt": 2}
    assert not report.same


def test_an_archive_without_pictures_is_not_the_same(tmp_path: Path) -> None:
    folder = _archive(tmp_path, _inspector())
    for picture in _pictures(folder):
        picture.unlink()
    report = replay(folder, _inspector())
    assert (report.compared, report.same, report.counts) == (0, False, {"missing": 8})
    assert not ReplayReport().same
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no session"):
        replay(tmp_path / "empty", _inspector())


def test_the_picture_is_what_the_camera_gave(tmp_path: Path) -> None:
    """Grey stays grey: its size on the disk is a third."""
    folder = _archive(tmp_path, _inspector())
    read = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in _pictures(folder)]
    for number, image in zip([0, 1, 3, 4, 6, 7, 9, 10], read, strict=True):
        np.testing.assert_array_equal(image, _image(number))


def test_verdicts_are_both_there() -> None:
    """Else the comparisons above would hold of a judge that always says the same."""
    inspector = _inspector()
    assert {inspector.inspect(_image(number)).verdict for number in range(6)} == {Verdict.OK, Verdict.NG}
