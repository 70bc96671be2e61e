"""A PLC that speaks Modbus TCP: writes a number, polls one block, acknowledges. Register map: docs/modbus.md."""

import threading
import time

from plc import Plc, Told, wait_until
from pymodbus.client import ModbusTcpClient

TRIGGER, ACK, PART = 1, 2, 8
BLOCK = 32
STATUS, NUMBER, VERDICT, CODE, REJECT, RESULT_TRIGGER = 0, 16, 17, 18, 19, 20
TRIGGER_READY, RESULTS_READY, READY = 1 << 0, 1 << 1, 1 << 7
VERDICTS = {1: "OK", 2: "NG", 3: "ERROR"}


class ModbusPlc(Plc):
    """Polls as a PLC's cycle does.

    Args:
        host, port: of the station.
        cycle_s: between two polls.
    """

    name = "modbus"
    deadlines = False
    acknowledges = True

    def __init__(self, host: str, port: int, cycle_s: float = 0.002) -> None:
        super().__init__()
        self._host, self._port, self._cycle_s = host, port, cycle_s
        self._lock = threading.Lock()
        self._client = ModbusTcpClient(host, port=port, timeout=2)
        self._jobs: dict[int, str] = {}
        self._number = self._seen = 0
        self._status = 0
        self._ended = threading.Event()
        self._cycle = threading.Thread(target=self._poll, name="modbus cycle", daemon=True)

    def connect(self) -> None:
        if not self._client.connect():
            raise ConnectionError(f"no Modbus server at {self._host}:{self._port}")
        self._cycle.start()
        wait_until("Modbus: the station is ready", lambda: self._status & READY)

    def ask(self, job: str, *, recipe: str | None = None, deadline_ms: float | None = None) -> float:  # noqa: ARG002
        again = self._jobs.get(self._number) == job  # a repeated trigger: the same number once more
        if not again:
            wait_until("Modbus: TriggerReady", lambda: self._status & TRIGGER_READY)
            self._number = self._number % 65535 + 1
            self._jobs[self._number] = job
        text = job.encode()[:32].ljust(32, b"\0")
        part = [int.from_bytes(text[place : place + 2], "big") for place in range(0, 32, 2)]
        with self._lock:
            self._client.write_registers(PART, part)
            sent = time.monotonic()
            self._client.write_register(TRIGGER, self._number)
        return sent

    def drop(self) -> None:
        with self._lock:
            self._client.close()
            if not self._client.connect():
                raise ConnectionError("Modbus: not connected again")

    def close(self) -> None:
        self._ended.set()
        self._cycle.join(2)
        self._client.close()

    def _poll(self) -> None:
        while not self._ended.wait(self._cycle_s):
            with self._lock:
                answer = self._client.read_input_registers(0, count=BLOCK)
                now = time.monotonic()
                if answer.isError():
                    continue
                block = answer.registers
                self._status = block[STATUS]
                if not block[STATUS] & RESULTS_READY or block[NUMBER] == self._seen:
                    continue
                self._seen = block[NUMBER]
                forget, self.forget_ack = self.forget_ack, False
                if not forget:
                    self._client.write_register(ACK, block[NUMBER])
            job = self._jobs.get(block[RESULT_TRIGGER], f"unknown trigger {block[RESULT_TRIGGER]}")
            self.heard.add(Told(job, VERDICTS.get(block[VERDICT], "?"), block[CODE], bool(block[REJECT]), now))
