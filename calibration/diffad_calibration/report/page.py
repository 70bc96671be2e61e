"""Write a report folder: index.html and its pictures, no network, no scripts, no fonts from elsewhere.

Knows files and the template. Does not know colours of maps (pictures.py) or how a histogram is drawn (histogram.py).
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
from diffad_calibration.report.data import ReportData
from diffad_calibration.report.histogram import histogram_svg
from diffad_calibration.report.pictures import draw, shared_scales
from diffad_calibration.report.tables import (
    detection_table,
    example_row,
    histogram_words,
    scale_row,
    timing_rows,
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
        from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  only needed where a report is drawn
        from markupsafe import Markup  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("jinja2", extra="export", purpose="drawing a report") from error
    source = resources.files("diffad_calibration.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    histograms = [
        {
            "model": histogram.model,
            "words": histogram_words(histogram),
            # The drawing is ours and holds no text from outside.
            "svg": Markup(histogram_svg(histogram, element_id=f"h{number}")),
        }
        for number, histogram in enumerate(data.histograms)
    ]
    return template.render(
        data=data,
        metrics=glossary.METRICS,
        columns=glossary.COLUMN_MEANINGS,
        tables=[detection_table(table) for table in data.classes],
        timings=timing_rows(data.timings),
        histograms=histograms,
        **_example_context(data, pictures),
    )


def _example_context(data: ReportData, pictures: dict[str, bytes]) -> dict[str, Any]:
    scales = shared_scales(data.examples)
    rows = []
    for number, example in enumerate(data.examples):
        drawn = draw(example, scales)
        names = {column: f"{number:03d}-{column}.png" for column in drawn}
        pictures.update({names[column]: _png(picture) for column, picture in drawn.items()})
        rows.append(example_row(example, names, drawn["image"].shape))
    return {
        "examples": rows,
        "scales": [
            scale_row(glossary.PIXEL_COLUMN, scales.pixel),
            scale_row(glossary.FEATURE_COLUMN, scales.feature),
            scale_row(glossary.FUSED_COLUMN, scales.fused),
        ],
    }


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
