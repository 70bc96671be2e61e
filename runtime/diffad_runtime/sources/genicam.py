"""An industrial camera: GigE Vision, USB3 Vision or CoaXPress, through GenICam and the package harvesters.

    genicam://?cti=/opt/maker/producer.cti                              the only camera that the producer finds
    genicam://40012345?PixelFormat=BayerRG8&ExposureTime=4000&Gain=0    by serial number; settings by their node's name
    genicam://line-2?trigger=Line1                                      by its user-defined name; on a signal at Line1

Knows harvesters. Does not know pixel formats (genicam_pixels.py). The camera's maker gives the GenTL producer, a .cti
file; without `cti` those in the folders of GENICAM_GENTL64_PATH are taken. Run for real against the producer that the
package genicam brings for trials, which simulates cameras without a trigger; triggers were not run on a camera.

Without a producer: Aravis, whose GStreamer element works as gst://aravissrc camera-name=NAME?width=...&height=....
"""

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlencode

from pydantic import Field

from diffad_runtime.errors import MissingExtraError, SourceError
from diffad_runtime.result import Image
from diffad_runtime.sources.base import Shot, Source
from diffad_runtime.sources.genicam_pixels import to_bgr
from diffad_runtime.sources.query import Query

PATH_VARIABLE = "GENICAM_GENTL64_PATH"
# harvesters waits with Python's global lock held: a look of a millisecond and a rest leave the other threads alone.
_LOOK_S = 0.001
_REST_S = 0.004
_PLACE = re.compile(r" : \w+Exception thrown | \(file ")
_CHECK = "Check the camera's cable, power and network, and that its maker's viewer shows a picture"
_NAMES = ("id_", "serial_number", "user_defined_name", "model", "display_name")


class GenicamConfig(Query):
    """The parameters of genicam:// in small letters; names with a capital first are nodes of the camera."""

    what: ClassVar[str] = "genicam://"

    cti: str = Field(default="", description=f"path of the GenTL producer; without it, all in {PATH_VARIABLE}")
    trigger: str = Field(default="", description="take a picture on a signal at this source, as Line1 or Software")
    activation: str = Field(default="RisingEdge", description="of the trigger: RisingEdge, FallingEdge, AnyEdge")
    timeout: float = Field(default=5.0, gt=0, le=600, description="seconds without a frame before it has failed")


def open_genicam(uri: str) -> Source:
    """Open genicam://CAMERA?cti=FILE&trigger=LINE&NodeName=value.

    Args:
        uri: CAMERA is the serial number, id, user-defined name or model; "" where there is one. See GenicamConfig.

    Raises:
        MissingExtraError: harvesters is not installed.
        SourceError: no producer, no such camera, it is in use, a setting that it refuses, or no frame in time.
    """
    place, _, query = uri.partition("://")[2].partition("?")
    nodes, ours = _sorted_out(query)
    return GenicamSource(uri, unquote(place.strip("/")), GenicamConfig.parse(ours), nodes)


class GenicamSource(Source):
    """One camera. Use `open_genicam` to make one.

    Without a trigger the newest frame is handed out and older ones are skipped; with one, every frame, and waiting for
    a signal is no fault, however long.
    """

    def __init__(self, uri: str, wanted: str, config: GenicamConfig, nodes: Mapping[str, str]) -> None:
        super().__init__(uri, live=True, fps_hint=None)
        self._config = config
        self._files = _producers(config.cti)
        harvester = _borrow(self._files)
        self._camera: Any = None
        try:
            with _own_sigint():
                self._camera = _create(harvester, wanted)
            table = self._camera.remote_device.node_map
            for name, value in nodes.items():
                _set(table, name, value)
            if config.trigger:
                _set_trigger(table, config)
            self._camera.start()
        except SourceError:
            self._release()
            raise
        except Exception as error:  # the producer's own kinds have no common base but this
            self._release()
            raise SourceError(f"{uri} does not start: {_told(error)}", mend=_CHECK) from error

    def _grab(self) -> Shot | None:
        start = time.monotonic()
        looks = 0
        while not self._closing.is_set():
            buffer = self._look()
            looks += 1
            if buffer is not None:
                skipped = 0
                # A frame that lay ready may be old. Every frame of a triggered camera is a part of its own.
                while looks == 1 and not self._config.trigger and (newer := self._look()) is not None:
                    buffer.queue()
                    buffer, skipped = newer, skipped + 1
                return Shot(self._picture(buffer), skipped=skipped)
            if not self._config.trigger and time.monotonic() - start > self._config.timeout:
                raise SourceError(f"{self.uri} gave no frame for {self._config.timeout:g} s", mend=_CHECK)
            self._closing.wait(_REST_S)
        return None

    def _look(self) -> Any:
        """A buffer, to be queued again, or None."""
        try:
            found = self._camera.try_fetch(timeout=_LOOK_S)
        except Exception as error:
            raise SourceError(f"{self.uri} stopped: {_told(error)}", mend=_CHECK) from error
        if not isinstance(found, list):
            return found
        first, *others = [buffer for buffer in found if buffer is not None] or [None]  # of more than one stream
        for other in others:
            other.queue()
        return first

    def _picture(self, buffer: Any) -> Image:
        with buffer:  # goes back to the camera
            components = buffer.payload.components
            if not components:
                raise SourceError(f"{self.uri} sent a buffer without a picture", mend=_CHECK)
            part = components[0]
            return to_bgr(part.data, part.width, part.height, part.data_format)

    def _release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            with suppress(Exception):  # a camera that is gone cannot be stopped
                camera.stop()
            with suppress(Exception):
                camera.destroy()
        files, self._files = self._files, ()
        if files:
            _give_back(files)


