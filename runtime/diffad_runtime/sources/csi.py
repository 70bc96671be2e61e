"""A Jetson's CSI camera: from csi://0 to the pipeline of NVIDIA's camera stack.

    csi://0?width=1920&height=1080&fps=30&flip=2&exposure=4000&gain=2&lock=true

Knows nvarguscamerasrc and nvvidconv. Does not know how a pipeline is run (gstreamer.py).

The ISP gives NV12 in NVIDIA's memory; nvvidconv turns, scales and converts it to BGRx in the CPU's on the way. Sources:
`gst-inspect-1.0 nvarguscamerasrc` and `nvvidconv` of L4T, and NVIDIA's accelerated GStreamer guide. Not run on a board
yet; the pipeline's text and what becomes of it without the elements are tested.
"""

from typing import ClassVar, Literal

from pydantic import Field

from diffad_runtime.errors import SourceError
from diffad_runtime.sources.base import Source
from diffad_runtime.sources.gstreamer import PipelineConfig, PipelineSource
from diffad_runtime.sources.query import Query

_TURNED = {1, 3, 5, 7}  # these flips swap width and height
_MOST_SENSORS = 16


class CsiConfig(Query):
    """The parameters of csi://. What is left out, the camera stack decides."""

    what: ClassVar[str] = "csi://"

    width: int = Field(default=1920, ge=16, le=16384, description="of the sensor's mode, pixels, before any turning")
    height: int = Field(default=1080, ge=16, le=16384, description="of the sensor's mode, pixels, before any turning")
    fps: int = Field(default=30, ge=1, le=1000, description="frames a second; the sensor's mode must have it")
    flip: int = Field(
        default=0,
        ge=0,
        le=7,
        description="0 none, 1 a quarter left, 2 half a turn, 3 a quarter right, 4 mirrored left to right, "
        "5 mirrored along the rising diagonal, 6 mirrored top to bottom, 7 mirrored along the falling diagonal",
    )
    mode: int | None = Field(default=None, ge=0, le=63, description="number of the sensor's mode (v4l2-ctl lists them)")
    exposure: float | None = Field(default=None, gt=0, le=1e7, description="exposure time held at that, microseconds")
    gain: float | None = Field(default=None, ge=1, le=1000, description="analogue gain held at that, a factor")
    digital_gain: float | None = Field(default=None, ge=1, le=256, description="the ISP's gain held at that, a factor")
    white_balance: int | None = Field(
        default=None, ge=0, le=9, description="wbmode: 0 off, 1 automatic, 2 incandescent, 5 daylight, 9 manual"
    )
    lock: bool = Field(default=False, description="automatic exposure and white balance stay where they are")
    timeout: float = Field(default=5.0, gt=0, le=600, description="seconds without a frame before it has failed")
    via: Literal["auto", "opencv", "child"] = Field(default="auto", description="as for gst://")


def open_csi(uri: str) -> Source:
    """Open csi://SENSOR?width=1920&height=1080&fps=30&flip=0; see CsiConfig for the rest.

    Judged parts must look the same today and tomorrow: hold exposure and gain, and the white balance.

    Raises:
        SourceError: no number of a sensor, an unknown parameter, a bad value, or no pictures; says why.
    """
    place, _, query = uri.partition("://")[2].partition("?")
    place = place.strip("/")
    if not (place.isascii() and place.isdigit() and int(place) < _MOST_SENSORS):
        raise SourceError(
            f"{uri}: expected the number of a sensor, 0 to {_MOST_SENSORS - 1}, got {place!r}", mend="Write csi://0"
        )
    config = CsiConfig.parse(query)
    width, height = config.width, config.height
    if config.flip in _TURNED:
        width, height = height, width
    frames = PipelineConfig(width=width, height=height, timeout=config.timeout, via=config.via)
    return PipelineSource(uri, pipeline_of(int(place), config), frames, fps_hint=config.fps)


def pipeline_of(sensor: int, config: CsiConfig) -> str:
    """The elements from the sensor to BGRx in the CPU's memory, as for gst-launch-1.0."""
    source = [f"nvarguscamerasrc sensor-id={sensor}"]
    if config.mode is not None:
        source.append(f"sensor-mode={config.mode}")
    if config.exposure is not None:
        nanoseconds = round(config.exposure * 1000)
        source.append(f'exposuretimerange="{nanoseconds} {nanoseconds}"')
    if config.gain is not None:
        source.append(f'gainrange="{config.gain:g} {config.gain:g}"')
    if config.digital_gain is not None:
        source.append(f'ispdigitalgainrange="{config.digital_gain:g} {config.digital_gain:g}"')
    if config.white_balance is not None:
        source.append(f"wbmode={config.white_balance}")
    if config.lock:
        source.append("aelock=true awblock=true")
    sensor_caps = (
        f"video/x-raw(memory:NVMM),format=NV12,width={config.width},height={config.height},framerate={config.fps}/1"
    )
    return " ! ".join(
        [" ".join(source), sensor_caps, f"nvvidconv flip-method={config.flip}", "video/x-raw,format=BGRx"]
    )
