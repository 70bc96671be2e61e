"""The file that says how a station is wired: line.toml.

Knows names, types and limits. Each protocol's own table is described in its folder, settings.py. Opens nothing.

    site, line, station = "plant-1", "press-3", "left"     names, also the MQTT topics
    deadline_ms = 400                                     from trigger to verdict, unless the trigger says otherwise
    [mqtt]    host = "broker.plant-1"                      line/mqtt/settings.py
    [opcua]   endpoint = "opc.tcp://0.0.0.0:4840"          line/opcua/settings.py
    [modbus]  host = "0.0.0.0"                             line/modbus/settings.py
    [outputs] backend = "gpiod"                            line/outputs/settings.py
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
"""Of a site, line or station: fit for a topic, a file name and a node id."""


class Strict(BaseModel):
    """Base of all tables: nothing unknown, nothing changed later, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Address(Strict):
    """Whose signals these are; given to every adapter."""

    site: Name = "site"
    line: Name = "line"
    station: Name = "station"
