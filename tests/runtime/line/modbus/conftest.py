"""A desk that answers at once or a little later, and the server with a client beside it."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.base import Adapter
from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.result import ErrorCode, Result, Verdict

RECIPES = (("lid", 7), ("base", 9), ("other", None))
VERDICTS = (Verdict.OK, Verdict.NG, Verdict.ERROR)


def made_result(number: int, job: Job) -> Result:
    """Every value says which part it belongs to."""
    verdict = VERDICTS[number % 3]
    return Result(
        frame_id=number,
        t_capture=datetime.now(timezone.utc),
        score=float("nan") if verdict is Verdict.ERROR else number + 0.25,
        verdict=verdict,
        mask=np.zeros((2, 2), np.uint8),
        anomaly_map=np.zeros((2, 2), np.float32),
        latency_ms={"total": 1.0, "trigger": float(number)},
        bundle_digest="ab" * 32,
        variant="fp32",
        backend="fake",
        image_threshold=number + 0.5,
        pixel_threshold=0.5,
        part_id=job.part_id,
        recipe="lid",
        error="late" if verdict is Verdict.ERROR else "",
        code=ErrorCode.LATE if verdict is Verdict.ERROR else ErrorCode.NONE,
        t_trigger=datetime.now(timezone.utc),
    )


@dataclass
class CannedDesk:
    """Gives each part the verdict of its number: 1 NG, 2 ERROR, 3 OK and so on.

    Attributes:
        delay_s: from trigger to verdict; None: not before `decide`.
    """

    delay_s: float | None = 0.0
    phase: Phase = Phase.READY
    recipe: int | None = None
    jobs: list[Job] = field(default_factory=list)
    signalled_jobs: list[tuple[int, float]] = field(default_factory=list)
    prepared: list[str | int] = field(default_factory=list)
    adapters: list[Adapter] = field(default_factory=list)
    beat: int = 0
    refuse: bool = False
    fail: bool = False
    lock: Any = field(default_factory=threading.Lock)

    def trigger(self, request: Request) -> Job:
        if self.fail:
            raise RuntimeError("a fault on purpose")
        if self.refuse:
            raise InputError("part_id is odd", mend="Send another")
        with self.lock:
            number = len(self.jobs) + 1
            job = Job(
                number, request.job_id or f"job-{number}", request.part_id or f"job-{number}", request, time.monotonic()
            )
            self.jobs.append(job)
        if self.delay_s == 0:
            self.decide(number)
        elif self.delay_s is not None:
            threading.Timer(self.delay_s, self.decide, [number]).start()
        return job

    def decide(self, number: int) -> Outcome:
        job = self.jobs[number - 1]
        outcome = Outcome(job, made_result(number, job), time.monotonic())
        for adapter in self.adapters:
            adapter.show(outcome)
        return outcome

    def prepare(self, recipe: str | int) -> None:
        self.prepared.append(recipe)
        if recipe not in (7, 9):
            raise InputError(f"there is no recipe {recipe!r}", mend="Use 7 or 9")
        self.recipe = int(recipe)
        self.tell()

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return RECIPES

    def state(self) -> LineState:
        return LineState(
            phase=self.phase,
            heartbeat=self.beat,
            beat_s=1.0,
            open=0,
            recipe="",
            recipe_index=self.recipe,
            counts={"OK": 70_000, "NG": 2, "ERROR": 3},
            duplicates=4,
            faults=(),
            model_id="cap-v2",
            model_version=70_001,
            bundle_digest="0123456789abcdef" * 4,
            last_job=len(self.jobs),
            run_id="run-77",
        )

    def tell(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        for adapter in self.adapters:
            adapter.state(self.state())

    def signalled(self, outcome: Outcome, channel: str) -> None:
        assert channel == "modbus"
        self.signalled_jobs.append((outcome.job.number, time.monotonic()))


@dataclass
class Rig:
    """A running server, its desk, and ways to ask it."""

    adapter: Any
    desk: CannedDesk
    clients: list[Any] = field(default_factory=list)

    def client(self, **options: Any) -> Any:
        from pymodbus.client import ModbusTcpClient

        client = ModbusTcpClient("127.0.0.1", port=self.adapter.port, timeout=2, retries=0, **options)
        assert client.connect()
        self.clients.append(client)
        return client

    def block(self, client: Any) -> "Block":
        answer = client.read_input_registers(0, count=108, device_id=1)
        assert not answer.isError(), answer
        return Block(answer.registers)

    def until(self, client: Any, condition: Callable[["Block"], bool], seconds: float = 3.0) -> "Block":
        end = time.monotonic() + seconds
        while not condition(block := self.block(client)):
            assert time.monotonic() < end, f"not so within {seconds} s: {block.registers}"
            time.sleep(0.001)
        return block


@dataclass(frozen=True)
class Block:
    """The registers as a PLC's program would take them apart: written by hand, not by the code under test."""

    registers: list[int]

    def bit(self, number: int) -> bool:
        return bool(self.registers[0] >> number & 1)

    def u32(self, at: int) -> int:
        return self.registers[at] * 65536 + self.registers[at + 1]

    def f32(self, at: int) -> float:
        return float(np.array([self.u32(at)], np.uint32).view(np.float32)[0])

    def text(self, at: int, size: int) -> str:
        data = b"".join(value.to_bytes(2, "big") for value in self.registers[at : at + size])
        return data.rstrip(b"\0").decode()

    @property
    def trigger_ready(self) -> bool:
        return self.bit(0)

    @property
    def results_ready(self) -> bool:
        return self.bit(1)

    @property
    def number(self) -> int:
        return self.registers[16]


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """rig(delay_s=..., **settings) starts a server on a port of the system's choice."""
    pytest.importorskip("pymodbus", reason="the extra [line] is not installed")
    from diffad_runtime.line.modbus import ModbusAdapter, ModbusSettings
    from diffad_runtime.line.settings import Address

    rigs: list[Rig] = []

    def make(delay_s: float | None = 0.0, **settings: Any) -> Rig:
        desk = CannedDesk(delay_s)
        adapter = ModbusAdapter(ModbusSettings(**{"port": 0, **settings}), Address(station="left"))
        desk.adapters.append(adapter)
        adapter.start(desk)
        rigs.append(Rig(adapter, desk))
        return rigs[-1]

    yield make
    for one in rigs:
        for client in one.clients:
            client.close()
        one.adapter.close()
