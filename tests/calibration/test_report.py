"""The report: what the page says, that it stands alone, and that the pictures show what the numbers say."""

import html.parser
import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import cv2
import numpy as np
import pytest

from diffad_calibration.report import (
    Category,
    Chart,
    ClassTable,
    Curve,
    Example,
    LeadRow,
    ModelRow,
    ReportData,
    ScoreHistogram,
    TimingRow,
    write_report,
)
from diffad_calibration.report.charts import chart_svg, legend
from diffad_calibration.report.histogram import histogram_svg
from diffad_calibration.report.pictures import draw, shared_scales
from diffad_calibration.report.tables import (
    UNDEFINED,
    detection_table,
    example_row,
    histogram_words,
    milliseconds,
    score_text,
    timing_rows,
)
from diffad_runtime.errors import DataError


def example(kind: str = "scratch", verdict: str = "NG", peak: float = 9.0, name: str = "a.png") -> Example:
    """A grey 60 x 40 frame with one square defect at rows 20-29, columns 10-19; maps of 30 x 20."""
    truth = np.zeros((60, 40), np.uint8)
    truth[20:30, 10:20] = 255
    small = np.zeros((30, 20), np.float32)
    small[10:15, 5:10] = peak
    image = np.full((60, 40, 3), 120, np.uint8)
    mask = truth if verdict == "NG" else np.zeros_like(truth)
    return Example(name, kind, image, None if kind == "good" else truth, small, small, small, mask, peak, 4.0, verdict)


def category(name: str = "tiles", *, drawn: bool = True) -> Category:
    rows = [
        ModelRow(
            "teacher", {"aupro_30": 0.91, "pixel_auroc": 0.97, "images": 20}, intervals={"aupro_30": (0.88, 0.93)}
        ),
        ModelRow("student <int8>", {"aupro_30": 0.9104, "pixel_auroc": None, "images": 20}, note="shipped"),
    ]
    x = np.linspace(0, 1, 30)
    curves = [Curve("teacher", x, np.sqrt(x)), Curve("student <int8>", x, x)]
    return Category(
        name=name,
        table=ClassTable(name, rows),
        facts=[("Images", "8 good, 12 defective")],
        charts=[Chart("image_roc", curves), Chart("pixel_roc", curves), Chart("pro", [])] if drawn else [],
        histograms=[
            ScoreHistogram("teacher", np.array([1.0, 2.0]), np.array([5.0, 6.0]), 3.0),
            ScoreHistogram("student <int8>", np.array([1.0, 2.0]), np.array([5.0, 6.0]), None),
        ]
        if drawn
        else [],
        examples=[example(), example("good", "OK", 0.5, "<b>.png")],
        misses=[replace(example("dent", "OK", 1.0, "miss.png"), remark="rank 1 of 12 defective parts from the lowest")],
    )


def report_data(names: tuple[str, ...] = ("tiles",), *, drawn: bool = True) -> ReportData:
    """Drawings take most of the time; tests that look at something else go without."""
    categories = [category(name, drawn=drawn) for name in names]
    return ReportData(
        title="Report & more",
        subtitle="sub",
        facts=[("Bundle digest", "ab" * 32)],
        first="teacher",
        interval_words="95 % bootstrap interval",
        macro=ClassTable("Mean", categories[0].table.rows) if len(names) > 1 else None,
        leads=[LeadRow("student <int8>", {"aupro_30": (-0.0004, -0.02, 0.01), "f1_max": (0.1, 0.05, 0.2)})],
        categories=categories,
        timings=[TimingRow("int8", 5.0, 6.0, 7.0, "2x faster"), TimingRow("fp32", 10.0, 11.0, 12.0)],
        warnings=["Only 20 images."],
    )


