"""Every name of TensorRT that the runtime uses is exported by the bindings of six versions, 10.3 to 11.4.

api_surface.json holds the names of the real bindings: 1 bit a version. The source is read, not run: names that follow
`trt`, and attributes of objects that the source calls by the words of _OBJECTS.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "runtime" / "diffad_runtime"
SURFACE = json.loads((Path(__file__).parent / "api_surface.json").read_text())
VERSIONS: list[str] = SURFACE["versions"]
NAMES: dict[str, int] = SURFACE["names"]
SHARED = ROOT.parent / "shared" / "trt_api"

_OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "raised": "ParserError",
    "levels": "ILogger",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
}
"""What the source calls an object -> its class. `levels` is trt.ILogger.Severity, whose members ILogger has as well."""

_NO_API = {"__version__"}
"""Of the module itself, not of the bindings."""


def lacking(name: str) -> list[str]:
    """Versions without it."""
    return [version for bit, version in enumerate(VERSIONS) if not NAMES.get(name, 0) >> bit & 1]


def dotted(node: ast.AST) -> str:
    """As in "trt.BuilderFlag.TF32"; "" where it is not made of names alone."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def used_in(code: str, objects: Mapping[str, str] = _OBJECTS) -> Iterator[tuple[str, int]]:
    """("Class" or "Class.member", line)."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ClassDef):
            for base in filter(None, map(dotted, node.bases)):
                root, _, name = base.partition(".")
                if root == "trt":
                    for item in node.body:
                        if isinstance(item, ast.FunctionDef) and not item.name.startswith("__"):
                            yield f"{name}.{item.name}", item.lineno
        if not isinstance(node, ast.Attribute):
            continue
        parts = dotted(node).split(".")
        if "trt" in parts[:-1] or (parts[0] == "_trt"):
            rest = parts[parts.index("trt") + 1 :] if "trt" in parts else parts[1:]
            yield ".".join(rest[:2]), node.lineno
        elif len(parts) > 1 and parts[-2] in objects:
            yield f"{objects[parts[-2]]}.{parts[-1]}", node.lineno


def files() -> list[Path]:
    return [*sorted((SOURCE / "tensorrt").glob("*.py"))]


def all_used() -> dict[str, str]:
    """Name -> where it is first used."""
    found: dict[str, str] = {}
    for path in files():
        # opening.py holds no object of TensorRT; its networks and engines are ours.
        objects = {} if path.name == "opening.py" else _OBJECTS
        for name, line in used_in(path.read_text(encoding="utf-8"), objects):
            found.setdefault(name, f"{path.name}:{line}")
    return found


def test_every_name_is_in_every_version() -> None:
    faults = {
        f"{where}: {name}": lacking(name) for name, where in all_used().items() if name not in _NO_API and lacking(name)
    }
    assert faults == {}


def test_the_source_is_really_read() -> None:
    expected = {
        "Builder", "Builder.build_serialized_network", "Builder.create_network", "IBuilderConfig.progress_monitor",
        "IBuilderConfig.set_timing_cache", "IBuilderConfig.set_memory_pool_limit", "BuilderFlag.TF32",
        "ICudaEngine.get_tensor_name", "ICudaEngine.device_memory_size_v2", "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address", "ILogger.ERROR", "IProgressMonitor.step_complete", "ILogger.log",
        "MemoryPoolType.WORKSPACE", "NetworkDefinitionCreationFlag.STRONGLY_TYPED", "OnnxParser.parse",
        "ParserError.node_name", "Runtime", "Runtime.deserialize_cuda_engine", "TensorIOMode.INPUT", "nptype",
    }  # fmt: skip
    assert expected <= all_used().keys()


@pytest.mark.parametrize(
    ("code", "name", "without"),
    [
        ("trt.BuilderFlag.FP16", "BuilderFlag.FP16", ["11.1.0.106", "11.4.0.106"]),
        ("config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)", "BuilderFlag.EDITABLE_TIMING_CACHE",
         ["10.3.0", "10.7.0"]),
        ("self._engine.device_memory_size", "ICudaEngine.device_memory_size", ["11.1.0.106", "11.4.0.106"]),
        ("self._trt.NoSuchThing()", "NoSuchThing", VERSIONS),
    ],
)  # fmt: skip
def test_what_a_version_lacks_is_noticed(code: str, name: str, without: list[str]) -> None:
    assert name in dict(used_in(code.replace("self._trt.", "trt.")))
    assert sorted(lacking(name)) == sorted(without)


def test_no_file_elsewhere_uses_tensorrt() -> None:
    elsewhere = [path for path in SOURCE.rglob("*.py") if path not in files()]
    found = {path.name: name for path in elsewhere for name, _ in used_in(path.read_text()) if _is_trt(path, name)}
    assert found == {}


def _is_trt(path: Path, name: str) -> bool:
    """Whether `trt` itself is meant: other files have engines, caches and configurations of other kinds."""
    code = path.read_text(encoding="utf-8")
    return any(
        dotted(node).startswith(f"trt.{name}") for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the listings of the real bindings are not beside the project")
def test_the_copy_is_true() -> None:
    names: dict[str, int] = {}
    for bit, version in enumerate(VERSIONS):
        listing = json.loads((SHARED / f"api_{version}.json").read_text())
        for top, members in listing.items():
            if top == "version":
                continue
            for name in (top, *(f"{top}.{member}" for member in members or ())):
                names[name] = names.get(name, 0) | 1 << bit
    assert names == NAMES
