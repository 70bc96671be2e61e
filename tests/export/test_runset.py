"""Several runs side by side: each category finds its own, and what cannot be measured together is refused."""

import json
import shutil
from pathlib import Path

import pytest

from diffad_calibration.dataset import open_dataset
from diffad_export.commands import run_lineup
from diffad_export.runset import open_runs
from diffad_runtime.errors import DataError, InputError


def copy(run: Path, folder: Path, category: str, size: int = 64) -> Path:
    """A run under another category's name."""
    out = Path(shutil.copytree(run, folder / category, ignore=shutil.ignore_patterns("cache", "student-*")))
    value = json.loads((out / "config.json").read_text())
    value["categories"][0]["name"] = category
    value["config"]["size"] = size
    (out / "config.json").write_text(json.dumps(value))
    (out / "scores" / "line.safetensors").rename(out / "scores" / f"{category}.safetensors")
    return out


def test_a_single_run_takes_any_name(tiny_run: Path) -> None:
    run, category = open_runs(tiny_run).find("whatever")
    assert (run.folder, category) == (tiny_run, "line")


def test_each_category_finds_its_run(tiny_run: Path, line_data: Path, tmp_path: Path) -> None:
    for name in ("line", "lines"):
        if name != "line":
            copy(tiny_run, tmp_path, name)
        else:
            shutil.copytree(tiny_run, tmp_path / "line", ignore=shutil.ignore_patterns("cache", "student-*"))
    runs = open_runs(tmp_path)
    assert runs.categories == ["line", "lines"]
    assert runs.find("lines")[0].folder.name == "lines"
    with pytest.raises(DataError, match="know the categories line, lines, not 'cups'"):
        runs.find("cups")
    (teacher, paper) = run_lineup(tmp_path).contestants(open_dataset(line_data))
    assert (teacher.name, paper.name) == ("teacher", "teacher, paper's score")


def test_runs_that_differ_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    copy(tiny_run, tmp_path, "cups")
    copy(tiny_run, tmp_path, "plates", size=96)
    with pytest.raises(InputError, match="differ in size: plates has 96, cups has 64"):
        open_runs(tmp_path)


def test_a_category_twice_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    copy(tiny_run, tmp_path, "cups")
    shutil.copytree(tmp_path / "cups", tmp_path / "other")
    with pytest.raises(InputError, match=r"several runs in .* know cups"):
        open_runs(tmp_path)


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json in"):
        open_runs(tmp_path)
    with pytest.raises(InputError, match="no run folder"):
        open_runs(tmp_path / "nowhere")
