"""TensorRT's own words, as users meet them, become a cause and a mend."""

import pytest

from diffad_runtime.tensorrt.messages import (
    LITTLE_MEMORY,
    ParserComplaint,
    about_build,
    about_graph,
    about_plan,
)

PLENTY = 6 << 30

OUT_OF_MEMORY = [
    "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
    "Requested amount of GPU memory (1073741824 bytes) could not be allocated. There may not be enough free memory for "
    "allocation to succeed.",
    "[virtualMemoryBuffer.cpp::resizePhysical::154] Error Code 2: OutOfMemory (no further information)",
    "Tactic Device request: 134MB Available: 59MB. Device memory is insufficient to use tactic.",
    "Skipping tactic 0 due to insufficient memory on requested size of 134217728 detected for tactic 0x0.",
]


@pytest.mark.parametrize("line", OUT_OF_MEMORY)
def test_out_of_memory_by_any_words(line: str) -> None:
    said = about_build(["something before", line, "something after"], 300 << 20)
    assert said.what == "the builder ran out of memory (300 MiB were free when it began)"
    assert "multi-user.target" in said.mend
    assert "--workspace-mb" in said.mend
    assert about_plan([line]) == "no memory to load it"


NO_KERNEL = (
    "[optimizer.cpp::computeCosts::4051] Error Code 10: Internal Error (Could not find any implementation for node "
    "{ForeignNode[/enc/Conv + /enc/Relu...(Unnamed Layer* 3)]}.)"
)


def test_no_implementation_means_no_memory_where_there_is_little() -> None:
    assert "ran out of memory" in about_build([NO_KERNEL], LITTLE_MEMORY - 1).what
    said = about_build([NO_KERNEL], PLENTY)
    assert "no kernel for {ForeignNode[/enc/Conv" in said.what
    assert "6144 MiB were free" in said.what
    assert "--workspace-mb" in said.mend
    assert "--variant" in said.mend


def test_a_builder_that_says_something_else_or_nothing() -> None:
    assert about_build(["one", "two  \n lines", "three"], PLENTY).what.endswith("two lines; three")
    assert "said nothing" in about_build([], PLENTY).what
    assert len(about_build(["x" * 5000], PLENTY).what) < 300


def test_the_first_three_nodes_are_named_and_the_first_one_mended() -> None:
    complaints = [ParserComplaint(f"node_{index}", "Conv", f"fault {index}") for index in range(5)]
    said = about_graph(complaints, [])
    assert "node_0 (Conv): fault 0; node_1 (Conv): fault 1; node_2 (Conv): fault 2, and 2 more" in said.what
    assert "verify --lint" in said.mend


@pytest.mark.parametrize(
    ("text", "code", "mend"),
    [
        ("No importer registered for op: GridSampler. Attempting to import as plugin.", "UNSUPPORTED_NODE",
         "does not know Odd"),
        ("Assertion failed: shiftIsAllZeros(zeroPoint): QuantizeLinear only supports all-zero zero points", "",
         "made for CPUs"),
        ("Failed to parse the ONNX model.", "MODEL_DESERIALIZE_FAILED", "cannot be read"),
        ("whatever else", "INVALID_NODE", "verify --lint"),
    ],
)  # fmt: skip
def test_mends_by_kind(text: str, code: str, mend: str) -> None:
    assert mend in about_graph([ParserComplaint("n", "Odd", text, code)], []).mend


def test_a_parser_that_names_nothing() -> None:
    assert about_graph([], ["In node 3: INVALID_GRAPH"]).what.endswith("In node 3: INVALID_GRAPH")
    assert "said nothing" in about_graph([], []).what
    assert "no node (-): broken" in about_graph([ParserComplaint("", "", "broken")], []).what


@pytest.mark.parametrize(
    "line",
    [
        "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion stdVersionRead == "
        "kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 239, Serialized Engine "
        "Version: 240)",
        "The engine plan file is not compatible with this version of TensorRT, expecting library version 10.3.0.30 got "
        "10.3.0.26, please rebuild.",
        "The engine plan file is generated on an incompatible device, expecting compute 8.7 got compute 8.6, please "
        "rebuild.",
        "Serialization assertion safeVersionRead == kSAFE_SERIALIZATION_VERSION failed.",
    ],
)
def test_a_plan_of_elsewhere(line: str) -> None:
    assert about_plan([line]) == "built by another TensorRT or for another GPU"


def test_a_plan_that_is_refused_otherwise() -> None:
    assert about_plan(["a", "b", "c"]) == "b; c"
    assert about_plan([]) == "TensorRT does not say why"
