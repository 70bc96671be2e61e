"""GenICam cameras, for real against the producer that the package genicam brings: three simulated cameras, no trigger.

For a trigger a stand-in takes the place of harvesters: it has the names and signatures that are used of version 1.4.
"""

import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.errors import MissingExtraError, SourceError
from diffad_runtime.result import Frame
from diffad_runtime.sources import genicam
from diffad_runtime.sources.genicam import PATH_VARIABLE, open_genicam
from diffad_runtime.sources.genicam_pixels import FORMATS, to_bgr


def _producer() -> Path | None:
    found = importlib.util.find_spec("genicam")
    if found is None or importlib.util.find_spec("harvesters") is None or not found.submodule_search_locations:
        return None
    return next(iter(Path(found.submodule_search_locations[0]).glob("*.cti")), None)


PRODUCER = _producer()
real = pytest.mark.skipif(PRODUCER is None, reason="needs harvesters and the producer of genicam: the extra genicam")


@pytest.fixture(autouse=True)
def _all_given_back() -> Iterator[None]:
    yield
    assert genicam._shared == {}


@real
def test_one_of_several_by_name_and_the_folder_of_producers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PRODUCER is not None
    with pytest.raises(SourceError, match=r"several cameras: 0 \(.*red.*Write genicam://SERIAL_NUMBER"):
        open_genicam(f"genicam://?cti={PRODUCER}")
    monkeypatch.setenv(PATH_VARIABLE, str(PRODUCER.parent))
    with open_genicam("genicam://VikyTL_DEV_green") as green, open_genicam("genicam://2") as blue:
        assert green.live
        pictures = [next(each).image for each in (green, blue, green)]
    assert [picture.shape for picture in pictures] == [(400, 400, 3)] * 3
    assert all(picture.dtype == np.uint8 and picture.flags.owndata for picture in pictures)
    # White, and a ball in the camera's colour: what is not that channel is dark there.
    for picture, channel in ((pictures[0], 1), (pictures[1], 0)):
        ball = picture.reshape(-1, 3)[picture.reshape(-1, 3).min(axis=1) < 100]
        assert len(ball) > 50
        assert ball[:, channel].min() > 200
        assert np.delete(ball, channel, axis=1).mean() < 60


@real
def test_nodes_are_set() -> None:
    with open_genicam(f"genicam://0?cti={PRODUCER}&Width=200&Height=120&PixelFormat=Mono8") as source:
        image = next(source).image
    assert image.shape == (120, 200, 3)
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


@real
def test_a_late_reader_gets_the_newest_frame() -> None:
    with open_genicam(f"genicam://0?cti={PRODUCER}&AcquisitionFrameRate=20") as source:
        next(source)
        time.sleep(0.5)
        ready = time.monotonic()
        late = next(source)
        assert time.monotonic() - ready < 0.04
        assert late.frame_id >= 3  # the three buffers were full; the older two are gaps
        start = time.monotonic()
        fresh = [next(source) for _ in range(4)]
    assert 3 / 20 - 0.03 < time.monotonic() - start < 4 / 20 + 0.1
    assert [frame.frame_id - late.frame_id for frame in fresh] == [1, 2, 3, 4]


@real
@pytest.mark.parametrize(
    ("uri", "pattern"),
    [
        ("genicam://77?", "no camera of that name: '77' among 0 "),
        (
            "genicam://0?Width=70000&",
            r"refuses Width='70000': Value = 70000 must be equal or smaller than Max = 800\. ",
        ),
        ("genicam://0?Foo=1&", "no node Foo"),
        ("genicam://0?PixelFormat=Nice&", "refuses PixelFormat='Nice'.*the value is invalid"),
        ("genicam://0?trigger=Line1&", "no node TriggerMode"),
        ("genicam://0?speed=1&", "genicam:// has no parameter 'speed'.*cti, trigger, activation, timeout"),
    ],
)
def test_what_is_refused(uri: str, pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=pattern) as caught:
        open_genicam(f"{uri}cti={PRODUCER}")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@real
def test_a_camera_in_use_and_again_when_it_is_free() -> None:
    uri = f"genicam://1?cti={PRODUCER}"
    with open_genicam(uri) as first:
        with pytest.raises(SourceError, match=r"green\) cannot be opened: .*in use.*Close whatever else uses it"):
            open_genicam(uri)
        next(first)  # is not disturbed by it
    for _ in range(3):
        with open_genicam(uri) as again:
            next(again)
        again.close()


@real
def test_the_package_does_not_write_to_the_terminal() -> None:
    with open_genicam(f"genicam://1?cti={PRODUCER}"):
        for name in ("harvesters", "harvesters.core"):
            assert all(type(handler) is logging.NullHandler for handler in logging.getLogger(name).handlers)


