"""CSI cameras: the pipeline that is asked for, and what is refused. No camera of the kind is here."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.errors import SourceError
from diffad_runtime.sources import csi
from diffad_runtime.sources.csi import CsiConfig, open_csi, pipeline_of
from diffad_runtime.sources.gstreamer import PipelineConfig, PipelineSource
from diffad_runtime.sources.gstreamer_words import LAUNCHER


def test_the_pipeline_of_the_defaults() -> None:
    assert pipeline_of(0, CsiConfig()) == (
        "nvarguscamerasrc sensor-id=0 ! "
        "video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=30/1 ! "
        "nvvidconv flip-method=0 ! video/x-raw,format=BGRx"
    )


def test_everything_that_can_be_held_still() -> None:
    query = "mode=4&exposure=4000.5&gain=2.5&digital_gain=1&white_balance=9&lock=true"
    source, caps, *_ = pipeline_of(1, CsiConfig.parse(query)).split(" ! ")
    assert source == (
        'nvarguscamerasrc sensor-id=1 sensor-mode=4 exposuretimerange="4000500 4000500" gainrange="2.5 2.5" '
        'ispdigitalgainrange="1 1" wbmode=9 aelock=true awblock=true'
    )
    assert "memory:NVMM" in caps


@given(flip=st.integers(0, 7), width=st.integers(16, 4096), height=st.integers(16, 4096))
def test_a_quarter_turn_swaps_the_sides_of_the_frame_and_not_of_the_sensor(flip: int, width: int, height: int) -> None:
    asked: list[tuple[str, PipelineConfig, float | None]] = []

    class Taken(PipelineSource):
        def __init__(self, uri: str, pipeline: str, config: PipelineConfig, *, fps_hint: float | None = None) -> None:
            assert uri
            asked.append((pipeline, config, fps_hint))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csi, "PipelineSource", Taken)
        open_csi(f"csi://0?width={width}&height={height}&flip={flip}&fps=21")
    (pipeline, config, fps) = asked[0]
    assert f"width={width},height={height},framerate=21/1" in pipeline
    assert (config.width, config.height) == ((height, width) if flip % 2 else (width, height))
    assert fps == 21


@pytest.mark.parametrize(
    ("uri", "pattern"),
    [
        ("csi://", "expected the number of a sensor, 0 to 15, got ''"),
        ("csi://left", "got 'left'. Write csi://0"),
        ("csi://16", "got '16'"),
        ("csi://0?colour=red", "csi:// has no parameter 'colour'.*width, height, fps, flip, mode, exposure"),
        ("csi://0?flip=8", "flip='8'.*flip is: 0 none, 1 a quarter left"),
        ("csi://0?fps=fast", "fps='fast'.*fps is: frames a second"),
        ("csi://0?exposure=0", "exposure='0'.*microseconds"),
        ("csi://0?fps=30&fps=60", "'fps' is given twice"),
    ],
)
def test_what_is_refused(uri: str, pattern: str) -> None:
    with pytest.raises(SourceError, match=pattern):
        open_csi(uri)


@pytest.mark.skipif(
    shutil.which(LAUNCHER) is None or shutil.which("nvargus-daemon") is not None,
    reason=f"needs {LAUNCHER} on a machine that is no Jetson",
)
def test_on_a_machine_without_nvidias_elements() -> None:
    with pytest.raises(SourceError, match=r"no element nvarguscamerasrc on this machine\. It comes with JetPack"):
        open_csi("csi://0?via=child&exposure=4000")
