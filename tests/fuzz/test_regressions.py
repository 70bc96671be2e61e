"""What fuzzing found, each as small as it can be made, and what is said of it now."""

import dataclasses
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from bundlefuzz import bases, jsontree, pictures, wire, zips
from bundlefuzz.campaign import beyond
from bundlefuzz.heavy import HEAVY
from bundlefuzz.onnxes import EXTRA, LONG_ENTRY, LONG_LOCATION
from bundlefuzz.targets import Targets
from bundlefuzz.watch import Seen, Watch
from bundlefuzz.wire import BYTES, VARINT, Field
from bundlefuzz.zips import Parts
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.bundle import open_bundle
from diffad_runtime.bundle.onnxscan import check_onnx
from diffad_runtime.errors import BundleError

Bundle = Callable[[], Parts]
Look = Callable[[Callable[[], object], int], Seen]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Targets:
    return Targets(tmp_path_factory.mktemp("regressions"))


@pytest.fixture(scope="module")
def look(targets: Targets) -> Look:
    """Run something under watch, within the bounds for so many bytes."""
    watched = Watch(targets.bundle_path.parent)
    targets.bundle(bases.tiny().sealed())()
    watched.settle()

    def run(work: Callable[[], object], size: int) -> Seen:
        seen = watched.run(work)
        assert seen.faults == []
        assert beyond(size, seen) == []
        return seen

    return run


def _manifest(**changes: Any) -> Bundle:
    return lambda: dataclasses.replace(bases.tiny(), manifest=bases.manifest() | changes)


def _inside(table: str, **changes: Any) -> Bundle:
    return _manifest(**{table: bases.manifest()[table] | changes})


def _member(name: str, body: bytes) -> Bundle:
    return lambda: dataclasses.replace(bases.tiny(), members=bases.tiny().members | {name: body})


def _golden(count: int, width: int, height: int) -> Bundle:
    def made() -> Parts:
        parts = bases.tiny()
        picture = pictures.join(
            [pictures.header(width, height, colour=0), *pictures.chunks(pictures.plain(64, 64, 0, 1))[1:]]
        )
        for number in range(10, 10 + count):
            parts.members |= {f"golden/{number}.png": picture, f"golden/{number}.json": b"{}"}
        return parts

    return made


def _raw(text: str, **tables: Any) -> Bundle:
    """Manifest whose field `licences` is that text."""
    fields = bases.manifest() | {"members": zips.described(bases.tiny().members)} | tables
    whole = jsontree.write(jsontree.tree(fields | {"licences": []})).replace(
        b'"licences":[]', b'"licences":' + text.encode()
    )
    return lambda: dataclasses.replace(bases.tiny(), raw_manifest=whole)