@real
def test_close_from_another_thread_ends_a_reader() -> None:
    source = open_genicam(f"genicam://0?cti={PRODUCER}")
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(frame.frame_id for frame in source))
    reader.start()
    while len(seen) < 2:
        time.sleep(0.01)
    start = time.monotonic()
    source.close()
    reader.join(2)
    assert not reader.is_alive()
    assert time.monotonic() - start < 2


def test_no_producer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    with pytest.raises(SourceError, match=f"{PATH_VARIABLE} names 1 folders with no .cti.*maker"):
        open_genicam("genicam://1")
    with pytest.raises(SourceError, match=r"there is no GenTL producer .*absent\.cti"):
        open_genicam(f"genicam://1?cti={tmp_path}/absent.cti")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.cti").touch()
    monkeypatch.setitem(sys.modules, "harvesters.core", None)
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[genicam\]"):
        open_genicam(f"genicam://1?cti={tmp_path}/a.cti")


class _Node:
    def __init__(self, log: list[tuple[str, str]], name: str) -> None:
        self._log, self._name = log, name

    def from_string(self, value: str) -> None:
        self._log.append((self._name, value))


class _Buffer:
    """One part seen: a picture whose level is the part's number."""

    def __init__(self, number: int, queued: list[int]) -> None:
        self.number, self._queued = number, queued
        part = type("Part", (), {"width": 4, "height": 2, "data_format": "Mono8"})()
        part.data = np.full(8, number, np.uint8)
        self.payload = type("Payload", (), {"components": [part]})()

    def queue(self) -> None:
        self._queued.append(self.number)

    def __enter__(self) -> "_Buffer":
        return self

    def __exit__(self, *_: object) -> None:
        self.queue()


class _Harvester:
    def __init__(self) -> None:
        self.set: list[tuple[str, str]] = []
        self.arrived: list[_Buffer | None] = []
        self.queued: list[int] = []
        self.said: list[str] = []
        self.nodes = {"TriggerSelector", "TriggerMode", "TriggerSource", "TriggerActivation"}
        self.broken = False
        self.device_info_list = [type("Info", (), {"serial_number": "7", "display_name": "stand-in"})()]
        self.remote_device = self.node_map = self

    def add_file(self, file_path: str) -> None:
        assert file_path

    def update(self) -> None:
        self.said.append("update")

    def reset(self) -> None:
        self.said.append("reset")

    def create(self, search_key: Any) -> "_Harvester":
        assert search_key is self.device_info_list[0]
        return self

    def has_node(self, name: str) -> bool:
        return name in self.nodes

    def get_node(self, name: str) -> _Node:
        return _Node(self.set, name)

    def start(self) -> None:
        self.said.append("start")

    def stop(self) -> None:
        self.said.append("stop")

    def destroy(self) -> None:
        self.said.append("destroy")

    def try_fetch(self, *, timeout: float) -> _Buffer | None:
        assert timeout > 0
        if self.broken:
            raise RuntimeError("the link is down : IoException thrown (file 'x.cpp', line 3)")
        return self.arrived.pop(0) if self.arrived else None


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Harvester:
    harvester = _Harvester()
    module = ModuleType("harvesters.core")
    module.Harvester = lambda: harvester  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harvesters", ModuleType("harvesters"))
    monkeypatch.setitem(sys.modules, "harvesters.core", module)
    (tmp_path / "a.cti").touch()
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path))
    return harvester


def test_every_frame_of_a_triggered_camera_is_a_part(stand_in: _Harvester) -> None:
    stand_in.nodes.add("ExposureTime")
    stand_in.arrived = [_Buffer(number, stand_in.queued) for number in (10, 20, 30)]
    with open_genicam("genicam://7?trigger=Line1&activation=FallingEdge&timeout=0.05&ExposureTime=400") as source:
        frames: list[Frame] = []
        waiting = threading.Thread(target=lambda: frames.extend(source))
        waiting.start()
        time.sleep(0.2)  # longer than the timeout: no part came, that is no fault
        assert waiting.is_alive()
        stand_in.arrived.append(_Buffer(40, stand_in.queued))
        until = time.monotonic() + 2
        while len(frames) < 4 and time.monotonic() < until:
            time.sleep(0.005)
    waiting.join(2)
    assert not waiting.is_alive()
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 20, 30, 40]
    assert [frame.frame_id for frame in frames] == [0, 1, 2, 3]
    assert stand_in.queued == [10, 20, 30, 40]
    assert stand_in.set == [
        ("ExposureTime", "400"),
        ("TriggerSelector", "FrameStart"),
        ("TriggerMode", "On"),
        ("TriggerSource", "Line1"),
        ("TriggerActivation", "FallingEdge"),
    ]
    assert stand_in.said == ["update", "start", "stop", "destroy", "reset"]


