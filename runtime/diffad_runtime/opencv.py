"""What to tell a user whose OpenCV is missing, or does not load.

Knows the ways in which that shows. Loads OpenCV only to find out what is wrong with it. Wheels bring OpenCV on every
machine but on aarch64: there JetPack has its own, with GStreamer, and a wheel would be put before it.
"""

from importlib import import_module

from diffad_runtime.errors import DiffadError

GET_IT = (
    "On a Jetson: sudo apt install nvidia-opencv, and make the virtual environment with --system-site-packages. "
    "Elsewhere: pip install 'diffad-edge[opencv]'"
)
_NUMPY = ("multiarray", "_ARRAY_API", "NumPy 1.x")


def fault_of(error: ImportError) -> DiffadError:
    """What `import cv2` raised, as an error with a mend."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name == "cv2":
        return DiffadError("OpenCV is not installed: no Python module 'cv2'", mend=GET_IT)
    if any(sign in text for sign in _NUMPY):
        # NumPy 2 prints many lines by itself; the exception says only that much.
        return DiffadError(
            f"OpenCV was built against numpy 1 and cannot be loaded beside numpy 2: {text[:100]}",
            mend="JetPack's OpenCV is such a one. Run: pip install 'numpy>=1.26,<2'",
        )
    return DiffadError(f"OpenCV cannot be loaded: {text[:200]}", mend=f"Install it again. {GET_IT}")


def about_import(error: ImportError) -> DiffadError | None:
    """The error to show where OpenCV is why something of ours could not be imported; None where it is not."""
    if error.name == "cv2" or any(sign in str(error) for sign in _NUMPY):
        return fault_of(error)
    try:
        import_module("cv2")
    except ImportError as cause:
        # OpenCV's own loader complains of its second attempt; what it said at the first is what is wrong.
        return fault_of(error if "recursion" in str(cause) else cause)
    return None
