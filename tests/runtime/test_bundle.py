"""An unchanged bundle gives back what went in; one whose manifest and members do not agree is refused in one line."""

import hashlib
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.bundle.container import pack
from diffad_runtime.bundle.writer import manifest_bytes
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.manifest import Manifest


def _graph(tag: str = "y") -> bytes:
    node = helper.make_node("Identity", ["x"], [tag])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", tag)]
    return helper.make_model(helper.make_graph([node], "g", value[:1], value[1:])).SerializeToString()


def _external() -> bytes:
    model = onnx.load_from_string(_graph())
    model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    return bytes(model.SerializeToString())


def _members() -> dict[str, bytes]:
    image = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    return {
        "graphs/extractor.fp32.onnx": _graph("f"),
        "graphs/reconstructor.fp32.onnx": _graph("m"),
        "parity.json": b'{"map": 0.5}',
        "golden/00.png": cv2.imencode(".png", image)[1].tobytes(),
        "golden/00.json": b'{"score": 1.25}',
    }


def _fields(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = {
        "schema_version": 1,
        "model_id": "tile",
        "version": 1,
        "created": "2026-11-24T08:00:00Z",
        "input_size": 32,
        "grid": 8,
        "backbone": {"name": "b", "strides": [4], "channels": [3], "licence": "Apache-2.0"},
        "reconstruction": {
            "steps": 1,
            "levels": [200],
            "alpha": 0.5,
            "feature_score": "likelihood",
            "smoothing_sigma": 0.0,
        },
        "image_score": {"pixels": 4},
        "thresholds": {
            "pixel": 1.5,
            "image": 2.5,
            "good_images": 10,
            "false_reject_rate": 0.01,
            "guaranteed_rate": 0.1,
            "pixel_rate": 0.001,
        },
        "variants": {
            "fp32": {
                "precision": "fp32",
                "target": "any",
                "extractor": "graphs/extractor.fp32.onnx",
                "reconstructor": "graphs/reconstructor.fp32.onnx",
            }
        },
        "default_variant": "fp32",
    }
    return {**fields, **changes}


def _manifest(members: dict[str, bytes], **changes: object) -> Manifest:
    described = {name: member.model_dump() for name, member in describe_members(members).items()}
    return Manifest.model_validate(_fields(members=described, **changes))


def _file(members: dict[str, bytes], manifest: bytes | None = None) -> bytes:
    """A container whose manifest fits its members, or carries the given manifest."""
    raw = manifest_bytes(_manifest(members)) if manifest is None else manifest
    return b"".join(pack({"manifest.json": raw, **members}))


GOOD = _file(_members())


def _refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "m.diffad"
    path.write_bytes(data)
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert caught.value.mend
    return message


def _opened(tmp_path: Path, data: bytes) -> Bundle:
    path = tmp_path / "m.diffad"
    path.write_bytes(data)
    return open_bundle(path)


def test_gives_back_what_went_in(tmp_path: Path) -> None:
    members = _members()
    manifest = _manifest(members)
    path = write_bundle(tmp_path / "deep" / "m.diffad", manifest, members)
    bundle = open_bundle(path)
    assert bundle.manifest == manifest
    assert bundle.path == path
    assert bundle.size_bytes == path.stat().st_size
    assert bundle.digest == hashlib.sha256(zipfile.ZipFile(path).read("manifest.json")).hexdigest()
    assert {name: bundle.read(name) for name in members} == members
    assert bundle.graphs() == (members["graphs/extractor.fp32.onnx"], members["graphs/reconstructor.fp32.onnx"])
    assert bundle.parity() == {"map": 0.5}
    assert bundle.signature is None
    (golden,) = bundle.golden()
    assert (golden.name, golden.record) == ("00", {"score": 1.25})
    np.testing.assert_array_equal(golden.image, np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3))
    assert [entry.name for entry in path.parent.iterdir()] == ["m.diffad"]


def test_same_input_gives_same_bytes_and_signature_is_kept(tmp_path: Path) -> None:
    members = _members()
    first = write_bundle(tmp_path / "a.diffad", _manifest(members), members)
    second = write_bundle(tmp_path / "b.diffad", _manifest(members), dict(reversed(members.items())))
    assert first.read_bytes() == second.read_bytes()
    signed = write_bundle(tmp_path / "c.diffad", _manifest(members), members, signature=b"s" * 64)
    assert open_bundle(signed).signature == b"s" * 64
    assert open_bundle(signed).digest == open_bundle(first).digest


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_garbage_manifest_gets_past(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    _refused(tmp_path_factory.mktemp("manifest"), _file(_members(), junk))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.pop("parity.json"), "'parity.json' is missing"),
        (lambda m: m.update({"more.txt": b"1"}), "'more.txt' is not in the manifest"),
        (lambda m: m.update({"parity.json": b'{"map": 0.6}'}), "SHA-256"),
        (lambda m: m.update({"parity.json": b"{}"}), "has 2 bytes, the manifest says 12"),
    ],
)
def test_members_must_be_those_of_the_manifest(tmp_path: Path, change: object, expected: str) -> None:
    manifest, members = manifest_bytes(_manifest(_members())), _members()
    change(members)  # type: ignore[operator]
    assert expected in _refused(tmp_path, _file(members, manifest))