VARIANT = bases.manifest()["variants"]["fp32"]
BUNDLES: dict[str, tuple[Bundle, str]] = {
    "a graph read again for every variant": (
        _manifest(variants={f"v{i}": VARIANT for i in range(20_000)} | bases.manifest()["variants"]),
        "variants: Dictionary should have at most 64 items",
    ),
    "a complaint for each of a million values": (_raw("[" + "0," * 1_000_000 + "0]"), "holds 1000"),
    "as many values as may be, all wrong": (_raw("[" + "0," * 250_000 + "0]"), "licences"),
    "a record of as many values as there are bytes": (
        _member("parity.json", b'{"a":[' + b"[]," * 1_000_000 + b"0]}"), "'parity.json' holds 2000"
    ),
    "a record nested to where nothing can print it": (
        _member("parity.json", b'{"a":' * 500 + b"1" + b"}" * 500), "deeper than 64 levels"
    ),
    "a count beyond float64": (_inside("normal_scores", count=10**400, ranks=[1, 5, 10**400]), "normal_scores.count"),
    "a threshold beyond float32": (_inside("thresholds", pixel=1e39), "thresholds.pixel"),
    "a rate whose images nobody can count": (_inside("thresholds", pixel_rate=1e-320), "thresholds.pixel_rate"),
    "a threshold beyond float64": (_inside("thresholds", pixel=10**400), "thresholds.pixel"),
    "a date without a time in other zones": (_manifest(created="0001-01-01T00:00:00+23:59"), "created: .*1970 to 9998"),
    "a date of no zone": (_manifest(created="2026-01-01T00:00:00"), "created: .*timezone"),
    "a field's name that a terminal acts on": (_manifest(**{"\x1b[2J": 1}), r"holds the character '\\x1b'"),
    "a field's name of a hundred kilobytes": (_manifest(**{"x" * 100_000: 1}), r"xxx\.\.\.: Extra inputs"),
    "a default variant of a hundred kilobytes": (_manifest(default_variant="x" * 100_000), "default_variant"),
    "half a character in a record": (_member("golden/00.json", b'{"label": "\\ud800"}'), r"character '\\ud800'"),
    "sixty golden frames of 64 million pixels": (_golden(60, 8000, 8000), "have more than 64000000 pixels"),
    "a golden frame wider than OpenCV takes": (_golden(1, (1 << 20) + 1, 60), "claims 1048577 x 60 pixels"),
    "a golden frame of a few bytes": (_golden(1, 7999, 8000), "claims 7999 x 8000 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles(name: str, targets: Targets, look: Look) -> None:
    make, expected = BUNDLES[name]
    data = make().sealed()
    seen = look(targets.bundle(data), len(data))
    assert seen.layer != "accepted"
    with pytest.raises(BundleError, match=expected):
        targets.bundle(data)()


@pytest.mark.parametrize("name", HEAVY)
def test_graphs(name: str, targets: Targets, look: Look) -> None:
    """Before, all of them were given to onnxruntime."""
    data = _member(bases.EXTRACTOR, HEAVY[name]())().sealed()
    assert look(targets.bundle(data), len(data)).layer.startswith("onnx")


def _hidden(*fields: Field) -> bytes:
    """An extractor with these in its first weight, in the place of data."""
    model = bases.extractor()
    (graph,) = [one for one in model if one.number == 7]
    tensor = next(one for one in graph.value if one.number == 5)  # type: ignore[union-attr]
    tensor.value = [one for one in tensor.value if one.number != 9] + list(fields)  # type: ignore[union-attr]
    return wire.write(model)


@pytest.mark.parametrize(
    "fields",
    [
        (
            Field(14, VARINT, 1, key=LONG_LOCATION),
            Field(13, BYTES, b"\x0a\x08location\x12\x0bnot-there.x", key=LONG_ENTRY),
        ),
        (Field(14, VARINT, 1, key=LONG_LOCATION),),
    ],
)
def test_a_key_with_more_bits_than_readers_keep(fields: tuple[Field, ...]) -> None:
    """onnxruntime's protobuf drops what is above 32 bits of a key. It read the file; for us it was a field unknown."""
    data = _hidden(*fields)
    with pytest.raises(Exception, match=r"External data path|Missing 'location'"):
        onnxruntime.InferenceSession(data)
    with pytest.raises(BundleError, match="malformed"):
        check_onnx(data, "g.onnx")


def test_another_format_behind_the_mask_of_protobuf() -> None:
    """onnxruntime read it in its own format, of which nothing was looked at."""
    with pytest.raises(Exception, match="ORT model verification failed"):
        onnxruntime.InferenceSession(HEAVY["ORT format"]())
    with pytest.raises(BundleError, match="own format"):
        check_onnx(HEAVY["ORT format"](), "g.onnx")


def _outside(message: Any) -> bool:
    """Whether a message, or one inside it, is a tensor that keeps its data elsewhere."""
    if isinstance(message, onnx.TensorProto) and (message.data_location or message.external_data):
        return True
    fields = (value for field, value in message.ListFields() if field.message_type is not None)
    return any(_outside(one) for value in fields for one in (value if hasattr(value, "add") else [value]))


@settings(max_examples=300, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(range(len(EXTRA)))), min_size=1, max_size=3))
def test_what_is_taken_keeps_nothing_outside_for_any_reader(places: list[tuple[int, int]]) -> None:
    model = bases.reconstructor()
    for place, extra in places:
        holders = [model]
        for holder in holders:
            holders += [one.value for one in holder if isinstance(one.value, list)]
        holder = holders[place % len(holders)]
        holder.insert(place % (len(holder) + 1), EXTRA[extra]())
    data = wire.write(model)
    try:
        check_onnx(data, "g.onnx")
        read = onnx.load_from_string(data)
    except Exception:  # refused by us, or by protobuf
        return
    assert not _outside(read)