class Page(html.parser.HTMLParser):
    """Tags with their attributes, text, and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("names", [("tiles",), ("tiles", "<nuts>", "tiles")])
def test_page_stands_alone_and_every_picture_exists(names: tuple[str, ...], tmp_path: Path) -> None:
    index = write_report(tmp_path / "report", report_data(names, drawn=len(names) == 1))
    text = index.read_text(encoding="utf-8")
    page = Page(text)

    assert not page.of("script")
    outside = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if value and key in {"src", "href", "xlink:href"} and not value.startswith(("#", "pictures-", "data:,"))
    ]
    assert outside == []
    assert "@import" not in text
    assert "@font-face" not in text

    pictures = page.of("img")
    # three rows of five columns; the good part has no truth
    assert len(pictures) == 14 * len(names)
    assert len({picture["src"] for picture in pictures}) == len(pictures)
    for picture in pictures:
        pixels = cv2.imread(str(index.parent / str(picture["src"])))
        assert pixels is not None
        assert pixels.shape == (int(str(picture["height"])), int(str(picture["width"])), 3)
        assert picture["alt"]


@pytest.mark.parametrize("names", [("tiles",), ("tiles", "<nuts>")])
def test_page_is_accessible_and_escapes_what_it_is_given(names: tuple[str, ...], tmp_path: Path) -> None:
    text = write_report(tmp_path, report_data(names)).read_text(encoding="utf-8")
    page = Page(text)
    assert all(header.get("scope") for header in page.of("th"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [str(link["href"])[1:] for link in page.of("a") if str(link["href"]).startswith("#")]
    assert set(anchors) <= set(ids)
    assert page.of("html")[0]["lang"] == "en"
    assert "student <int8>" in page.words
    assert "student &lt;int8&gt;" in text
    assert "<b>.png" not in text
    assert "<nuts>" not in text
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels)), levels


def test_picture_columns_are_in_this_order(tmp_path: Path) -> None:
    text = write_report(tmp_path, report_data(drawn=False)).read_text(encoding="utf-8")
    headings = re.findall(r'role="columnheader">([^<]+)<', text)
    # the misses, then the typical parts
    assert headings == ["Image", "Truth", "Pixel KL", "Feature residual", "Fused map on the image"] * 2


def test_many_categories_are_folded_and_listed(tmp_path: Path) -> None:
    names = tuple(f"category {number}" for number in range(15))
    text = write_report(tmp_path, report_data(names, drawn=False)).read_text(encoding="utf-8")
    page = Page(text)
    folded = [attributes for attributes in page.of("details") if "open" not in attributes]
    # every category, and the overviews after the first
    assert len(folded) == 15 + 2
    assert len(page.of("summary")) == len(page.of("details"))
    targets = [str(link["href"]) for link in page.of("a") if str(link["href"]).startswith("#category-")]
    # the target lies inside its folded part: following the link opens it
    assert targets == [f"#category-{number}" for number in range(1, 16)]
    for number in range(1, 16):
        assert re.search(rf'</summary>\s*<div class="inside" id="category-{number}">', text)
    assert len(re.findall(r'<tr class="mean"><th scope="row">mean</th>', text)) == 3
    one = Page(write_report(tmp_path, report_data(drawn=False)).read_text(encoding="utf-8"))
    assert one.of("details") == []


def test_curves_intervals_and_differences_are_printed(tmp_path: Path) -> None:
    text = write_report(tmp_path, report_data()).read_text(encoding="utf-8")
    assert "<small>0.880 to 0.930</small>" in text
    assert "Small print: 95 % bootstrap interval." in text
    assert "teacher minus each other" in text
    assert "<small>−0.020 to +0.010</small>" in text
    assert "<strong>+0.100</strong>" in text
    headings = re.findall(r"<figcaption><strong>([^<]+)</strong>", text)
    assert headings == ["Image ROC", "Pixel ROC", "teacher", "student &lt;int8&gt;"]  # no PRO curve, no drawing
    assert "At a false positive rate of 0.05: teacher 0.22" in text
    assert "No threshold; 2 good and 2 defective parts." in text


def test_misses_and_false_alarms_have_sections_of_their_own(tmp_path: Path) -> None:
    text = write_report(tmp_path, report_data(drawn=False)).read_text(encoding="utf-8")
    misses, alarms, typical = (text.index(f'id="category-1-{part}"') for part in ("misses", "alarms", "examples"))
    assert misses < text.index("miss.png") < alarms < typical
    assert "rank 1 of 12 defective parts from the lowest" in text[misses:alarms]
    assert "No good part is rejected." in text[alarms:typical]


def test_what_explains_is_included_where_there_is_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffad_calibration.report import page as module

    plain = module._template
    mine = '<section id="explained">{{ explained.words }}<img src="pictures-unnamed/e.png" alt="e"></section>'
    monkeypatch.setattr(module, "_template", lambda name: mine if name == "explained.html.j2" else plain(name))
    data = report_data(drawn=False)
    data.explained = SimpleNamespace(words="<why>", pictures={"e.png": b"bytes"})
    index = write_report(tmp_path, data)
    text = index.read_text(encoding="utf-8")
    assert '<section id="explained">&lt;why&gt;' in text
    assert '<a href="#explained">' in text
    (picture,) = tmp_path.rglob("e.png")
    assert picture.read_bytes() == b"bytes"
    assert picture.relative_to(tmp_path).as_posix() in text
    assert 'id="explained"' not in write_report(tmp_path, report_data(drawn=False)).read_text(encoding="utf-8")


def test_same_data_same_bytes_and_a_new_report_replaces_the_old(tmp_path: Path) -> None:
    first = write_report(tmp_path / "a", report_data())
    second = write_report(tmp_path / "b", report_data())
    assert first.read_bytes() == second.read_bytes()

    (tmp_path / "b" / "notes.txt").write_text("mine")
    write_report(tmp_path / "b", ReportData("empty"))
    left = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert left == ["index.html", "notes.txt"]
    assert "<img" not in second.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the report"):
        write_report(tmp_path / "file", ReportData("x"))


def test_best_value_is_marked_as_printed_and_ties_share_it() -> None:
    table = detection_table(category().table)
    aupro = [row["cells"][0] for row in table["rows"]]
    assert [cell["text"] for cell in aupro] == ["0.910", "0.910"]
    assert [cell["best"] for cell in aupro] == [True, True]
    # one value only: nothing to compare
    auroc = [row["cells"][2] for row in table["rows"]]
    assert [(cell["text"], cell["best"]) for cell in auroc] == [("0.970", False), (UNDEFINED, False)]
    missing = table["rows"][0]["cells"][6]
    assert missing == {"text": UNDEFINED, "best": False, "interval": ""}


def test_only_the_largest_value_is_best() -> None:
    rows = [ModelRow(str(value), {"f1_max": value}) for value in (0.5, 0.75, 0.25)]
    cells = [row["cells"][6] for row in detection_table(ClassTable("c", rows))["rows"]]
    assert [cell["best"] for cell in cells] == [False, True, False]


def test_timing_bars_are_shares_of_the_slowest_median() -> None:
    assert [row["bar"] for row in timing_rows(report_data().timings)] == [50.0, 100.0]
    assert timing_rows([TimingRow("broken", float("nan"), 1, 1)])[0]["bar"] == 0.0
    assert [milliseconds(value) for value in (123.4, 12.34, 1.234)] == ["123", "12.3", "1.23"]


def test_outcome_words() -> None:
    def outcome(kind: str, verdict: str) -> str:
        return str(example_row(example(kind, verdict), {}, (60, 40, 3))["outcome"])

    assert outcome("scratch", "OK") == "missed defect"
    assert outcome("good", "NG") == "false reject"
    assert outcome("good", "OK") == outcome("scratch", "NG") == outcome("", "NG") == ""


def test_histogram_words_count_strictly_above_the_threshold() -> None:
    words = histogram_words(ScoreHistogram("m", np.array([1.0, 3.0, 4.0]), np.array([5.0, 2.0]), 3.0))
    assert words == "Threshold 3.00; 1 of 3 good parts rejected (33.3%); 1 of 2 defective parts caught (50.0%)."
    assert "no defective parts" in histogram_words(ScoreHistogram("m", np.ones(1), np.empty(0), 3.0))


def test_score_text_keeps_three_digits() -> None:
    values = (0.0, 0.01234, 1.2345, 12.345, 1234.5, 1.5e-7, float("nan"))
    assert [score_text(value) for value in values] == ["0", "0.0123", "1.23", "12.3", "1234", "1.50e-07", UNDEFINED]


@pytest.mark.parametrize("kind", ["image_roc", "pixel_roc", "pro"])
def test_charts_give_each_model_a_line_of_its_own(kind: Literal["image_roc", "pixel_roc", "pro"]) -> None:
    names = [f"model {number}" for number in range(5)]
    curves = [Curve(name, np.array([0.0, 0.3]), np.array([0.0, 0.1 * n])) for n, name in enumerate(names)]
    svg = chart_svg(Chart(kind, curves), names, element_id="c1")
    assert all(f"var(--series-{number})" in svg for number in range(1, 6))
    assert not re.search(r"#[01][0-9a-f][01][0-9a-f][01][0-9a-f]\b", svg)
    lines = legend(names)
    assert [line["number"] for line in lines] == [1, 2, 3, 4, 5]
    assert len({line["dash"] for line in lines}) == 5
    # a model that has no curve here keeps the others' lines as they are
    assert "var(--series-2)" not in chart_svg(Chart(kind, [curves[0], curves[2]]), names, element_id="c1")


@pytest.mark.parametrize(
    ("good", "defective"),
    [([1.0, 2.0], [3.0]), ([], [3.0]), ([1.0], []), ([], []), ([0.01, 1.0], [500.0]), ([2.0], [2.0]), ([-1.0], [1.0])],
)
def test_histograms_of_any_scores_draw(good: list[float], defective: list[float]) -> None:
    assert "<svg" in histogram_svg(ScoreHistogram("m", np.array(good), np.array(defective), None), element_id="h6")
    svg = histogram_svg(ScoreHistogram("m", np.array(good), np.array(defective), 2.0), element_id="h7")
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert "currentColor" in svg
    assert not re.search(r'id="(?!h7-)', svg)
    # every stand-in colour became one of the page's
    assert not re.search(r"#0[0-9a]0[0-9a-f]0[0-9a-f]\b", svg)
    assert ("log scale" in svg) == (500.0 in defective)


def test_colour_scale_is_shared_and_robust_to_one_glaring_defect() -> None:
    rows = [example(peak=peak) for peak in (2.0, 3.0, 1000.0)] + [example("good", "OK", 50.0)]
    scales = shared_scales(rows)
    assert (scales.pixel.low, scales.pixel.high) == (0.0, 3.0)
    dim, bright, glaring = (draw(row, scales)["pixel"][125, 75] for row in rows[:3])
    assert np.array_equal(bright, glaring)
    assert not np.array_equal(dim, bright)


def test_flat_and_missing_values_have_a_scale() -> None:
    flat = example("good", "OK", 0.0)
    scales = shared_scales([flat])
    assert scales.fused.high > scales.fused.low
    flat.pixel[0, 0] = np.nan
    assert draw(flat, scales)["pixel"].dtype == np.uint8


def test_a_model_without_pixel_score_has_no_pixel_picture(tmp_path: Path) -> None:
    shown = replace(example(), pixel=None)
    scales = shared_scales([shown])
    assert set(draw(shown, scales)) == {"image", "truth", "feature", "fused"}
    data = ReportData(title="t", categories=[Category("tile", ClassTable("tile", []), examples=[shown])])
    page = write_report(tmp_path / "report", data).read_text(encoding="utf-8")
    assert "not used by this model" in page
    assert page.count("<img") == 4


def test_overlay_outlines_the_mask_and_leaves_normal_areas_as_they_are() -> None:
    shown = example()
    pictures = draw(shown, shared_scales([shown]))
    sizes = {picture.shape for picture in pictures.values()}
    # 60 x 40 is enlarged by 5
    assert sizes == {(300, 200, 3)}
    fused, frame = pictures["fused"], pictures["image"]
    assert np.array_equal(fused[:80], frame[:80])
    assert fused[100, 75].min() > 200
    assert not np.array_equal(fused[125, 75], frame[125, 75])
    assert np.array_equal(np.unique(pictures["truth"]), [0, 255])


def test_large_frames_are_made_smaller() -> None:
    frame, mask = np.zeros((1200, 1600, 3), np.uint8), np.zeros((1200, 1600), np.uint8)
    big = replace(example("good", "OK"), image=frame, mask=mask)
    assert draw(big, shared_scales([big]))["fused"].shape == (384, 512, 3)


def test_importing_the_report_loads_neither_jinja_nor_matplotlib() -> None:
    code = (
        "import sys; import diffad_calibration.report; "
        "print([m for m in ('jinja2', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_names_its_extra(package: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from pathlib import Path
import numpy as np
from diffad_calibration.report import Category, ClassTable, ReportData, ScoreHistogram, write_report
from diffad_runtime.errors import MissingExtraError
try:
    drawn = Category("c", ClassTable("c", []), histograms=[ScoreHistogram("m", np.ones(2), np.ones(2), 1)])
    write_report(Path({str(tmp_path)!r}), ReportData("x", categories=[drawn]))
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert package in done.stdout
    assert "pip install 'diffad-edge[export]'" in done.stdout
