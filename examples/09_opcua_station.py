"""A station as an OPC UA server, with the names of OPC 40100-1 (Machine Vision), and a client that triggers it.

    python examples/09_opcua_station.py MODEL.diffad [CAMERA] [PORT]

The client below stands for a PLC, and is let in without certificate: do not do that on a line. There, its certificate
goes into opcua/trusted/, and the connection is signed and encrypted; docs/opcua.md has the steps. The same without
Python: `diffad-edge run MODEL.diffad --camera CAMERA --line line.toml`.
"""

import asyncio
import sys

from asyncua import Client

from diffad_edge import Inspector, Station, open_source
from diffad_runtime.line.desk import LineDesk
from diffad_runtime.line.opcua.adapter import OpcUaAdapter
from diffad_runtime.line.opcua.settings import OpcUaSettings


async def plc(url: str, parts: int) -> None:
    """Trigger, wait until the result is of that job, read it; all values of one read are of one result."""
    async with Client(url, timeout=30) as client:
        space = await client.get_namespace_index("urn:diffad-edge:line")
        line, last = (client.get_node(f"ns={space};s={name}") for name in ("Line", "Line.LastResult"))
        names = ("JobId", "Verdict", "Reject", "Code", "Score")
        values = [await last.get_child(f"{space}:{name}") for name in names]
        for number in range(parts):
            job, _ = await line.call_method(f"{space}:Trigger", "", f"part {number}", "", 400.0)
            while (told := await client.read_values(values))[0] != job:
                await asyncio.sleep(0.005)
            print(f"part {number}", *(f"{name} {value}" for name, value in zip(names[1:], told[1:], strict=True)))


def main(model: str, camera: str = "synthetic://line?fps=10&size=256", port: str = "4840") -> None:
    url = f"opc.tcp://127.0.0.1:{port}"
    opcua = OpcUaAdapter(OpcUaSettings(endpoint=url, anonymous=True, unencrypted=True))
    with Inspector.open(model) as inspector:
        station = Station(inspector, open_source(camera), late_trigger_ms=50)
        with LineDesk(inspector, station.monitor, [opcua], submit=station.submit), station:
            asyncio.run(plc(url, 5))


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3, 4} or {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main(*sys.argv[1:])
