"""OpenCV and cameras.

Knows what OpenCV was built with, whose it is, and the devices of cameras. Opens no camera.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any

from diffad_runtime.doctor.finding import Finding, fail, ok, warn
from diffad_runtime.doctor.packages import uninstall, wheels
from diffad_runtime.errors import DiffadError
from diffad_runtime.jetson import is_jetson
from diffad_runtime.opencv import fault_of

_WHEELS = re.compile(r"opencv(-contrib)?-python(-headless)?(-rolling)?")
_JETPACK = "use JetPack's own: sudo apt install nvidia-opencv, in a virtual environment with --system-site-packages"
_ARGUS = "usr/lib/*/gstreamer-1.0/libgstnvarguscamerasrc.so"


def look_at_opencv(root: Path) -> Iterator[Finding]:
    """Whether it loads, which it is, and what it can open."""
    jetson, cv2 = is_jetson(root), _load()
    if isinstance(cv2, DiffadError):
        yield fail("opencv", cv2.what, cv2.mend)
        return
    yield _whose(cv2) if jetson else ok("opencv", str(cv2.__version__))
    build = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in cv2.getBuildInformation().splitlines())
    }
    again = f"On a Jetson {_JETPACK}" if jetson else "Run: pip install --force-reinstall opencv-python-headless"
    for name, needed_for, say, mend in (
        # Only a Jetson has cameras that OpenCV cannot open otherwise.
        ("GStreamer", "CSI cameras", warn, again) if jetson else ("GStreamer", "CSI cameras", ok, "Not needed here"),
        ("FFMPEG", "rtsp://, http:// and video files", warn, again),
    ):
        if build.get(name, "NO").upper().startswith("YES"):
            yield ok(f"opencv {name}", "built in")
        else:
            yield say(f"opencv {name}", f"not built in, needed for {needed_for}", mend)


def _load() -> Any:
    """OpenCV, or why it cannot be had. What NumPy 2 prints of a module made for NumPy 1 is not shown."""
    with redirect_stderr(io.StringIO()):
        try:
            return import_module("cv2")
        except ImportError as error:
            return fault_of(error)
        except Exception as error:  # its loader is Python, and fails in ways of its own
            return fault_of(ImportError(f"{type(error).__name__}: {error}"))


def _whose(cv2: Any) -> Finding:
    """On a Jetson: JetPack's, one built on the board, or a wheel that hides both."""
    file = Path(str(getattr(cv2, "__file__", None) or ""))
    found = f"{cv2.__version__} in {file.parent}"
    hiding = [wheel for wheel in wheels(_WHEELS) if wheel.folder in file.parents]
    if not hiding:
        return ok("opencv", found)
    return warn(
        "opencv",
        f"{cv2.__version__} is a wheel of pip, which hides JetPack's own: {'; '.join(map(str, hiding))}",
        f"Run: {uninstall(hiding)}; then {_JETPACK}",
    )


def look_at_cameras(root: Path) -> Iterator[Finding]:
    """Devices of USB cameras, and on a Jetson what CSI cameras are read through."""
    devices = sorted((root / "dev").glob("video*"))
    refused = [str(device) for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if not devices:
        yield warn("cameras", "no /dev/video*", "Plug a camera in, or use dir://, file:// or synthetic://line")
    elif refused:
        # Whatever else is a source of frames still is one.
        mend = "Run: sudo usermod -aG video $USER, then log in again"
        yield fail("cameras", f"no permission for {', '.join(refused)}", mend)
    else:
        yield ok("cameras", ", ".join(map(str, devices)))
    if is_jetson(root):
        yield _csi(root)


def _csi(root: Path) -> Finding:
    if not any(root.glob(_ARGUS)):
        return warn(
            "csi cameras",
            "GStreamer has no nvarguscamerasrc, which CSI cameras are read through",
            "Run: sudo apt install nvidia-l4t-gstreamer; USB and network cameras do without",
        )
    if not (root / "tmp/argus_socket").exists():
        return warn(
            "csi cameras",
            "nvargus-daemon does not run: no /tmp/argus_socket",
            "Run: sudo systemctl restart nvargus-daemon; in a container, mount it: "
            "-v /tmp/argus_socket:/tmp/argus_socket. USB and network cameras do without",
        )
    return ok("csi cameras", "nvarguscamerasrc and its daemon are there")
