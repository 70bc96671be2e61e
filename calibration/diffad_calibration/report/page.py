"""Write a report folder: index.html and its pictures, no network, no scripts, no fonts from elsewhere.

Knows files and the templates (page.html.j2 and what it includes). Does not know colours of maps (pictures.py) nor how
curves and histograms are drawn (charts.py, histogram.py).
Pictures lie in a folder named after their content, so that an old page never shows new pictures: they are moved in
place whole, then the page is replaced, then older picture folders of earlier reports go.
"""

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import cv2

from diffad_calibration.report import glossary
from diffad_calibration.report.charts import HEADINGS, chart_svg, legend
from diffad_calibration.report.data import Category, Example, ReportData
from diffad_calibration.report.histogram import histogram_svg
from diffad_calibration.report.pictures import Scales, draw, shared_scales
from diffad_calibration.report.tables import (
    CHIEF_METRICS,
    chart_words,
    detection_table,
    example_row,
    histogram_words,
    lead_rows,
    overview_tables,
    scale_row,
    timing_rows,
    variant_rows,
)
from diffad_runtime.errors import DataError, MissingExtraError
from diffad_runtime.result import Image

_PICTURE_FOLDER = re.compile(r"^pictures-[0-9a-f]{12}$")


def write_report(folder: Path, data: ReportData) -> Path:
    """Write the report, replacing an earlier one in the same folder. Other files in the folder are left alone.

    Args:
        folder: made if it does not exist.
        data: what to show; the same data give the same bytes.

    Returns:
        Path of index.html.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        DataError: the folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    page = _render(data, pictures)
    picture_folder = _picture_folder(pictures)
    page = page.replace("pictures-unnamed/", f"{picture_folder}/")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_pictures(folder / picture_folder, pictures)
        index = folder / "index.html"
        temporary = folder / f".index.{uuid.uuid4().hex[:12]}.tmp"
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, index)  # noqa: PTH105  atomic, and says so
        for old in folder.iterdir():
            if _PICTURE_FOLDER.match(old.name) and old.name != picture_folder:
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write the report to {folder}: {error.strerror or error}", mend="Check the path and the free space"
        ) from error
    return index


def _render(data: ReportData, pictures: dict[str, bytes]) -> str:
    """HTML whose pictures lie in "pictures-unnamed/"; their PNG bytes are added to `pictures` by file name."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415  only needed where a report is drawn
        from markupsafe import Markup  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("jinja2", extra="export", purpose="drawing a report") from error
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    if data.explained is not None:
        pictures.update(getattr(data.explained, "pictures", {}))
    categories = [_category(number, category, pictures) for number, category in enumerate(data.categories)]
    for category in categories:
        # The drawings are ours and hold no text from outside.
        for drawn in (*category["charts"], *category["histograms"]):
            drawn["svg"] = Markup(drawn["svg"])
    return environment.get_template("page.html.j2").render(
        data=data,
        metrics=glossary.METRICS,
        chief=CHIEF_METRICS,
        columns=glossary.COLUMN_MEANINGS,
        meanings=glossary.meanings(figures=bool(categories), pictures=any(c["pictured"] for c in categories)),
        macro=detection_table(data.macro) if data.macro else None,
        matrices=overview_tables(data.categories, data.macro) if data.macro else [],
        leads=lead_rows(data.leads),
        variants=variant_rows(data.variants),
        categories=categories,
        timings=timing_rows(data.timings),
        explained=data.explained,
    )


def _template(name: str) -> str | None:
    """A template of this folder, None where there is no such file."""
    file = resources.files("diffad_calibration.report").joinpath(name)
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _category(number: int, category: Category, pictures: dict[str, bytes]) -> dict[str, Any]:
    """What category.html.j2 shows; PNG bytes are added to `pictures` by file name."""
    models = [row.model for row in category.table.rows]
    rows = [*category.misses, *category.alarms, *category.examples]
    scales = shared_scales(rows)
    first = f"{number:02d}"
    drawn = [_row(f"{first}-{place:03d}", example, scales, pictures) for place, example in enumerate(rows)]
    alarms_end = len(category.misses) + len(category.alarms)
    return {
        "name": category.name,
        "id": f"category-{number + 1}",
        "words": "; ".join(value for _, value in category.facts),
        "facts": category.facts,
        "table": detection_table(category.table),
        "lines": legend(models),
        "charts": [
            {
                "heading": HEADINGS[chart.kind][0],
                "words": chart_words(chart),
                "svg": chart_svg(chart, models, element_id=f"c{number}-{chart.kind}"),
            }
            for chart in category.charts
            if chart.curves
        ],
        "histograms": [
            {
                "model": histogram.model,
                "words": histogram_words(histogram),
                "svg": histogram_svg(histogram, element_id=f"h{number}-{place}"),
            }
            for place, histogram in enumerate(category.histograms)
        ],
        "pictured": bool(rows),
        "judged": category.judged,
        "misses": drawn[: len(category.misses)],
        "alarms": drawn[len(category.misses) : alarms_end],
        "examples": drawn[alarms_end:],
        "scales": [
            *([scale_row(glossary.PIXEL_COLUMN, scales.pixel)] if any(row.pixel is not None for row in rows) else []),
            scale_row(glossary.FEATURE_COLUMN, scales.feature),
            scale_row(glossary.FUSED_COLUMN, scales.fused),
        ],
    }


def _row(prefix: str, example: Example, scales: Scales, pictures: dict[str, bytes]) -> dict[str, Any]:
    drawn = draw(example, scales)
    names = {column: f"{prefix}-{column}.png" for column in drawn}
    pictures.update({names[column]: _png(picture) for column, picture in drawn.items()})
    return example_row(example, names, drawn["image"].shape)


def _png(picture: Image) -> bytes:
    _, encoded = cv2.imencode(".png", picture)
    return encoded.tobytes()


def _picture_folder(pictures: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(pictures.items()):
        digest.update(name.encode() + len(content).to_bytes(8, "big") + content)
    return f"pictures-{digest.hexdigest()[:12]}"


def _write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    if not pictures or folder.is_dir():
        return
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    temporary.mkdir()
    try:
        for name, content in pictures.items():
            (temporary / name).write_bytes(content)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
