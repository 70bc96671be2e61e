"""A right program is clean and gives ONNX Runtime's numbers; the same program with a line broken is told so.

The mutations are in clientmutations.py.
"""

import ast
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from clientmutations import MUTATIONS, WRONG
from cudasim import Machine, Misuse

from diffad_runtime.bundle import open_bundle
from diffad_runtime.engines.onnxruntime import DISABLED_OPTIMISERS, session_options

CLIENT = (Path(__file__).parent / "reference_client.py").read_text(encoding="utf-8")
FRAMES = [np.random.default_rng(seed).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8) for seed in (1, 2)]


@pytest.fixture(scope="module")
def graph(tiny_bundle: Path) -> bytes:
    return open_bundle(tiny_bundle).graphs()[0]


@pytest.fixture(scope="module")
def expected(graph: bytes) -> list[dict[str, Any]]:
    session = onnxruntime.InferenceSession(graph, session_options(1), disabled_optimizers=DISABLED_OPTIMISERS)
    names = [node.name for node in session.get_outputs()]
    return [dict(zip(names, session.run(names, {"image": frame}), strict=True)) for frame in FRAMES]


def program(changes: list[tuple[str, str]]) -> Any:
    """`live` of the client with these pieces replaced."""
    text = CLIENT
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the client"
        text = text.replace(old, new)
    module = ModuleType("mutated_client")
    exec(compile(text, "mutated_client", "exec"), vars(module))
    return module.live


def run(machine: Machine, live: Any, graph: bytes, *, mapped: bool, graphs: bool = True) -> Any:
    with machine.installed(bindings=graphs):
        bindings = import_module("cuda.bindings.driver") if graphs else None
        return live(import_module("tensorrt"), import_module("pycuda.driver"), bindings, graph, FRAMES, mapped)


def same(results: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    return len(results) == len(expected) and all(
        got.keys() == right.keys() and all(np.array_equal(got[name], right[name]) for name in right)
        for got, right in zip(results, expected, strict=True)
    )


def ours() -> dict[str, ModuleType]:
    """Modules of these names; other packages bring real ones."""
    names = {"tensorrt", "pycuda", "cuda"}
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("graphs", [True, False])
def test_a_right_program(graph: bytes, expected: list[dict[str, Any]], mapped: bool, graphs: bool) -> None:
    machine = Machine(integrated=mapped)
    before = ours()
    results = run(machine, program([]), graph, mapped=mapped, graphs=graphs)
    machine.assert_clean(retained=False)
    assert same(results, expected)
    assert machine.count("cuGraphLaunch") == (len(FRAMES) if graphs else 0)
    assert machine.misuses == []
    assert ours() == before


CASES = [
    pytest.param(changes, said, mapped, id=f"{name}, {'mapped' if mapped else 'staged'}")
    for name, changes, said, kinds in MUTATIONS
    for mapped in kinds
]


@pytest.mark.parametrize(("changes", "said", "mapped"), CASES)
def test_a_wrong_program(
    graph: bytes, expected: list[dict[str, Any]], changes: list[tuple[str, str]], said: str, mapped: bool
) -> None:
    machine, results = Machine(integrated=mapped), None
    with suppress(AssertionError, SystemExit):  # a Misuse is an AssertionError
        results = run(machine, program(changes), graph, mapped=mapped)
    if said == WRONG:
        machine.assert_clean()
        assert results is not None
        assert not same(results, expected)
        return
    with pytest.raises(Misuse) as raised:
        machine.assert_clean(retained=False)
    # What comes after the first one follows from it.
    assert said in (machine.misuses or [str(raised.value)])[0]


# Statements of the client without which it is as right: what they ask for does not matter, or the GPU does it anyway.
HARMLESS = [
    "config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 64 << 20)",
    "config.progress_monitor = Monitor()",
    "stream.synchronize()",  # between the plain run and the capture
    "_, ready = graphs.cuGraphInstantiate(graph, 0)",  # then each frame is enqueued plainly
    "assert after.time_since(before) >= 0",
]


def without_one() -> Iterator[tuple[str, str]]:
    """(Statement, the client without it) for each simple statement of `live`."""
    for number in count():
        tree = ast.parse(CLIENT)
        live = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
        within = [node for node in ast.walk(live) if isinstance(node, ast.stmt)]
        bodies = [getattr(node, part, []) for node in within for part in ("body", "orelse")]
        places = [(body, index) for body in bodies for index in range(len(body))]
        simple = [(body, at) for body, at in places if isinstance(body[at], ast.Assign | ast.Expr | ast.Assert)]
        if number == len(simple):
            return
        body, index = simple[number]
        statement, body[index] = ast.unparse(body[index]), ast.Pass()
        if not statement.startswith(("'", '"')):
            yield statement, ast.unparse(ast.fix_missing_locations(tree))


def unnoticed(text: str, graph: bytes, expected: list[dict[str, Any]], *, mapped: bool, graphs: bool) -> bool:
    module, machine = ModuleType("shortened_client"), Machine(integrated=mapped)
    exec(compile(text, "shortened_client", "exec"), vars(module))
    try:
        results = run(machine, module.live, graph, mapped=mapped, graphs=graphs)
        machine.assert_clean(retained=False)
    except Exception:  # a Misuse, or whatever comes of a variable that is not there
        return False
    return same(results, expected)


def test_no_statement_can_be_left_out(graph: bytes, expected: list[dict[str, Any]]) -> None:
    found = [
        statement
        for statement, text in without_one()
        if all(
            unnoticed(text, graph, expected, mapped=mapped, graphs=graphs)
            for mapped in (True, False)
            for graphs in (True, False)
        )
    ]
    assert sorted(found) == sorted(HARMLESS)
