"""A PLC for a station that has none yet: triggers parts by MQTT, OPC UA or Modbus TCP, with faults, and keeps books.

    diffad-edge run model.diffad --camera URI --line line.toml --results line.jsonl &
    python examples/plc_simulator --mqtt 127.0.0.1:1883 --base diffad/site/line/station --results line.jsonl
    python examples/plc_simulator --modbus 127.0.0.1:502 --parts 1000
    python examples/plc_simulator --opcua opc.tcp://127.0.0.1:4840 --parts 1000

Leaves with 1 where a part was told no verdict, two, or a wrong one. The last line is one JSON object.
"""

# ruff: noqa: PLC0415  a protocol's library is needed by whoever speaks it

import argparse
import json
import statistics
import sys
from collections import Counter
from pathlib import Path

from campaign import Book, Rates, run
from plc import Plc


def plcs(options: argparse.Namespace) -> list[Plc]:
    """One for each protocol that was asked for. Imported here: each needs a library of its own."""
    made: list[Plc] = []
    if options.mqtt:
        from mqtt_plc import MqttPlc

        host, _, port = options.mqtt.rpartition(":")
        made.append(MqttPlc(host, int(port), options.base, options.user, options.password, options.ca))
    if options.opcua:
        from opcua_plc import OpcUaPlc

        made.append(OpcUaPlc(options.opcua, options.certificate, options.key, options.server))
    if options.modbus:
        from modbus_plc import ModbusPlc

        host, _, port = options.modbus.rpartition(":")
        made.append(ModbusPlc(host, int(port)))
    return made


def inference_ms(results: Path | None) -> dict[str, float]:
    """{part id: milliseconds of resize, both networks and mask}, from the controller's own results file."""
    if results is None:
        return {}
    with results.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["part_id"]: row["latency_ms"]["total"] for row in rows if row["verdict"] != "ERROR"}


def quantiles(values: list[float]) -> dict[str, float]:
    """{"p50", "p95", "p99", "most"}, {} for fewer than two."""
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "most": max(values)}


def report(plc: Plc, book: Book, inference: dict[str, float]) -> dict[str, object]:
    """What is printed of one PLC."""
    latencies = book.latencies_ms()
    verdicts = Counter(told[0].verdict for told in book.told.values())
    beyond = [latencies[job] - inference[job] for job in latencies if job in inference]
    return {
        "protocol": plc.name,
        "parts": len(book.parts),
        "faults": dict(Counter(part.fault for part in book.parts if part.fault)),
        "verdicts": dict(verdicts),
        "timed": len(latencies),
        "told_again": sum(len(told) - 1 for told in book.told.values()),
        "broken": len(book.broken),
        "trigger_to_signal_ms": quantiles(list(latencies.values())),
        "beyond_inference_ms": quantiles(beyond),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mqtt", "modbus"):
        parser.add_argument(f"--{name}", metavar="HOST:PORT")
    parser.add_argument("--opcua", metavar="URL")
    parser.add_argument("--base", default="diffad/site/line/station", help="MQTT: topics before /trigger")
    for name in ("user", "password", "ca"):
        parser.add_argument(f"--{name}", help="MQTT")
    for name in ("certificate", "key", "server"):
        parser.add_argument(f"--{name}", type=Path, help="OPC UA: of this client, its key, and of the station")
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--per-second", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-faults", action="store_true")
    parser.add_argument("--results", type=Path, help="the controller's --results file: what of the time was inference")
    options = parser.parse_args()
    if not (options.mqtt or options.opcua or options.modbus):
        parser.error("name a station: --mqtt, --opcua or --modbus")
    rates = Rates(0, 0, 0, 0, 0, options.per_second) if options.no_faults else Rates(per_second=options.per_second)
    reports, broken = [], 0
    for plc in plcs(options):
        plc.connect()
        try:
            book = run(plc, options.parts, rates, options.seed, lambda line: print(line, file=sys.stderr))
        finally:
            plc.close()
        for line in book.broken[:20]:
            print(line)
        broken += len(book.broken)
        reports.append(report(plc, book, inference_ms(options.results)))
        print("  ".join(f"{name} {value}" for name, value in reports[-1].items() if not isinstance(value, dict)))
    print(json.dumps({"runs": reports, "broken": broken}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
