"""Study files: both syntaxes say the same, and what cannot be read is named."""

import sys
from pathlib import Path

import pytest

from diffad_export.ablation.studyfile import read_study_file
from diffad_runtime.errors import InputError, MissingExtraError

TOML = """
version = 1
[base]
size = 64
[[grid]]
"features.strides" = [[16], [8, 16]]
"""
YAML = """
version: 1
base: {size: 64}
grid:
  - features.strides: [[16], [8, 16]]
"""


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python reads TOML from 3.11 on")
def test_toml_and_yaml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    (tmp_path / "s.yml").write_text(YAML)
    found = read_study_file(tmp_path / "s.toml")
    assert found == {"version": 1, "base": {"size": 64}, "grid": [{"features.strides": [[16], [8, 16]]}]}
    assert read_study_file(tmp_path / "s.yml") == found


def test_toml_before_python_3_11_asks_for_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    monkeypatch.setattr(sys, "version_info", type("V", (tuple,), {"major": 3, "minor": 10})((3, 10)))
    with pytest.raises(InputError, match=r"from 3\.11 on; this is 3\.10. Write the study as YAML, or use Python 3\.11"):
        read_study_file(tmp_path / "s.toml")


def test_yaml_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.yaml").write_text(YAML)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"reading s\.yaml needs the package 'yaml'"):
        read_study_file(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.json", b"{}", r"a study is \.toml, \.yaml, \.yml, got 's\.json'"),
        ("s.yaml", b"a: [1", r"s\.yaml is not valid YAML"),
        ("s.yaml", b"- 1", "holds a list, expected a table"),
        ("s.yaml", b"", "holds a NoneType, expected a table"),
        ("s.yaml", b"\xff\xfe\x00", "cannot read the study"),
        ("s.toml", b"a = [1", r"s\.toml is not valid TOML"),
    ],
)
def test_what_cannot_be_read(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    if name.endswith("toml") and sys.version_info < (3, 11):
        pytest.skip("Python reads TOML from 3.11 on")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_study_file(tmp_path / name)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the study"):
        read_study_file(tmp_path / "s.yaml")
