"""From line.toml to adapters.

Knows which tables a file may have. Does not know what is in them: each protocol's settings.py does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from diffad_runtime.errors import InputError
from diffad_runtime.line.base import Adapter
from diffad_runtime.line.modbus.settings import ModbusSettings
from diffad_runtime.line.mqtt.settings import MqttSettings
from diffad_runtime.line.opcua.settings import OpcUaSettings
from diffad_runtime.line.outputs.settings import OutputsSettings
from diffad_runtime.line.settings import Address
from diffad_runtime.tomlfile import checked, parse, read_file


class LineFile(Address):
    """Contents of line.toml.

    Attributes:
        triggered: parts are asked for by triggers; false: every frame is a part, and its result is told.
        deadline_ms: from trigger to verdict, of a job that names none.
        late_trigger_ms: a trigger may come so long after its part's picture was taken.
        camera_delay_ms: from exposure to the frame's time stamp.
        beat_s: between heartbeats.
        mqtt, opcua, modbus, outputs: the signals; each that is there is used.
    """

    version: Literal[1]
    triggered: bool = True
    deadline_ms: Annotated[float, Field(gt=0, le=3_600_000)] = 500.0
    late_trigger_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    camera_delay_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    beat_s: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    mqtt: MqttSettings | None = None
    opcua: OpcUaSettings | None = None
    modbus: ModbusSettings | None = None
    outputs: OutputsSettings | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """A station's signals.

    Attributes:
        file: as it was written.
        path: where.
    """

    file: LineFile
    path: Path

    def adapters(self) -> list[Adapter]:
        """One for each table, not started.

        Raises:
            InputError: settings that cannot work; a file that is named and not there.
        """
        file, made = self.file, list[Adapter]()
        address = Address(site=file.site, line=file.line, station=file.station)
        # Imported where they are asked for: each needs a library that the others do not.
        if file.outputs is not None:
            from diffad_runtime.line.outputs.adapter import OutputsAdapter  # noqa: PLC0415

            made.append(OutputsAdapter(file.outputs, address))  # first: what moves the gate waits for nobody
        if file.modbus is not None:
            from diffad_runtime.line.modbus.adapter import ModbusAdapter  # noqa: PLC0415

            made.append(ModbusAdapter(file.modbus, address))
        if file.opcua is not None:
            from diffad_runtime.line.opcua.adapter import OpcUaAdapter  # noqa: PLC0415

            made.append(OpcUaAdapter(file.opcua, address))
        if file.mqtt is not None:
            from diffad_runtime.line.mqtt.adapter import MqttAdapter  # noqa: PLC0415

            made.append(MqttAdapter(file.mqtt, address))
        return made


def load_wiring(path: str | Path) -> Wiring:
    """Read line.toml.

    Raises:
        InputError: no such file, not TOML, a field that is unknown, missing or out of its range, or no signal at all.
    """
    path = Path(path)
    values = parse(path, read_file(path, "a line file", see="docs/line.md"))
    file = checked(LineFile, values, str(path), "the line file")
    if file.mqtt is None and file.opcua is None and file.modbus is None and file.outputs is None:
        raise InputError(f"{path} names no signals", mend="Add a table: [mqtt], [opcua], [modbus] or [outputs]")
    return Wiring(file, path)
