"""What users of the library are told where OpenCV is missing or does not load."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffad_runtime.opencv import about_import, fault_of

MISSING = ModuleNotFoundError("No module named 'cv2'", name="cv2")


@pytest.mark.parametrize(
    ("error", "words", "mend"),
    [
        (MISSING, "not installed", "--system-site-packages"),
        (ImportError("numpy.core.multiarray failed to import"), "beside numpy 2", "'numpy>=1.26,<2'"),
        (ImportError("libGL.so.1:\n cannot open"), "cannot be loaded: libGL.so.1: cannot open", "[opencv]"),
    ],
)
def test_faults(error: ImportError, words: str, mend: str) -> None:
    fault = fault_of(error)
    assert words in fault.what
    assert mend in fault.mend
    assert "\n" not in str(fault)
    assert fault.exit_code == 1


def test_other_faults_are_not_opencvs() -> None:
    assert about_import(ImportError("cannot import name 'x' from 'diffad_runtime.inspector'")) is None
    assert about_import(ModuleNotFoundError("No module named 'torch'", name="torch")) is None
    assert about_import(MISSING) is not None


@pytest.mark.parametrize(
    ("cv2", "words"),
    [
        (None, "OpenCV is not installed"),
        ("raise ImportError('numpy.core.multiarray failed to import')", "built against numpy 1"),
        ("raise ImportError('libtbb.so.2: cannot open shared object file')", "OpenCV cannot be loaded: libtbb.so.2"),
        # as OpenCV's own loader: asked again, it complains of that
        (
            "import sys\nfirst = not hasattr(sys, 'asked')\nsys.asked = True\n"
            "raise ImportError('libtbb.so.2: no such file' if first else 'ERROR: recursion is detected')",
            "OpenCV cannot be loaded: libtbb.so.2",
        ),
    ],
)
def test_the_library_says_it_in_one_line(cv2: str | None, words: str, tmp_path: Path) -> None:
    if cv2 is not None:
        (tmp_path / "cv2.py").write_text(cv2)
    start = f"sys.path.insert(0, {str(tmp_path)!r})" if cv2 else "sys.modules['cv2'] = None"
    code = f"""
import sys
{start}
import diffad_runtime
from diffad_runtime import InputError
try:
    from diffad_runtime import Inspector
except diffad_runtime.DiffadError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert words in done.stdout
    assert done.stdout.count("\n") == 1
