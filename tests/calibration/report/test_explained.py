"""The explained section: every picture that it names exists and is the right one, and the words fit the numbers."""

import html.parser
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_calibration.report import ReportData, write_report
from diffad_calibration.report.explained import COLUMNS, Explanation, Strip, StripFrame, explained_context
from diffad_runtime.result import Image

SIDE = 48


def grey(level: int) -> Image:
    return np.full((SIDE, SIDE, 3), level, np.uint8)


def strip(kind: str = "gradient", count: int = 3) -> Strip:
    frames = (
        StripFrame(grey(60 + 10 * i), "image" if i == 0 else f"step {i}", 9.25 - i, 20.0 - i if i else None)
        for i in range(count)
    )
    return Strip(kind, tuple(frames))  # type: ignore[arg-type]


def explanation(kind: str = "scratch", name: str = "scratch/a.png") -> Explanation:
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[10:20, 10:20] = 255
    maps = np.zeros((12, 12), np.float32)
    maps[3:5, 3:5] = 8.0
    return Explanation(
        name=name,
        kind=kind,
        image=grey(120),
        truth=None if kind == "good" else truth,
        noised=grey(33),
        reconstruction=grey(77),
        pixel=maps,
        feature=maps,
        fused=maps,
        score=9.25,
        timestep=201,
        strips=(strip(), strip("ddim", 2), strip("ancestral", 2)),
        seconds=5.6,
    )


class Page(html.parser.HTMLParser):
    """Images and links with their attributes, text, and whatever was opened and never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            self.images.append(values)
        if tag == "a":
            self.links.append(str(values.get("href")))
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag not in {"img", "meta", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))


def written(folder: Path, *explanations: Explanation) -> tuple[Page, Path, str]:
    index = write_report(folder / "report", ReportData(title="T", explained=explained_context(explanations)))
    text = index.read_text(encoding="utf-8")
    return Page(text), index.parent, text


def test_every_picture_exists_has_words_and_its_stated_size(tmp_path: Path) -> None:
    page, folder, text = written(tmp_path, explanation(), explanation("good", "good/<b>.png"))
    # 7 columns, the good part has no truth; 3 + 2 + 2 frames each
    assert len(page.images) == 7 + 6 + 2 * 7
    for image in page.images:
        pixels = cv2.imread(str(folder / str(image["src"])))
        assert pixels.shape[:2] == (int(str(image["height"])), int(str(image["width"])))
        assert str(image["alt"]).startswith(("scratch/a.png, scratch", "good/<b>.png, good"))
        assert image["src"] in page.links
    assert len({image["alt"] for image in page.images}) == len(page.images)
    assert "<b>.png" not in text
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert "#explained" in page.links


def test_pictures_show_what_their_names_say() -> None:
    section = explained_context([explanation()])
    assert section is not None
    row = section.rows[0]

    def mean(name: str) -> float:
        return float(cv2.imdecode(np.frombuffer(section.pictures[name], np.uint8), cv2.IMREAD_COLOR).mean())

    assert mean(row["files"]["noised"]) == 33
    assert mean(row["files"]["reconstruction"]) == 77
    assert mean(row["files"]["image"]) == 120
    assert mean(row["files"]["truth"]) == pytest.approx(255 * 100 / SIDE**2, rel=0.02)
    assert [mean(frame["file"]) for frame in row["strips"][0]["frames"]] == [60, 70, 80]
    assert set(row["files"]) == {key for key, _, _ in COLUMNS}


def test_numbers_stand_under_their_pictures_and_only_where_there_are_any(tmp_path: Path) -> None:
    page, _, _ = written(tmp_path, explanation())
    assert "score 9.25" in page.words
    assert "step 1" in page.words
    assert "distance 19.0" in page.words
    bare = replace(explanation(), strips=(Strip("ddim", (StripFrame(grey(1), "t = 100"),)),))
    page, _, text = written(tmp_path, bare)
    assert "t = 100" in page.words
    assert not any(word.startswith("distance ") for word in page.words)
    assert "None" not in text
    assert "Gradient denoising" not in page.words  # no strip of it, no explanation of it
    assert "Reverse chain, DDIM" in page.words


def test_the_page_says_how_long_an_image_took_and_for_which_category(tmp_path: Path) -> None:
    one = replace(explanation(), category="screws")
    page, _, _ = written(tmp_path, one, replace(one, seconds=9.0), replace(one, seconds=7.2))
    assert any("7 s an image" in word for word in page.words)
    assert page.words.count("screws") == 3


def test_pictures_are_added_to_those_of_the_page() -> None:
    pictures = {"000-image.png": b"there before"}
    section = explained_context([explanation()], pictures)
    assert section is not None
    assert pictures == {"000-image.png": b"there before", **section.pictures}
    assert "000-image.png" not in section.pictures


def test_nothing_to_explain_gives_no_section(tmp_path: Path) -> None:
    assert explained_context([]) is None
    page, _, text = written(tmp_path)
    assert 'id="explained"' not in text
    assert page.images == []


def test_large_frames_keep_their_size_and_small_ones_are_enlarged() -> None:
    large = replace(explanation(), noised=np.zeros((300, 300, 3), np.uint8), strips=())
    section = explained_context([large])
    assert section is not None
    shapes = {
        key: cv2.imdecode(np.frombuffer(section.pictures[name], np.uint8), cv2.IMREAD_COLOR).shape[0]
        for key, name in section.rows[0]["files"].items()
    }
    assert shapes["noised"] == 300
    assert shapes["reconstruction"] == 6 * SIDE
