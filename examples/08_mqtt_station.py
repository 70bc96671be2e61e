"""A station on MQTT: triggers come by message, verdicts go out by message, and are kept while the broker is away.

    python examples/08_mqtt_station.py MODEL.diffad BROKER[:PORT] [CAMERA] [PARTS]

From another terminal, with any MQTT client:

    mosquitto_sub -t 'diffad/plant-1/press-3/left/#' -v &
    mosquitto_pub -q 1 -t diffad/plant-1/press-3/left/trigger -m '{"job_id": "4711", "deadline_ms": 400}'

The same without Python: `diffad-edge run MODEL.diffad --camera CAMERA --line line.toml`. Messages are in docs/mqtt.md.
"""

import sys
import threading
import time

from diffad_edge import Inspector, Result, Station, open_source
from diffad_runtime.line.desk import LineDesk
from diffad_runtime.line.mqtt.adapter import MqttAdapter
from diffad_runtime.line.mqtt.settings import MqttSettings
from diffad_runtime.line.settings import Address

ADDRESS = Address(site="plant-1", line="press-3", station="left")


def main(model: str, broker: str, camera: str = "synthetic://line?fps=10&size=256", parts: str = "1000000") -> None:
    left, done = [int(parts)], threading.Event()

    def judged(result: Result) -> None:
        print(
            f"{result.part_id:8s} {result.verdict.value:5s} {result.error or f'score {result.score:.3f}'}", flush=True
        )
        left[0] -= 1
        if left[0] <= 0:
            done.set()

    host, _, port = broker.partition(":")
    mqtt = MqttAdapter(MqttSettings(host=host, port=int(port or 1883), spool="spool"), ADDRESS)
    with Inspector.open(model) as inspector:
        station = Station(inspector, open_source(camera), on_verdict=judged, late_trigger_ms=50)
        # The station is closed before the desk: parts under way get their verdict, and the line is told.
        with LineDesk(inspector, station.monitor, [mqtt], submit=station.submit), station:
            while not mqtt.status().connected:  # a trigger sent before that is lost: the broker keeps none for us
                time.sleep(0.1)
            print("ready for triggers", flush=True)
            done.wait()
        print(f"{mqtt.status().sent} verdicts sent, {mqtt.status().waiting} wait for the broker in spool/")


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4, 5}:
        sys.exit(__doc__)
    main(*sys.argv[1:])
