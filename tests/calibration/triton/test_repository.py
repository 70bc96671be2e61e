"""The model repository: held against the published schema, the bundle's own graphs, and what the Inspector gives."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from diffad_calibration.triton import Placement, write_repository
from diffad_calibration.triton import repository as repository_module
from diffad_calibration.triton.tensors import tensors_of
from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Image

pytest.importorskip("tritonclient", reason="tritonclient, which ships the published schema, is not installed")

from tritonsim import TritonSim, published_schema, read_config

NUMPY = {"TYPE_UINT8": "uint8", "TYPE_FP32": "float32"}


@pytest.fixture
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sizes(tensors: Any) -> dict[str, tuple[str, list[int]]]:
    kinds = published_schema().DataType
    return {tensor.name: (NUMPY[kinds.Name(tensor.data_type)], list(tensor.dims)) for tensor in tensors}


def nodes(values: Any) -> dict[str, tuple[str, list[int]]]:
    """Read here in another way than in the code under test."""
    kinds = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.FLOAT: "float32"}
    return {
        value.name: (
            kinds[value.type.tensor_type.elem_type],
            [side.dim_value for side in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_every_configuration_is_what_the_schema_and_the_graphs_say(bundle: Bundle, tmp_path: Path, kind: Any) -> None:
    made = write_repository(bundle, tmp_path / "out", name="line", placement=Placement(kind, instances=2, threads=3))
    models = tmp_path / "out" / "models"
    assert sorted(path.name for path in models.iterdir()) == ["line", "line_extractor", "line_reconstructor"]
    graphs = dict(zip(("extractor", "reconstructor"), bundle.graphs(made.variant), strict=True))
    for graph, data in graphs.items():
        config = read_config(models / f"line_{graph}" / "config.pbtxt")
        assert (config.name, config.backend, config.max_batch_size) == (f"line_{graph}", "onnxruntime", 0)
        file = models / f"line_{graph}" / "1" / config.default_model_filename
        assert file.read_bytes() == data
        model = onnx.load_model(file)
        assert sizes(config.input) == nodes(model.graph.input)
        assert sizes(config.output) == nodes(model.graph.output)
        groups = published_schema().ModelInstanceGroup.Kind
        assert [(groups.Name(group.kind), group.count) for group in config.instance_group] == [
            (f"KIND_{kind.upper()}", 2)
        ]
        assert config.parameters["intra_op_thread_count"].string_value == "3"
        assert config.parameters["bundle_digest"].string_value == bundle.digest
    ensemble = read_config(models / "line" / "config.pbtxt")
    assert (ensemble.platform, ensemble.backend, ensemble.max_batch_size) == ("ensemble", "", 0)
    assert (models / "line" / "1").is_dir()
    facts = {key: value.string_value for key, value in ensemble.parameters.items()}
    thresholds = bundle.manifest.thresholds
    assert (float(facts["image_threshold"]), float(facts["pixel_threshold"])) == (thresholds.image, thresholds.pixel)


def test_the_tensors_of_the_ensemble_chain(bundle: Bundle, tmp_path: Path) -> None:
    """Each tensor that a step takes was given or made before, of the same type and sizes; none is made twice."""
    write_repository(bundle, tmp_path / "out", name="line")
    sim = TritonSim(tmp_path / "out" / "models")
    ensemble = sim.configs["line"]
    pool = sizes(ensemble.input)
    assert list(pool) == ["image"]
    for step in ensemble.ensemble_scheduling.step:
        model = sim.configs[step.model_name]
        takes, gives = sizes(model.input), sizes(model.output)
        assert set(step.input_map) == set(takes)
        assert {tensor: pool[name] for tensor, name in step.input_map.items()} == takes
        made = {name: gives[tensor] for tensor, name in step.output_map.items()}
        assert not set(made) & set(pool)
        pool |= made
    outputs = sizes(ensemble.output)
    assert "anomaly_map" in outputs
    assert {name: pool[name] for name in outputs} == outputs


def test_the_chained_graphs_give_the_inspectors_map_bit_for_bit(bundle: Bundle, tmp_path: Path) -> None:
    made = write_repository(bundle, tmp_path / "out")
    sim = TritonSim(made.folder / "models")
    with Inspector.open(bundle.path, "onnxruntime", made.variant, 1) as inspector:
        for seed in range(4):
            image: Image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
            anomaly = sim.infer(made.name, {"image": image[None]})["anomaly_map"]
            assert anomaly.tobytes() == inspector.inspect(image).anomaly_map.tobytes()


def test_all_files_are_listed_and_carry_the_bundles_own_bytes(bundle: Bundle, tmp_path: Path) -> None:
    made = write_repository(bundle, tmp_path / "deep" / "out", variant="fp32")
    files = written(made.folder)
    assert tuple(sorted(files)) == made.files
    assert (made.name, made.variant, made.version) == ("tiny", "fp32", 1)
    assert files["manifest.json"] == bundle.whole()["manifest.json"]
    mark = json.loads(files["diffad-triton.json"])
    assert (mark["digest"], mark["variant"], mark["model"]) == (bundle.digest, "fp32", "tiny")
    assert set(mark["files"]) | {"diffad-triton.json"} == set(files)
    readme = files["README.md"].decode()
    assert "models/tiny_extractor/" in readme
    assert bundle.digest in readme
    assert "| out | `anomaly_map` | float32 | 1 x 64 x 64 |" in readme
    assert [path.name for path in made.folder.parent.iterdir()] == ["out"]


def test_the_bundles_version_numbers_the_folders(bundle: Bundle, tmp_path: Path) -> None:
    manifest = bundle.manifest.model_copy(update={"version": 12, "model_id": "Kappe 3 / Straße"})
    members = {name: bundle.read(name) for name in manifest.members}
    path = write_bundle(
        tmp_path / "new.diffad", manifest.model_copy(update={"members": describe_members(members)}), members
    )
    made = write_repository(open_bundle(path), tmp_path / "out")
    assert made.name == "Kappe_3_Stra_e"
    assert (made.folder / "models" / "Kappe_3_Stra_e_extractor" / "12" / "model.onnx").is_file()
    config = read_config(made.folder / "models" / made.name / "config.pbtxt")
    assert config.parameters["model_id"].string_value == "Kappe 3 / Straße"


def test_an_earlier_repository_is_replaced_whole(bundle: Bundle, tmp_path: Path) -> None:
    write_repository(bundle, tmp_path / "out", name="before")
    first = written(tmp_path / "out")
    made = write_repository(bundle, tmp_path / "out", name="after")
    assert tuple(sorted(written(tmp_path / "out"))) == made.files != tuple(sorted(first))
    write_repository(bundle, tmp_path / "out", name="before")
    assert written(tmp_path / "out") == first
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == []


def test_an_empty_folder_is_taken_and_a_link_is_followed(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_repository(bundle, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "README.md").is_file()


@pytest.mark.parametrize("there", ["file", "folder", "foreign model", "broken mark"])
def test_what_is_not_ours_is_refused_and_left_alone(bundle: Bundle, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    elif there == "folder":
        (out / "sub").mkdir(parents=True)
    else:
        write_repository(bundle, out)
        (out / "models" / "mine").mkdir()
        (out / "models" / "mine" / "config.pbtxt").write_text("mine")
        if there == "broken mark":
            (out / "diffad-triton.json").write_text("{")
    before = out.read_bytes() if out.is_file() else written(out)
    with pytest.raises(InputError) as caught:
        write_repository(bundle, out)
    assert caught.value.mend
    assert (out.read_bytes() if out.is_file() else written(out)) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_the_disk_refuses_leaves_the_earlier_one(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(bundle, tmp_path / "out", name="before")
    first, fsync = written(tmp_path / "out"), os.fsync
    calls = []

    def full(opened: int) -> None:
        calls.append(opened)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        fsync(opened)

    monkeypatch.setattr(repository_module.os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_repository(bundle, tmp_path / "out", name="after")
    assert written(tmp_path / "out") == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_name_that_cannot_be_given_brings_the_earlier_one_back(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_repository(bundle, tmp_path / "out", name="before")
    first, rename = written(tmp_path / "out"), Path.rename

    def refuses(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(InputError, match="Input/output error"):
        write_repository(bundle, tmp_path / "out", name="after")
    assert written(tmp_path / "out") == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 101])
def test_names_that_cannot_be_folders_are_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a model's name"):
        write_repository(bundle, tmp_path / "out", name=name)


def test_variants_are_those_that_onnxruntime_runs_there(bundle: Bundle, tmp_path: Path) -> None:
    assert write_repository(bundle, tmp_path / "cpu").variant == "int8"
    assert write_repository(bundle, tmp_path / "gpu", placement=Placement("gpu")).variant == "fp16"
    for placement, variant in ((Placement(), "int8-trt"), (Placement("gpu"), "int8"), (Placement(), "none")):
        with pytest.raises(InputError):
            write_repository(bundle, tmp_path / "refused", variant=variant, placement=placement)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("wrong", [{"kind": "npu"}, {"instances": 0}, {"threads": 0}])
def test_placements_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Placement(**wrong)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(EngineError, match="the extractor is not an ONNX model"):
        tensors_of(b"\xff\xff", "extractor")
