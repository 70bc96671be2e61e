"""What a camera is called: URIs without their passwords, and what was meant by one that is mistyped.

Knows the schemes. Opens nothing.
"""

import difflib
import re

SCHEMES = (
    *("v4l2", "csi", "rtsp", "rtsps", "http", "https", "gst", "genicam"),
    *("file", "dir", "synthetic", "chaos"),
)

CAMERA_FORMS = (
    "0 (camera index), v4l2:///dev/video0, csi://0, rtsp://..., http://..., gst://PIPELINE, genicam://..., "
    "file://clip.mp4, dir://folder, synthetic://line?fps=30&defects=0.1, chaos://..."
)

_PASSWORD = re.compile(r"://([^:/?#@\s]*):[^/?#\s]*@")
# Cheap cameras take it in the query: ?user=admin&pwd=secret.
_SECRET = r"[\w.-]*(?:pass|password|passwd|pwd|psw|token|secret)|auth|(?:[\w.-]*[_.-])?key|apikey"
_QUERY = re.compile(rf"([?&;](?:{_SECRET})=)[^&;#\s'\"]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """A URI, or a text that holds some, with each password as ***: fit for logs and error messages."""
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"://\1:***@", text))


def meant(uri: str) -> str | None:
    """The URI that was probably meant by one of a scheme that is not known, None where nothing is close.

    Worked: "rstp://cam/1" gives "rtsp://cam/1"; "rtsp:/cam/1" gives "rtsp://cam/1"; "/dev/video2" gives
    "v4l2:///dev/video2"; "video2" gives "v4l2:///dev/video2".
    """
    if found := re.fullmatch(r"(?:/dev/)?(video\d+)", uri):
        return f"v4l2:///dev/{found[1]}"
    scheme, colon, rest = uri.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]+", scheme):
        return None
    close = difflib.get_close_matches(scheme.lower(), SCHEMES, 1, 0.7)
    if not close:
        return None
    kept = rest.lstrip("/")
    slashes = "///" if rest.startswith("///") or (close[0] == "v4l2" and kept.startswith("dev/")) else "//"
    return f"{close[0]}:{slashes}{kept}"
