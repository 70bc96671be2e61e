"""Tensors and facts in one file, JSON in another: there and back, whole or not at all."""

from pathlib import Path

import pytest
import torch

from diffad_export.checkpoint import load_tensors, read_json, save_tensors, write_json
from diffad_runtime.errors import InputError


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    tensors = {
        "float": torch.randn(3, 4),
        "transposed": torch.randn(3, 4).T,
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 2),
    }
    facts = {"step": 7, "losses": [[1, 0.1 + 0.2]], "name": "é"}
    save_tensors(tmp_path / "a.safetensors", tensors, facts)
    found, told = load_tensors(tmp_path / "a.safetensors")
    assert told == facts
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_tensors_that_share_memory_are_saved_apart(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    save_tensors(tmp_path / "a.safetensors", {"all": base, "part": base[2:4]})
    assert load_tensors(tmp_path / "a.safetensors")[0]["part"].tolist() == [2, 3]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert read_json(tmp_path / "a.json") == {"old": 1}


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no a\.json in"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match=r"cannot read .*a\.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"no a\.safetensors in"):
        load_tensors(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(InputError, match="cannot read the weights"):
        load_tensors(tmp_path / "a.safetensors")
