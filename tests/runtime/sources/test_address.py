"""URIs without their passwords, and what was meant by a mistyped one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.sources.address import CAMERA_FORMS, SCHEMES, meant, without_password


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://me:p@ss:w@cam:554/a?b=c@d", "rtsp://me:***@cam:554/a?b=c@d"),
        ("http://cam:80/a", "http://cam:80/a"),
        ("http://me@cam/a", "http://me@cam/a"),
        ("http://cam/a?user=me&pwd=geheim&size=2", "http://cam/a?user=me&pwd=***&size=2"),
        ("http://cam/a?loginpass=geheim#x", "http://cam/a?loginpass=***#x"),
        ("http://cam/a?access_token=geheim", "http://cam/a?access_token=***"),
        ("http://cam/a?keyint=25&author=me&bypass_x=1", "http://cam/a?keyint=25&author=me&bypass_x=1"),
        ("no stream from 'rtsp://me:geheim@cam/1': refused", "no stream from 'rtsp://me:***@cam/1': refused"),
        (
            "gst://rtspsrc location=rtsp://me:geheim@cam/1 ! x?width=2",
            "gst://rtspsrc location=rtsp://me:***@cam/1 ! x?width=2",
        ),
        ("rtsp://:geheim@cam", "rtsp://:***@cam"),
    ],
)
def test_passwords_are_hidden(uri: str, shown: str) -> None:
    assert without_password(uri) == shown
    assert without_password(shown) == shown


@given(st.text("abcxyz0189!$*+,.:@_-", min_size=1), st.sampled_from(["rtsp", "http"]))
def test_no_password_is_ever_shown(password: str, scheme: str) -> None:
    shown = without_password(f"{scheme}://me:{password}@cam/1")
    assert shown == f"{scheme}://me:***@cam/1"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("rstp://cam/1", "rtsp://cam/1"),
        ("rtsp:/cam/1", "rtsp://cam/1"),
        ("RSTP://me:pw@cam/1", "rtsp://me:pw@cam/1"),
        ("htttp://cam", "http://cam"),
        ("v4l:///dev/video0", "v4l2:///dev/video0"),
        ("v4l2:/dev/video0", "v4l2:///dev/video0"),
        ("/dev/video2", "v4l2:///dev/video2"),
        ("video2", "v4l2:///dev/video2"),
        ("sythetic://line?fps=3", "synthetic://line?fps=3"),
        ("ftps://x", None),
        ("nowhere", None),
        ("c:\\clips", None),
        ("", None),
    ],
)
def test_what_was_meant(uri: str, expected: str | None) -> None:
    assert meant(uri) == expected


def test_every_scheme_is_among_the_forms() -> None:
    assert all(scheme in CAMERA_FORMS for scheme in SCHEMES if scheme not in {"rtsps", "https"})
