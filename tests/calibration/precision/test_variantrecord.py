"""calibration.json: numbers come back to the last bit, and what is no record is refused in one line."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffad_calibration.precision.variantrecord import CalibrationRecord, GraphRecord, VariantRecord
from diffad_runtime.errors import BundleError

_NAMES = st.text(min_size=1, max_size=8)
_ENDS = st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2)
_SHIFTS = hnp.arrays(np.float32, st.integers(1, 5), elements=st.floats(width=32))
GRAPHS = ("extractor", "reconstructor")


def small() -> CalibrationRecord:
    own = GraphRecord(ranges={"x": (-1.0, 0.1)}, keep_float=["node"])
    own.keep_shifts({"node": np.array([0.1, -2], np.float32)})
    variant = VariantRecord(recipe="int8", graphs=dict.fromkeys(GRAPHS, own))
    return CalibrationRecord(
        frames=3, estimator="minmax", extremes={g: {"x": (-1.0, 0.1)} for g in GRAPHS}, variants={"int8": variant}
    )


@given(
    st.dictionaries(_NAMES, _ENDS, max_size=4),
    st.dictionaries(_NAMES, _SHIFTS, max_size=4),
    st.lists(_NAMES, max_size=3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_there_and_back(
    ranges: dict[str, tuple[float, float]], shifts: dict[str, np.ndarray], kept: list[str], tuned: bool
) -> None:
    own = GraphRecord(ranges=ranges, keep_float=kept)
    own.keep_shifts(shifts)
    record = CalibrationRecord(
        frames=32,
        estimator="mse",
        extremes={"extractor": ranges, "reconstructor": {}},
        variants={"int8": VariantRecord(recipe="int8", graphs={"extractor": own}, tuned=tuned)},
    )
    written = record.to_bytes()
    assert written.endswith(b"}\n")
    assert written.count(b"\n") == 1
    found = CalibrationRecord.of_bytes(written)
    assert found == record
    assert found.to_bytes() == written
    assert found.variants["int8"].graphs["extractor"].ranges == ranges
    again = found.variants["int8"].graphs["extractor"].shifts()
    assert again.keys() == shifts.keys()
    for name, values in shifts.items():
        assert again[name].dtype == np.float32
        np.testing.assert_array_equal(again[name].view(np.uint32), values.view(np.uint32))


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(small().to_bytes()) | fields).encode()


def with_graph(**fields: Any) -> bytes:
    record = json.loads(small().to_bytes())
    record["variants"]["int8"]["graphs"]["extractor"] |= fields
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (b"", "EOF"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "object"),
        (b"{}", "required"),
        (changed(version=2), "1"),
        (changed(frames=0), "greater than or equal to 1"),
        (changed(more=1), "Extra inputs"),
        (changed(extremes={"extractor": {"x": [0.0, 1e999]}}), "finite"),
        (with_graph(ranges={"x": [0.0]}), "required"),
        (with_graph(ranges={"x": ["low", 1]}), "number"),
        (with_graph(bias_shifts={"node": "AAA"}), "bias shifts of 'node' are not float32"),
        (with_graph(bias_shifts={"node": "AAAA"}), "bias shifts of 'node' are not float32"),
        (with_graph(bias_shifts={"node": "!AAAAAAAAAAAAAAAA"}), "bias shifts of 'node' are not float32"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(member: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=rf"calibration\.json is not valid: .*{why}") as caught:
        CalibrationRecord.of_bytes(member)
    assert len(str(caught.value).splitlines()) == 1


def test_a_good_one_is_read() -> None:
    assert CalibrationRecord.of_bytes(small().to_bytes()) == small()
    assert CalibrationRecord.of_bytes(changed()) == small()
    assert CalibrationRecord.of_bytes(with_graph()) == small()
