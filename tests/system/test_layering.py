"""Arrows between the packages point down, and all that runs beside the line works without torch and onnx."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "diffad_runtime": ROOT / "runtime" / "diffad_runtime",
    "diffad_calibration": ROOT / "calibration" / "diffad_calibration",
    "diffad_export": ROOT / "export" / "diffad_export",
    "diffad_edge": ROOT / "sdk" / "diffad_edge",
}
FORBIDDEN = {
    "diffad_runtime": {"diffad_calibration", "diffad_export", "diffad_edge", "torch", "onnx", "typer", "matplotlib"},
    "diffad_calibration": {"diffad_export", "diffad_edge", "torch", "typer"},
    "diffad_export": {"diffad_edge", "typer"},
    "diffad_edge": {"torch", "onnx", "tensorrt", "pycuda", "matplotlib", "jinja2"},
}
COMMANDS = (
    "demo", "doctor", "train", "export", "eval", "ablate", "run", "score", "bench", "recalibrate", "inspect", "verify",
    "build", "status", "estimate",
)  # fmt: skip

# Wraps the finders rather than raising from one of its own: then importlib.util.find_spec says None and an import
# raises ModuleNotFoundError with its name, exactly as where the package is not installed.
WITHOUT = """
import sys

BLOCKED = {"torch", "onnx", "tensorrt", "pycuda", "onnxscript", "safetensors", "jinja2", "matplotlib"}

class Blind:
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)

sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]

def command(*arguments):
    from diffad_edge.cli import main
    sys.argv = ["diffad-edge", *arguments]
    try:
        main()
    except SystemExit as leaving:
        return leaving.code or 0
    return 0
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT + code], capture_output=True, text=True, check=False, timeout=120
    )


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Top-level names of all modules that a file imports, in functions too, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides where an arrow points"
            yield str(node.module).partition(".")[0], node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value.partition(".")[0], node.lineno


@pytest.mark.parametrize("package", FOLDERS)
def test_no_arrow_points_up(package: str) -> None:
    files = sorted(FOLDERS[package].rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for name, line in imports(path)
        if name in FORBIDDEN[package]
    ]
    assert found == []


@pytest.mark.parametrize("package", FOLDERS)
def test_nothing_else_is_importable_from_the_top_folders(package: str) -> None:
    beside = {entry.name for entry in FOLDERS[package].parent.iterdir() if not entry.name.startswith((".", "__"))}
    assert beside == {package}


def test_every_module_beside_the_line_imports_without_torch_onnx_and_tensorrt() -> None:
    done = python("""
import importlib, json, pkgutil
names = []
for package in ("diffad_runtime", "diffad_edge"):
    module = importlib.import_module(package)
    names += [found.name for found in pkgutil.walk_packages(module.__path__, package + ".")]
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
assert not BLOCKED & set(sys.modules)
""")
    assert done.returncode == 0, done.stderr
    names = json.loads(done.stdout)
    written = sum(len([*FOLDERS[package].rglob("*.py")]) for package in ("diffad_runtime", "diffad_edge"))
    # all but the two packages themselves
    assert len(names) == written - 2


def test_every_help_runs_without_torch_and_loads_nothing_heavy() -> None:
    done = python(f"""
assert command("--help") == 0
for name in {COMMANDS!r}:
    assert command(name, "--help") == 0, name
heavy = {{"numpy", "cv2", "onnxruntime"}} & set(sys.modules)
assert not heavy, heavy
""")
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"Usage: diffad-edge {name}" in done.stdout


def test_the_line_runs_without_torch_and_onnx(tiny_bundle: Path, tmp_path: Path) -> None:
    masks, bundle = str(tmp_path / "masks"), str(tiny_bundle)
    camera = "synthetic://line?fps=0&count=2"
    done = python(f"""
assert command("inspect", {bundle!r}) == 0
assert command("verify", {bundle!r}) == 0
assert command("doctor") == 0
assert command("bench", {bundle!r}, "--frames", "1", "--frame-size", "input") == 0
assert command("run", {bundle!r}, "--camera", {camera!r}, "--masks", {masks!r}) == 0
assert not BLOCKED & set(sys.modules)
""")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "masks").glob("*.png"))) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--data", "d", "--out", "r"),
        ("export", "r", "--data", "d", "--out", "m.diffad"),
        ("demo",),
        ("bench", "BUNDLE", "--teacher", "r"),
        ("bench", "BUNDLE", "--profile"),
        ("verify", "BUNDLE", "--lint"),
        ("estimate", "BUNDLE", "--board", "orin-nano-8gb"),
        ("bench", "BUNDLE", "--reference", "padim-resnet18"),
        ("eval", "BUNDLE", "--data", "d", "--teacher", "r"),
    ],
)
def test_what_needs_torch_says_how_to_get_it(arguments: tuple[str, ...], tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = tuple(str(tiny_bundle) if argument == "BUNDLE" else argument for argument in arguments)
    done = python(f"""
import os
os.chdir({str(tmp_path)!r})
sys.exit(command(*{arguments!r}))
""")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "pip install 'diffad-edge[export]'" in done.stderr
