"""Golden frames there and back, with torch's map and without; whatever is not whole is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.bundle import Bundle, describe_members, golden_members, open_bundle, write_bundle
from diffad_runtime.bundle.golden import check_golden_members, read_golden
from diffad_runtime.errors import BundleError, DataError
from diffad_runtime.parity import FrameOutcome

S = 64
IMAGE = np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)
MAP = np.random.default_rng(1).normal(2, 30, (S, S)).astype(np.float32)


def made(number: int = 0, values: npt.NDArray[np.float32] = MAP) -> dict[str, bytes]:
    return golden_members(number, IMAGE, FrameOutcome(values, 1.25, True), "pasted defect")


def views(members: dict[str, bytes]) -> dict[str, memoryview]:
    return {name: memoryview(body) for name, body in members.items()}


def written(tiny_bundle: Path, folder: Path, members: dict[str, bytes]) -> Bundle:
    bundle = open_bundle(tiny_bundle)
    kept = {name: bundle.read(name) for name in bundle.manifest.members if not name.startswith("golden/")}
    whole = {**kept, **members}
    manifest = bundle.manifest.model_copy(update={"members": describe_members(whole)})
    return open_bundle(write_bundle(folder / "m.diffad", manifest, whole))


def test_members_hold_picture_record_and_map() -> None:
    members = made(7)
    assert sorted(members) == ["golden/07.f16", "golden/07.json", "golden/07.png"]
    assert json.loads(members["golden/07.json"]) == {
        "label": "pasted defect",
        "score": 1.25,
        "verdict": "NG",
        "map_mean": pytest.approx(MAP.astype(np.float64).mean()),
        "map_max": float(MAP.max()),
    }
    assert members["golden/07.f16"] == MAP.astype("<f2").tobytes()


def test_a_bundle_gives_them_back(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = written(tiny_bundle, tmp_path, {**made(0), **made(1, np.zeros((S, S), np.float32))})
    first, second = bundle.golden()
    assert (first.name, first.record["score"], second.name) == ("00", 1.25, "01")
    np.testing.assert_array_equal(first.image, IMAGE)
    assert first.map is not None
    assert (first.map.dtype, first.map.shape) == (np.float32, (S, S))
    np.testing.assert_allclose(first.map, MAP, rtol=2**-11)
    assert second.map is not None
    assert not second.map.any()


def test_bundles_without_maps_still_open(tiny_bundle: Path, tmp_path: Path) -> None:
    """As before there were any."""
    members = {name: body for name, body in made().items() if not name.endswith(".f16")}
    (frame,) = written(tiny_bundle, tmp_path, members).golden()
    assert frame.map is None
    assert frame.record["label"] == "pasted defect"


def test_a_map_beyond_float16_is_left_out() -> None:
    high = MAP.copy()
    high[3, 4] = 65520  # the first value that float16 rounds to infinity
    assert sorted(made(0, high)) == ["golden/00.json", "golden/00.png"]
    high[3, 4] = 65519
    assert "golden/00.f16" in made(0, high)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_outcome_that_is_no_number_is_refused(value: float) -> None:
    broken = MAP.copy()
    broken[0, 0] = value
    with pytest.raises(DataError, match="golden frame 0 has a map or a score with NaN"):
        made(0, broken)
    with pytest.raises(DataError, match="0 to 99, got 100"):
        made(100)


def _cut(members: dict[str, bytes]) -> None:
    members["golden/00.f16"] = members["golden/00.f16"][:-2]


def _finer(members: dict[str, bytes]) -> None:
    members["golden/00.f16"] *= 4  # a whole map, of 2 S x 2 S


def _not_a_number(members: dict[str, bytes]) -> None:
    members["golden/00.f16"] = members["golden/00.f16"][:-2] + np.array(np.nan, "<f2").tobytes()


def _infinite(members: dict[str, bytes]) -> None:
    members["golden/00.f16"] = np.array(-np.inf, "<f2").tobytes() + members["golden/00.f16"][2:]


def _orphan(members: dict[str, bytes]) -> None:
    members["golden/01.f16"] = members["golden/00.f16"]


def _no_record(members: dict[str, bytes]) -> None:
    del members["golden/00.json"]


def _other_kind(members: dict[str, bytes]) -> None:
    members["golden/00.npy"] = b"x"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_cut, f"'golden/00.f16' has {2 * S * S - 2} bytes, a float16 map of {S} x {S} has {2 * S * S}"),
        (_finer, f"'golden/00.f16' has {8 * S * S} bytes"),
        (_not_a_number, "'golden/00.f16' holds NaN or infinite"),
        (_infinite, "'golden/00.f16' holds NaN or infinite"),
        (_orphan, "'golden/01.f16' has no partner"),
        (_no_record, "'golden/00.f16' has no partner"),
        (_other_kind, "'golden/00.npy' has no partner"),
    ],
)
def test_faults_are_named(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], expected: str
) -> None:
    members = made()
    change(members)
    with pytest.raises(BundleError, match=expected):
        written(tiny_bundle, tmp_path, members)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=300, deadline=None)
@given(
    member=st.sampled_from(sorted(made())),
    at=st.integers(0, 1 << 30),
    old=st.integers(0, 40),
    new=st.binary(max_size=40),
)
def test_changed_members_are_refused_or_read(member: str, at: int, old: int, new: bytes) -> None:
    """Hashed by the manifest or not: what passes can be read, and its map is finite and of the stated size."""
    members = made()
    at %= len(members[member])
    members[member] = members[member][:at] + new + members[member][at + old :]
    try:
        check_golden_members(views(members), S)
        (frame,) = read_golden(views(members))
        said = ""
    except BundleError as error:
        said = str(error)
    if said:
        assert member in said
        assert "\n" not in said
        return
    assert frame.map is not None
    assert frame.map.shape == (S, S)
    assert np.isfinite(frame.map).all()
    assert frame.image.dtype == np.uint8


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(32, 128))
def test_only_the_size_of_the_manifest_fits(side: int, input_size: int) -> None:
    members = views(made(0, np.ones((side, side), np.float32)))
    if side == input_size:
        check_golden_members(members, input_size)
    else:
        with pytest.raises(BundleError, match=f"a float16 map of {input_size} x {input_size}"):
            check_golden_members(members, input_size)