def test_a_small_file_takes_a_small_buffer(tmp_path: Path) -> None:
    """It was read with a buffer of a gigabyte, which is refused where memory is limited."""
    path = tmp_path / "m.diffad"
    path.write_bytes(bases.tiny().sealed())
    open_bundle(path)
    tracemalloc.start()
    open_bundle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


RECIPES: dict[str, tuple[str, str]] = {
    "a key of two hundred thousand parts": ("a." * 200_000 + "a = 1", "more than 2000 dots outside numbers"),
    "a key of quoted parts": ('"."."' * 100_000 + "x = 1", "more than 2000 dots"),
    "a key of digits": ("1." * 200_000 + "1 = 1", "more than 2000 dots"),
    "a value nested deeper than it can be told": ("version = 1\nname" + ".a" * 1500 + " = 1", "name: expected"),
    "more points than can be checked in time": (
        "version = 1\nname = 'n'\n" + f"[[ignore]]\npolygons = [{'[' + '[1,2],' * 500 + '],'}{'[[1,2]],' * 63}]\n" * 45,
        "its polygons have 25335 points, expected at most 25000",
    ),
    "a key that a terminal acts on": ('x = {"\\u001b[2J" = 1, "\\u001b[2J" = 2}', "not valid TOML"),
    "a key of 200 kilobytes, twice": ("x = {%s1, %s2}".replace("%s", f"{'k' * 200_000} = "), "not valid TOML"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name: str, targets: Targets, look: Look) -> None:
    text, expected = RECIPES[name]
    seen = look(targets.recipe(text.encode()), len(text))
    assert expected in seen.message


def test_dots_of_polygons_do_not_count(targets: Targets, look: Look) -> None:
    points = ",".join(f"[{i / 10}, {80.5 + i % 2 / 4}]" for i in range(400)) + ", [50, 10.25]"
    regions = "".join(f'[[regions]]\nname = "r{i}"\npolygons = [[{points}]]\n' for i in range(8))
    text = f'version = 1\nname = "n"\nframe = [120, 90]\n{regions}'
    assert look(targets.recipe(text.encode()), len(text)).layer == "accepted"


HUGE = pictures.join([pictures.header((1 << 20) + 1, 200, colour=0), (b"IDAT", b""), (b"IEND", b"")])


def test_pictures_that_opencv_raises_on(targets: Targets, look: Look) -> None:
    line = jsontree.write(jsontree.tree(bases.record() | {"file_sha256": targets.digest_of(HUGE)})) + b"\n"
    look(targets.archived(line, HUGE), len(HUGE))
    assert "claims" in look(targets.recipe(bases.RECIPE.encode(), HUGE), len(HUGE)).message
    for data in pictures.FOREIGN:
        assert look(targets.picture(data), len(data)).layer != "accepted"


@pytest.mark.parametrize(
    "changes",
    [
        {"mask": {"size": [1 << 14, 1 << 14], "counts": "PPPPPPh1"}},
        {"mask": {"size": [32, 32], "counts": "junk!"}},
        {"mask": {"size": [-1, 10**300], "counts": ""}},
        {"pixel_threshold": jsontree.Raw("NaN")},
        {"image_threshold": jsontree.Raw('"NaN"')},
        {"frame_id": 10**4200, "seq": 10**4200},
        {"score": 10**400},
    ],
)
def test_lines_of_an_archive(changes: dict[str, Any], targets: Targets, look: Look) -> None:
    good = bases.record() | {"file_sha256": targets.digest_of(b"")}
    lines = b"".join(jsontree.write(jsontree.tree(one)) + b"\n" for one in (good, good | changes, good))
    look(targets.archived(lines), len(lines))


def test_a_pipe_in_the_place_of_a_picture(targets: Targets, look: Look) -> None:
    (folder := targets.bundle_path.parent / "pipe").mkdir()
    inside = Targets(folder)
    work = inside.archived(jsontree.write(jsontree.tree(bases.record())) + b"\n")
    picture = inside.session / str(bases.record()["file"])
    picture.unlink()
    os.mkfifo(picture)
    assert "corrupt" in look(work, 1000).message
