"""Text format: what is written is what protobuf's own parser reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_calibration.triton.pbtxt import Word, entries, text_of

pytest.importorskip("tritonclient", reason="tritonclient, which ships the published schema, is not installed")

from google.protobuf import text_format
from tritonsim import published_schema

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_a_small_message_by_hand() -> None:
    message = {
        "name": 'a "b"\\',
        "kind": Word("KIND_CPU"),
        "dims": [1, 2],
        "input": [{"name": "x"}, {"name": "ä"}],
        "nested": {"deep": {"count": 3}},
    }
    assert text_of(message) == (
        'name: "a \\042b\\042\\134"\n'
        "kind: KIND_CPU\n"
        "dims: [1, 2]\n"
        "input {\n"
        '  name: "x"\n'
        "}\n"
        "input {\n"
        '  name: "\\303\\244"\n'
        "}\n"
        "nested {\n"
        "  deep {\n"
        "    count: 3\n"
        "  }\n"
        "}\n"
    )


@given(st.dictionaries(TEXT, TEXT, max_size=4), TEXT, st.lists(st.integers(-1, 1 << 40), max_size=5))
def test_protobuf_reads_back_what_was_written(facts: dict[str, str], name: str, dims: list[int]) -> None:
    written = text_of(
        {
            "name": name,
            "input": [{"name": name, "data_type": Word("TYPE_UINT8"), "dims": dims}],
            "parameters": entries({key: {"string_value": value} for key, value in facts.items()}),
        }
    )
    read = text_format.Parse(written, published_schema().ModelConfig())
    assert read.name == read.input[0].name == name
    assert list(read.input[0].dims) == dims
    assert {key: value.string_value for key, value in read.parameters.items()} == facts
    assert written.isascii()