def _edited(**changes: object) -> bytes:
    fields = json.loads(manifest_bytes(_manifest(_members())))
    fields.update(changes)
    return _file(_members(), json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (_edited(schema_version=7), "schema version '7', this release reads 1"),
        (_edited(schema_version=True), "schema version 'True'"),
        (_edited(schema_version=None), "schema version"),
        (_edited(colour="BGR"), "colour: Extra inputs are not permitted"),
        (_edited(input_size="32"), "input_size"),
        (_edited(input_size=1 << 20), "input_size"),
        (_edited(default_variant="int8"), "default_variant 'int8'"),
        (_edited(image_score={"pixels": 99999}), "image_score.pixels"),
        (_edited(grid=64), "grid 64 is finer"),
        (_edited(members={"a/..": {"sha256": "0" * 64, "size": 1}}), "not a member"),
        (_edited(provenance={"x": float("nan")}), "NaN is not a number"),
        (_edited(thresholds=None), "thresholds"),
        (_file(_members(), b'{"schema_version": 1, "schema_version": 1}'), "twice"),
        (_file(_members(), b'{"schema_version": 1, "x": 1e999}'), "not a finite number"),
        (_file(_members(), b"[" * 100_000), "nests JSON too deeply"),
        (_file(_members(), b'{"schema_version": 1, "x": "\xff"}'), "not valid JSON"),
        (_file(_members(), b"[1]"), "expected an object"),
        (b"".join(pack(_members())), "no manifest.json inside"),
        (b"", "zero bytes"),
        (b"hello", "not a bundle"),
        (GOOD + b"junk", "4 foreign bytes after its end"),
        (GOOD[:-1], "truncated"),
    ],
)
def test_faults_are_named(tmp_path: Path, data: bytes, expected: str) -> None:
    assert expected in _refused(tmp_path, data)


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("graphs/extractor.fp32.onnx", b"\x00\x01\x02", "not an ONNX model"),
        ("graphs/extractor.fp32.onnx", b"", "holds no graph"),
        ("graphs/extractor.fp32.onnx", _external(), "outside the bundle"),
        ("parity.json", b'{"map": NaN}', "NaN"),
        ("golden/01.png", b"x", "no partner"),
        ("golden/00.png", b"not a png at all, really", "not a PNG"),
        ("golden/00.json", b"[]", "expected an object"),
        (
            "golden/00.png",
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">2I", 1 << 20, 1 << 20) + b"\x08\x02\0\0\0",
            "not a PNG of at most",
        ),
    ],
)
def test_members_are_looked_into(tmp_path: Path, name: str, body: bytes, expected: str) -> None:
    members = {**_members(), name: body}
    assert expected in _refused(tmp_path, _file(members))


def test_paths_that_hold_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        open_bundle(tmp_path / "none.diffad")
    with pytest.raises(BundleError, match="is a folder"):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match="not a regular file"):
        open_bundle("/dev/zero")
    with pytest.raises(BundleError, match="not a usable path"):
        open_bundle("a\0b")


def test_questions_it_cannot_answer(tmp_path: Path) -> None:
    bundle = _opened(tmp_path, GOOD)
    with pytest.raises(BundleError, match="no member 'x'"):
        bundle.read("x")
    with pytest.raises(InputError, match="no variant 'int8', it has fp32"):
        bundle.graphs("int8")


def test_a_bad_bundle_is_never_written(tmp_path: Path) -> None:
    members = _members()
    path = tmp_path / "m.diffad"
    with pytest.raises(BundleError, match="SHA-256"):
        write_bundle(path, _manifest(members), {**members, "parity.json": b'{"map": 0.6}'})
    with pytest.raises(BundleError, match="forbidden name"):
        write_bundle(path, _manifest(members), {**members, "../evil": b"1"})
    with pytest.raises(BundleError, match="cannot be a member"):
        write_bundle(path, _manifest(members), {**members, "manifest.json": b"1"})
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        write_bundle(path, _manifest(members, provenance={"loss": float("nan")}), members)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        write_bundle(tmp_path / "file" / "m.diffad", _manifest(members), members)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_reader_needs_no_onnx(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m.diffad", _manifest(_members()), _members())
    code = (
        "import sys; sys.modules['onnx'] = sys.modules['torch'] = None\n"
        f"from diffad_runtime.bundle import open_bundle; print(open_bundle({str(path)!r}).manifest.model_id)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "tile"
