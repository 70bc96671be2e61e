"""Line signals by Modbus TCP: docs/modbus.md."""

from diffad_runtime.line.modbus.adapter import ModbusAdapter
from diffad_runtime.line.modbus.settings import ModbusSettings

__all__ = ["ModbusAdapter", "ModbusSettings"]