# A second Harvester over the same producer finds no camera, and a search ends what is open: one for all cameras.
_shared: dict[tuple[str, ...], tuple[Any, int]] = {}
_shared_lock = threading.Lock()


def _borrow(files: tuple[str, ...]) -> Any:
    try:
        harvester_class = import_module("harvesters.core").Harvester
    except ImportError:
        raise MissingExtraError("harvesters", extra="genicam", purpose="a GenICam camera") from None
    # It writes errors with their tracebacks to the terminal by a handler of its own; ours say what they say.
    logger = logging.getLogger("harvesters.core")
    logger.handlers = [logging.NullHandler()]
    logger.propagate = True
    with _shared_lock:
        harvester, users = _shared.get(files, (None, 0))
        if harvester is None:
            harvester = harvester_class()
            try:
                for file in files:
                    harvester.add_file(file)
                harvester.update()
            except Exception as error:
                harvester.reset()
                raise SourceError(
                    f"the GenTL producer {', '.join(files)} does not load: {_told(error)}", mend="Install it again"
                ) from error
        _shared[files] = (harvester, users + 1)
        return harvester


def _give_back(files: tuple[str, ...]) -> None:
    with _shared_lock:
        harvester, users = _shared.pop(files)
        if users > 1:
            _shared[files] = (harvester, users - 1)
        else:
            harvester.reset()


def _producers(cti: str) -> tuple[str, ...]:
    if cti:
        if not Path(cti).is_file():
            raise SourceError(f"there is no GenTL producer {cti}", mend="Check the path of the .cti file")
        return (cti,)
    folders = [Path(folder) for folder in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if folder]
    found = sorted(str(file) for folder in folders for file in folder.glob("*.cti"))
    if not found:
        raise SourceError(
            f"no GenTL producer: {PATH_VARIABLE} names {len(folders)} folders with no .cti file in them",
            mend="Install the software of the camera's maker, or write genicam://?cti=/path/of/producer.cti",
        )
    return tuple(found)


@contextmanager
def _own_sigint() -> Iterator[None]:
    """harvesters takes Ctrl-C for itself wherever it makes a camera on the main thread: give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _create(harvester: Any, wanted: str) -> Any:
    devices = list(harvester.device_info_list)
    shown = ", ".join(f"{_property(each, 'serial_number')} ({_property(each, 'display_name')})" for each in devices)
    fitting = [each for each in devices if not wanted or wanted in {_property(each, name) for name in _NAMES}]
    if len(fitting) != 1:
        many = "several cameras" if len(fitting) > 1 else "no camera"
        raise SourceError(
            f"{many} of that name: {wanted!r} among {shown or 'none found'}"
            if wanted
            else f"{many}: {shown or 'none'}",
            mend="Write genicam://SERIAL_NUMBER" if devices else _CHECK,
        )
    try:
        return harvester.create(fitting[0])
    except Exception as error:
        raise SourceError(
            f"the camera {_property(fitting[0], 'display_name')} cannot be opened: {_told(error)}",
            mend="Close whatever else uses it",
        ) from error


def _property(device: Any, name: str) -> str:
    try:
        return str(getattr(device, name))
    except Exception:  # producers need not know all of them
        return ""


def _sorted_out(query: str) -> tuple[dict[str, str], str]:
    """The camera's nodes, and the query without them."""
    pairs = parse_qsl(query, keep_blank_values=True)
    nodes = {name: value for name, value in pairs if name[:1].isupper()}
    return nodes, urlencode([(name, value) for name, value in pairs if not name[:1].isupper()])


def _set_trigger(table: Any, config: GenicamConfig) -> None:
    """A camera with one kind of trigger need not have a selector, and Software knows no edge."""
    if table.has_node("TriggerSelector"):
        _set(table, "TriggerSelector", "FrameStart")
    _set(table, "TriggerMode", "On")
    _set(table, "TriggerSource", config.trigger)
    if config.trigger != "Software" and table.has_node("TriggerActivation"):
        _set(table, "TriggerActivation", config.activation)


def _set(table: Any, name: str, value: str) -> None:
    if not table.has_node(name):
        raise SourceError(f"the camera has no node {name}", mend="Its manual, or its maker's viewer, lists them")
    try:
        table.get_node(name).from_string(value)
    except Exception as error:
        raise SourceError(f"the camera refuses {name}={value!r}: {_told(error)}", mend="Take a value it has") from error


def _told(error: Exception) -> str:
    """What a producer or GenApi says, without the places in its code."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _PLACE.split(text)[0][:300]
