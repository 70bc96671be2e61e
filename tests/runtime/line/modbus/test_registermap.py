"""The map: what the document says is what lies there, and values there and back."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diffad_runtime.line.modbus.registermap import (
    COILS_SIZE,
    MIRROR,
    READ,
    READ_SIZE,
    STATUS_BITS,
    WRITTEN,
    registers,
    text_of,
    text_registers,
)
from diffad_runtime.line.modbus.settings import ModbusSettings

DOCUMENT = Path(__file__).parents[4] / "docs" / "modbus.md"


def _rows(heading: str) -> list[list[str]]:
    """The table under a heading of the document, without its head."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_document_has_every_register() -> None:
    documented = [(row[0], row[1].strip("`"), row[2]) for row in _rows("Registers that are read")]
    assert documented == [(field.addresses, field.name, field.kind) for field in READ]


def test_the_document_has_every_bit() -> None:
    documented = [(int(row[0]), row[1].strip("`")) for row in _rows("Discrete inputs, and bits of `status`")]
    assert documented == list(enumerate(STATUS_BITS))


def test_the_document_has_every_register_that_is_written() -> None:
    assert {row[0]: row[1].strip("`") for row in _rows("Registers that are written")} == WRITTEN


def test_the_document_has_every_setting() -> None:
    documented = {row[0].strip("`") for row in _rows("Settings")}
    assert documented == set(ModbusSettings.model_fields)


def test_no_two_fields_overlap_and_one_request_has_them_all() -> None:
    taken = [at for field in READ for at in range(field.at, field.at + field.size)]
    assert len(taken) == len(set(taken))
    assert max(taken) < READ_SIZE <= 125
    assert READ_SIZE <= MIRROR + READ_SIZE
    assert len(STATUS_BITS) <= 16
    assert COILS_SIZE == 8
    assert all(field.at % 2 == 0 for field in READ if field.size > 1)


def test_a_hand_written_block() -> None:
    block = registers(
        {"status": 3, "job": 65536 * 2 + 9, "score": -1.5, "result_part": "ab\u00e9", "open": 70_000}, "high-first"
    )
    assert block[0] == 3
    assert block[22:24] == (2, 9)
    assert block[24:26] == (0xBFC0, 0)
    assert block[30:33] == (0x6162, 0xC3A9, 0)
    assert block[7] == 70_000 - 65_536
    swapped = registers({"job": 65536 * 2 + 9}, "low-first")
    assert swapped[22:24] == (9, 2)


@given(value=st.floats(allow_nan=False))
def test_any_score_fits(value: float) -> None:
    block = registers({"score": value}, "high-first")
    (back,) = struct.unpack(">f", struct.pack(">2H", *block[24:26]))
    assert back == pytest.approx(value, rel=1e-6, abs=1e-44) or abs(value) > 3.4e38


@given(text=st.text(max_size=60), size=st.integers(1, 20))
def test_text_ends_at_a_whole_character(text: str, size: int) -> None:
    values = text_registers(text, size)
    assert len(values) == size
    data = struct.pack(f">{size}H", *values)
    kept = text.encode("utf-8", "replace").decode()[: len(data.rstrip(b"\0").decode())]
    assert data.rstrip(b"\0").decode() == kept.rstrip("\0")


@given(values=st.lists(st.integers(0, 65535), min_size=16, max_size=16))
def test_whatever_a_plc_writes_is_a_part_id_that_can_be_printed(values: list[int]) -> None:
    text = text_of(values)
    assert text.isprintable()
    assert text == text.strip()
    assert len(text) <= 32


@given(text=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=32))
def test_part_ids_there_and_back(text: str) -> None:
    assert text_of(text_registers(text, 16)) == text


@pytest.mark.parametrize(
    "wrong",
    [{"port": 70_000}, {"unit_id": 0}, {"word_order": "big"}, {"writers": ["10.0.0.0/40"]}, {"ack_timeout_s": 0},
     {"ack_timeout_s": float("nan")}, {"hots": "x"}, {"clients": 0}, {"host": ""}],
)  # fmt: skip
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModbusSettings.model_validate(wrong)
