"""Where things are said: {prefix}/{site}/{line}/{station}/WHAT. Knows names only.

One level for each part of the address, so that one subscription sees a station, a line or a plant:

    diffad/plant-1/press-3/left/#       all of one station
    diffad/plant-1/press-3/+/result     results of a line
    diffad/plant-1/+/+/state            the state of every station of a plant
"""

from dataclasses import dataclass

from diffad_runtime.line.settings import Address


@dataclass(frozen=True, slots=True)
class Topics:
    """Of one station.

    Attributes:
        trigger, recipe: what it listens to.
        ack, refused: what became of a trigger or a recipe.
        result: verdicts.
        state: the station, retained.
    """

    trigger: str
    recipe: str
    ack: str
    refused: str
    result: str
    state: str


def topics_of(prefix: str, address: Address) -> Topics:
    """The topics of the station at `address`."""
    base = f"{prefix}/{address.site}/{address.line}/{address.station}"
    return Topics(*(f"{base}/{what}" for what in ("trigger", "recipe", "ack", "refused", "result", "state")))


def client_id_of(prefix: str, address: Address) -> str:
    """The name of this station's client: the same after every start.

    No part of an address has a colon, so two stations never share one.
    """
    return ":".join((prefix.replace("/", ":"), address.site, address.line, address.station))
