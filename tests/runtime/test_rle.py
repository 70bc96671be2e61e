"""Run lengths: the same text as pycocotools, there and back, and nothing but InputError for what is none."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffad_runtime.errors import InputError
from diffad_runtime.rle import decode, encode

SHAPES = st.tuples(st.integers(0, 40), st.integers(0, 40))
MASKS = SHAPES.flatmap(lambda shape: arrays(np.bool_, shape))


def _slow_runs(mask: npt.NDArray[np.bool_]) -> list[int]:
    runs, current = [0], False
    for value in mask.T.ravel():
        if value != current:
            runs.append(0)
            current = bool(value)
        runs[-1] += 1
    return runs


def _slow_text(runs: list[int]) -> str:
    text = ""
    for index, run in enumerate(runs):
        rest = run - runs[index - 2] if index > 2 else run
        while True:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text += chr(48 + bits + (32 if more else 0))
            if not more:
                break
    return text


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_there_and_back_and_as_written_by_hand(mask: npt.NDArray[np.bool_]) -> None:
    rle = encode(mask)
    back = decode(rle)
    assert rle["size"] == list(mask.shape)
    assert (back.shape, back.dtype) == (mask.shape, np.uint8)
    np.testing.assert_array_equal(back, np.where(mask, 255, 0))
    if mask.size:
        assert rle["counts"] == _slow_text(_slow_runs(mask))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 on numpy 2
@settings(max_examples=100, deadline=None)
@given(MASKS.filter(lambda mask: mask.size > 0))
def test_pycocotools_agrees(mask: npt.NDArray[np.bool_]) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the oracle, pycocotools, is not installed")
    theirs = coco.encode(np.asfortranarray(mask).view(np.uint8))
    ours = encode(mask)
    assert ours["counts"].encode() == theirs["counts"]
    np.testing.assert_array_equal(coco.decode(ours), mask)
    np.testing.assert_array_equal(decode(theirs) != 0, mask)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1080, 1920), (1, 3000), (5000, 1)])
def test_flat_and_large(shape: tuple[int, int], value: int) -> None:
    mask = np.full(shape, value, np.uint8)
    mask[shape[0] // 2, -1] = 255
    np.testing.assert_array_equal(decode(encode(mask)), mask)
    grey = np.where(mask, np.uint8(7), np.uint8(0))
    assert encode(grey) == encode(mask) == encode(mask != 0)


def test_a_worked_example_and_views() -> None:
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 1] = 255
    mask[0, 2] = 255  # one run of three down the columns: 4 zeros, 3 ones, 5 zeros
    assert encode(mask) == {"size": [3, 4], "counts": "435"}
    assert encode(np.asfortranarray(mask)) == encode(mask[::-1][::-1]) == encode(mask)


@pytest.mark.parametrize(
    ("rle", "expected"),
    [
        ({}, "size None"),
        ({"size": [2], "counts": "4"}, r"size \[2\]"),
        ({"size": [-1, 2], "counts": "4"}, "size"),
        ({"size": [True, 2], "counts": "2"}, "size"),
        ({"size": [2.0, 2], "counts": "4"}, "size"),
        ({"size": [1 << 20, 1 << 20], "counts": "4"}, "is more than"),
        ({"size": [0, 1 << 40], "counts": ""}, "is more than"),
        ({"size": [2, 2]}, "a NoneType, expected text"),
        ({"size": [2, 2], "counts": [4]}, "a list, expected text"),
        ({"size": [2, 2], "counts": "5"}, "fill 5 pixels, expected 2 x 2 = 4"),
        ({"size": [2, 2], "counts": ""}, "fill 0 pixels"),
        ({"size": [2, 2], "counts": "4 "}, "byte 32 at 1"),
        ({"size": [2, 2], "counts": "4é"}, "byte 195 at 1"),
        ({"size": [2, 2], "counts": "P"}, "stop inside a number"),
        ({"size": [2, 2], "counts": "PPPPPPPP0"}, "takes 9 characters"),
        ({"size": [2, 2], "counts": "5O"}, "fill 4 pixels"),  # 5 and -1
        (None, "size None"),
        ([], "size None"),
    ],
)
def test_malformed(rle: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        decode(rle)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30)))
def test_any_text_is_a_mask_or_an_input_error(counts: str) -> None:
    try:
        mask = decode({"size": [6, 5], "counts": counts})
    except InputError:
        return
    assert mask.shape == (6, 5)
    assert set(np.unique(mask)) <= {0, 255}


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 1), np.uint8), [[0]], None])
def test_no_mask(mask: object) -> None:
    with pytest.raises(InputError, match="a mask must be bool or uint8"):
        encode(mask)  # type: ignore[arg-type]
