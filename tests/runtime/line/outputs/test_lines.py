"""Each kind of lines: files, a chip of the kernel, the header of a Jetson; and the settings that choose among them."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.line.outputs import Lines as Wired
from diffad_runtime.line.outputs import OutputsSettings, Signal
from diffad_runtime.line.outputs.chardev import ChardevLines
from diffad_runtime.line.outputs.files import FileLines
from diffad_runtime.line.outputs.jetsonpins import JetsonPins
from diffad_runtime.line.outputs.lines import make_lines

WIRED = Wired.model_validate({"ok": {"line": 17}, "ng": {"line": 27, "active_low": True}, "ready": {"line": "READY"}})
PINS = Wired.model_validate({"ok": {"line": 12}, "ng": {"line": 13, "active_low": True}})
SIM = Path("/sys/kernel/config/gpio-sim")


class TestChardev:
    """With the real package's classes and signatures; the one call that needs a chip is written down instead."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
        gpiod = pytest.importorskip("gpiod", reason="the package gpiod is not installed")
        calls: list[tuple[str, Any]] = []

        class Request:
            def set_values(self, *args: Any, **named: Any) -> None:
                bound = inspect.signature(gpiod.LineRequest.set_values).bind(self, *args, **named)
                calls.append(("set_values", bound.arguments["values"]))

            def release(self) -> None:
                inspect.signature(gpiod.LineRequest.release).bind(self)
                calls.append(("release", None))

        def request_lines(*args: Any, **named: Any) -> Request:
            bound = inspect.signature(real).bind(*args, **named)
            # What the package itself does with each line's settings before the kernel has a word.
            for settings in bound.arguments["config"].values():
                gpiod.line_settings._line_settings_to_ext(settings)
            calls.append(("request_lines", bound.arguments))
            return Request()

        real = gpiod.request_lines
        monkeypatch.setattr(gpiod, "request_lines", request_lines)
        return calls

    def test_one_request_for_all_lines_all_off(self, calls: list[tuple[str, Any]]) -> None:
        import gpiod

        lines = ChardevLines("/dev/gpiochip3", WIRED)
        lines.open()
        ((_, asked),) = calls
        assert asked["path"] == "/dev/gpiochip3"
        config = asked["config"]
        assert list(config) == [17, 27, "READY"]
        assert {one.direction for one in config.values()} == {gpiod.line.Direction.OUTPUT}
        assert {one.output_value for one in config.values()} == {gpiod.line.Value.INACTIVE}
        assert [one.active_low for one in config.values()] == [False, True, False]

    def test_lines_are_set_in_one_call_and_given_back_once(self, calls: list[tuple[str, Any]]) -> None:
        import gpiod

        lines = ChardevLines("/dev/gpiochip3", WIRED)
        lines.open()
        lines.set({Signal.OK: False, Signal.NG: True})
        assert calls[-1] == ("set_values", {17: gpiod.line.Value.INACTIVE, 27: gpiod.line.Value.ACTIVE})
        lines.close()
        lines.close()
        assert [name for name, _ in calls] == ["request_lines", "set_values", "release"]
        with pytest.raises(OSError, match="not open"):
            lines.set({Signal.OK: True})

    def test_a_chip_that_is_not_there(self) -> None:
        pytest.importorskip("gpiod", reason="the package gpiod is not installed")
        with pytest.raises(InputError, match=r"the lines 17, 27, READY of /dev/gpiochip-none: No such file"):
            ChardevLines("/dev/gpiochip-none", WIRED).open()
        with pytest.raises(InputError, match=r"of /dev/null: "):
            ChardevLines("/dev/null", WIRED).open()

    def test_the_package_is_missing_or_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gpiod", None)
        with pytest.raises(MissingExtraError, match="gpiod"):
            ChardevLines("/dev/gpiochip0", WIRED).open()
        monkeypatch.setitem(sys.modules, "gpiod", ModuleType("gpiod"))
        with pytest.raises(InputError, match=r"of libgpiod 1, expected 2 or newer"):
            ChardevLines("/dev/gpiochip0", WIRED).open()

    @pytest.mark.skipif(not SIM.is_dir(), reason="the kernel has no gpio-sim (modprobe gpio-sim, as root)")
    def test_lines_of_a_simulated_chip(self) -> None:
        pytest.importorskip("gpiod", reason="the package gpiod is not installed")
        device, bank = SIM / "diffad", SIM / "diffad" / "bank"
        bank.mkdir(parents=True)
        try:
            (bank / "num_lines").write_text("4")
            (device / "live").write_text("1")
            chip, name = (bank / "chip_name").read_text().strip(), (device / "dev_name").read_text().strip()
            wires = [Path(f"/sys/devices/platform/{name}/{chip}/sim_gpio{number}/value") for number in (1, 2)]
            lines = ChardevLines(
                f"/dev/{chip}", Wired.model_validate({"ok": {"line": 1}, "ng": {"line": 2, "active_low": True}})
            )
            lines.open()
            assert [wire.read_text().strip() for wire in wires] == ["0", "1"]
            lines.set({Signal.OK: True, Signal.NG: True})
            assert [wire.read_text().strip() for wire in wires] == ["1", "0"]
            lines.close()
        finally:
            (device / "live").write_text("0")
            bank.rmdir()
            device.rmdir()


