"""What GStreamer says when a pipeline fails, as a reason and a mend.

Knows the lines that gst-launch-1.0 prints. Does not know processes or pictures.
"""

import re
import shutil
from collections.abc import Sequence

LAUNCHER = "gst-launch-1.0"
GET_GSTREAMER = (
    "On Debian, Ubuntu and a Jetson: sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good"
)
_NVIDIA = (
    "It comes with JetPack (package nvidia-l4t-gstreamer) and works on a Jetson only; in a container, start it with "
    "--runtime nvidia and mount /tmp/argus_socket. Elsewhere use v4l2:// or rtsp://"
)
_PACKAGES = {
    "aravissrc": "sudo apt install libaravis-0.8-0, or use genicam://",
    "avdec_h264": "sudo apt install gstreamer1.0-libav",
    "h264parse": "sudo apt install gstreamer1.0-plugins-bad",
}
_MISSING = re.compile(r'no element "([^"]+)"')
_FROM = re.compile(r"ERROR: from element (?:/\S*?:)?([^:/\s]+): (.+)")
_FOLLOWS = "failed to post a proper error message"
_ERRONEOUS = re.compile(r"erroneous pipeline: (.+)")
# NVIDIA's camera source prints its faults, and then ends as if all were well.
_TELLING = re.compile(r"no cameras available|error|fail|cancelled|timeout", re.IGNORECASE)
_ADVICE = (
    (
        re.compile(r"could not link|not-negotiated|can't handle caps", re.IGNORECASE),
        "Two elements do not agree on a format: put the caps that the camera has into the pipeline "
        "(v4l2-ctl --list-formats-ext lists them), or leave fps out",
    ),
    (re.compile(r'no property "'), "Check the name: gst-inspect-1.0 ELEMENT lists the properties"),
    (re.compile(r"syntax error|empty pipeline"), "Write it as for gst-launch-1.0, elements with ! between"),
    (
        re.compile(r"argus|no cameras available", re.IGNORECASE),
        "Check the camera's ribbon cable and its device tree overlay, then: sudo systemctl restart nvargus-daemon",
    ),
    (re.compile(r"Cannot identify device|No such (?:file|device)"), "Check the device's name and its cable"),
    (re.compile(r"busy", re.IGNORECASE), "Close whatever else uses the camera"),
)
_OTHERWISE = f"Try the pipeline by itself: {LAUNCHER} PIPELINE ! fakesink"


def reason_of(lines: Sequence[str]) -> tuple[str, str]:
    """The line that says why, and what to do about it.

    Args:
        lines: the last ones printed, oldest first.

    Returns:
        reason ("" where nothing was said), mend.
    """
    text = "\n".join(lines)
    missing = _MISSING.search(text)
    if missing:
        name = missing[1]
        mend = _NVIDIA if name.startswith("nv") else _PACKAGES.get(name)
        mend = mend or f"Install the plugin that has it (apt-cache search gstreamer1.0); gst-inspect-1.0 {name} tells"
        return f"GStreamer has no element {name} on this machine", mend
    told = [line for line in lines if line.strip()]
    reason = _from_element(told)
    if not reason:
        erroneous = _ERRONEOUS.search(text)
        telling = next((line for line in told if _TELLING.search(line)), told[-1] if told else "")
        reason = erroneous[1] if erroneous else telling
    # What an element says in general is often explained further down, in the debug lines.
    mend = next((advice for pattern, advice in _ADVICE if pattern.search(reason)), None)
    mend = mend or next((advice for pattern, advice in _ADVICE if pattern.search(text)), _OTHERWISE)
    return reason[:300].strip(), mend


def _from_element(lines: Sequence[str]) -> str:
    """The first error of an element, with the line of its debug lines that says more; "" where there is none."""
    errors = [(at, found) for at, line in enumerate(lines) if (found := _FROM.search(line))]
    # The first says why; that the state change failed for it is said of every element after it.
    at, found = next((each for each in errors if _FOLLOWS not in each[1][2]), errors[0] if errors else (0, None))
    if found is None:
        return ""
    detail = lines[at + 3] if len(lines) > at + 3 and lines[at + 1].startswith("Additional debug") else ""
    return f"{found[1]}: {found[2].rstrip('.')}" + (f" ({detail})" if detail and detail not in found[2] else "")


def launcher() -> str | None:
    """Path of gst-launch-1.0, None where it is not installed."""
    return shutil.which(LAUNCHER)
