"""The public face of `import diffad_edge`: what it offers, and that it costs nothing until it is used."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import diffad_edge
import diffad_runtime.errors
import diffad_runtime.inspector
import diffad_runtime.result

FACE = {
    "Bundle",
    "BundleError",
    "DataError",
    "Defect",
    "DiffadError",
    "EngineError",
    "ErrorCode",
    "Frame",
    "GateError",
    "ImageError",
    "InputError",
    "Inspector",
    "Limits",
    "MissingExtraError",
    "OnDevice",
    "Recipe",
    "RecipeBook",
    "RecipeError",
    "RegionScore",
    "Result",
    "SourceError",
    "Station",
    "Verdict",
    "Watcher",
    "__version__",
    "load_recipe",
    "open_bundle",
    "open_source",
}


def test_the_face_is_this_and_no_more() -> None:
    assert set(diffad_edge.__all__) == FACE
    assert len(diffad_edge.__all__) == len(FACE)
    assert set(dir(diffad_edge)) >= FACE
    for name in FACE:
        assert getattr(diffad_edge, name) is not None


def test_names_are_the_runtimes_own() -> None:
    assert diffad_edge.Inspector is diffad_runtime.inspector.Inspector
    assert diffad_edge.Verdict is diffad_runtime.result.Verdict
    assert diffad_edge.BundleError is diffad_runtime.errors.BundleError
    assert diffad_edge.__version__ == version("diffad-edge")


def test_every_error_of_the_tree_is_in_the_face() -> None:
    tree = [diffad_runtime.errors.DiffadError]
    for error in tree:
        tree += error.__subclasses__()
    written = {error.__name__ for error in tree if error.__module__ == "diffad_runtime.errors"}
    assert written <= FACE


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Inspectr'"):
        _ = diffad_edge.Inspectr


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import diffad_edge, sys; print([m for m in ('numpy', 'cv2', 'onnxruntime', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