class TestJetson:
    """Against a module with the names and signatures of Jetson.GPIO 2.1.13 that raises where that would."""

    @pytest.fixture
    def gpio(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        gpio = _jetson()
        package = ModuleType("Jetson")
        package.GPIO = gpio  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "Jetson", package)
        monkeypatch.setitem(sys.modules, "Jetson.GPIO", gpio)
        yield gpio
        assert not gpio.pins, "pins were not given back"

    def test_pins_by_board_number(self, gpio: Any) -> None:
        pins = JetsonPins(PINS)
        pins.open()
        assert gpio.pins == {12: 0, 13: 1}
        pins.set({Signal.NG: True, Signal.OK: False})
        assert gpio.pins == {12: 0, 13: 0}
        pins.set({Signal.OK: True})
        assert gpio.pins == {12: 1, 13: 0}
        pins.close()
        pins.close()
        with pytest.raises(OSError, match="not open"):
            pins.set({Signal.OK: True})

    def test_another_part_of_the_program_took_the_pins(self, gpio: Any) -> None:
        pins = JetsonPins(PINS)
        pins.open()
        gpio.cleanup()
        with pytest.raises(OSError, match="not been set up"):
            pins.set({Signal.OK: True})
        pins.close()

    def test_pins_that_there_are_not(self, gpio: Any) -> None:  # noqa: ARG002
        with pytest.raises(InputError, match=r"cannot have the pins 99: Channel 99 is invalid"):
            JetsonPins(Wired.model_validate({"ok": {"line": 99}})).open()

    def test_this_is_no_jetson(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "Jetson.GPIO", None)
        with pytest.raises(InputError, match=r"pip install Jetson\.GPIO"):
            JetsonPins(PINS).open()


def _jetson() -> Any:
    gpio: Any = ModuleType("Jetson.GPIO")
    gpio.BOARD, gpio.OUT, gpio.IN, gpio.mode, gpio.pins = 10, 0, 1, None, {}

    def setmode(mode: int) -> None:
        if gpio.mode not in (None, mode):
            raise ValueError("A different mode has already been set!")
        gpio.mode = mode

    def setup(
        channels: Any, direction: int, pull_up_down: Any = None, initial: Any = None, consumer: str = "Jetson-gpio"
    ) -> None:
        assert (gpio.mode, direction, pull_up_down, consumer) == (10, 0, None, "Jetson-gpio")
        if len(initial) != len(channels):
            raise RuntimeError("Number of values != number of channels")
        for channel in channels:
            if not 1 <= channel <= 40:
                raise ValueError(f"Channel {channel} is invalid")
        gpio.pins.update(zip(channels, initial, strict=True))

    def output(channels: Any, values: Any) -> None:
        if len(values) != len(channels):
            raise RuntimeError("Number of values != number of channels")
        if any(channel not in gpio.pins for channel in channels):
            raise RuntimeError("The GPIO channel has not been set up as an OUTPUT")
        gpio.pins.update(zip(channels, values, strict=True))

    def cleanup(channel: Any = None) -> None:
        for one in list(gpio.pins) if channel is None else channel:
            gpio.pins.pop(one, None)

    gpio.setmode, gpio.setup, gpio.output, gpio.cleanup = setmode, setup, output, cleanup
    return gpio


def test_files_appear_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    lines = FileLines(tmp_path / "a" / "b", WIRED)
    lines.open()
    lines.set({Signal.OK: True})
    lines.close()
    assert {path.name: path.read_text() for path in (tmp_path / "a" / "b").iterdir()} == {
        "ok": "1\n",
        "ng": "1\n",
        "ready": "0\n",
    }


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write output lines"):
        FileLines(tmp_path / "file" / "wires", WIRED).open()


def test_the_settings_choose() -> None:
    lines = {"ok": {"line": 1}}
    for backend, kind in (("gpiod", ChardevLines), ("jetson", JetsonPins)):
        assert isinstance(make_lines(OutputsSettings.model_validate({"backend": backend, "lines": lines})), kind)
    table = {"backend": "file", "folder": "wires", "lines": {"ok": {}}}
    assert isinstance(make_lines(OutputsSettings.model_validate(table)), FileLines)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"lines": {}}, "at least one"),
        ({"lines": {"ok": {}}}, "needs a line"),
        ({"lines": {"ok": {"line": 1}, "ng": {"line": 1}}}, "one signal"),
        ({"lines": {"ok": {"line": -1}}}, "greater than"),
        ({"lines": {"ok": {"line": 1}}, "backend": "file"}, "folder"),
        ({"lines": {"ok": {"line": "X"}}, "backend": "jetson"}, "needs a line"),
        ({"lines": {"ok": {"line": 1}}, "gap_ms": 0}, "gap_ms"),
        ({"lines": {"ok": {"line": 1}}, "pulse_ms": "long"}, "pulse_ms"),
        ({"lines": {"good": {"line": 1}}}, "good"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        OutputsSettings.model_validate({"backend": "gpiod", **wrong})