def test_a_software_trigger_has_no_edge(stand_in: _Harvester) -> None:
    stand_in.nodes.remove("TriggerSelector")
    with open_genicam("genicam://?trigger=Software"):
        assert stand_in.set == [("TriggerMode", "On"), ("TriggerSource", "Software")]


def test_a_free_camera_that_is_silent_or_gone(stand_in: _Harvester) -> None:
    with open_genicam("genicam://?timeout=0.05") as source:
        with pytest.raises(SourceError, match=r"gave no frame for 0\.05 s"):
            next(source)
        stand_in.arrived = [_Buffer(number, stand_in.queued) for number in (1, 2, 3)]
        frame = next(source)
        assert int(frame.image[0, 0, 0]) == 3
        assert frame.frame_id == 2
        assert stand_in.queued == [1, 2, 3]
        stand_in.broken = True
        with pytest.raises(SourceError, match=r"stopped: the link is down\. Check"):
            next(source)


# Pixel formats.


def _mosaic(order: str, bgr: tuple[int, int, int], depth: int) -> Any:
    """What a sensor with that filter sees of one colour, (8, 12)."""
    level = dict(zip("BGR", bgr, strict=True))
    # PFNC names the first two pixels of the first row; the second row is the two others.
    second = {"RG": "GB", "GR": "BG", "GB": "RG", "BG": "GR"}[order]
    cell = np.array([[level[order[0]], level[order[1]]], [level[second[0]], level[second[1]]]])
    mosaic = np.tile(cell, (4, 6)) << (depth - 8)
    return mosaic.astype(np.uint8 if depth == 8 else np.uint16)


@given(
    order=st.sampled_from(["RG", "GR", "GB", "BG"]),
    depth=st.sampled_from([8, 10, 12, 14, 16]),
    bgr=st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)),
)
def test_bayer(order: str, depth: int, bgr: tuple[int, int, int]) -> None:
    image = to_bgr(_mosaic(order, bgr, depth).ravel(), 12, 8, f"Bayer{order}{depth}")
    np.testing.assert_array_equal(image, np.broadcast_to(np.array(bgr, np.uint8), (8, 12, 3)))


@given(padding=st.integers(0, 5), depth=st.sampled_from([8, 10, 12, 14, 16]))
def test_mono_of_any_depth_and_padding(padding: int, depth: int) -> None:
    rng = np.random.default_rng(depth)
    eight = rng.integers(0, 256, (5, 7))
    stored = np.full((5, 7 + padding), 77)
    stored[:, :7] = eight << (depth - 8)
    data = stored.astype(np.uint8 if depth == 8 else np.uint16).ravel()
    image = to_bgr(data, 7, 5, f"Mono{depth}")
    np.testing.assert_array_equal(image, np.repeat(eight[:, :, None], 3, axis=2))
    assert not np.shares_memory(image, data)


def test_colours_of_three_and_four_channels() -> None:
    bgr = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    alpha = np.full((6, 8, 1), 255, np.uint8)
    for name, stored in {
        "BGR8": bgr,
        "RGB8": bgr[:, :, ::-1],
        "BGRa8": np.concatenate([bgr, alpha], axis=2),
        "RGBa8": np.concatenate([bgr[:, :, ::-1], alpha], axis=2),
    }.items():
        data = np.ascontiguousarray(stored).ravel()
        image = to_bgr(data, 8, 6, name)
        np.testing.assert_array_equal(image, bgr, err_msg=name)
        assert not np.shares_memory(image, data)


def test_yuv_of_both_orders() -> None:
    grey = np.full((4, 6), 126, np.uint8)
    neutral = np.full((4, 6), 128, np.uint8)
    for name, pair in {"YUV422_8": (grey, neutral), "YUV422_8_UYVY": (neutral, grey)}.items():
        image = to_bgr(np.stack(pair, axis=2).ravel(), 6, 4, name)
        expected = cv2.cvtColor(np.stack([grey, neutral, neutral], axis=2), cv2.COLOR_YUV2BGR)
        assert np.abs(image.astype(int) - int(expected[0, 0, 0])).max() <= 4  # video range against full range


def test_formats_that_are_refused() -> None:
    assert len(FORMATS) == 5 + 20 + 8
    for name in ("Mono12Packed", "BayerRG10p", "Coord3D_ABC32f"):
        with pytest.raises(SourceError, match=rf"pixel format {name}, which is not known.*PixelFormat=BayerRG8"):
            to_bgr(np.zeros(24, np.uint8), 4, 4, name)
    with pytest.raises(SourceError, match="4 x 4 RGB8 has 48 values, got 40"):
        to_bgr(np.zeros(40, np.uint8), 4, 4, "RGB8")
