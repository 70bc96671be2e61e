"""Signals between a station and the line: MQTT, OPC UA, Modbus TCP, digital outputs. Knows PLCs, not pictures."""
