"""A running server with a desk that answers, and clients with certificates.

Making a key and an address space takes seconds: both are made once, and tests that change nothing share a server.
"""

import asyncio
import queue
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.line.opcua.adapter import OpcUaAdapter
from diffad_runtime.line.opcua.settings import OpcUaSettings
from diffad_runtime.line.settings import Address
from diffad_runtime.result import ErrorCode, Result, Verdict

asyncua = pytest.importorskip("asyncua", reason="needs the extra [line]: asyncua")

CLIENT_URI = "urn:test:client"
Returned = TypeVar("Returned")


def result(verdict: Verdict = Verdict.OK, *, code: ErrorCode = ErrorCode.NONE, **fields: Any) -> Result:
    empty = np.zeros((4, 4), np.uint8)
    given: dict[str, Any] = {
        "frame_id": 7,
        "t_capture": datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc),
        "score": float("nan") if verdict is Verdict.ERROR else 0.25,
        "verdict": verdict,
        "mask": empty,
        "anomaly_map": empty.astype(np.float32),
        "latency_ms": {"total": 12.5},
        "bundle_digest": "ab" * 32,
        "variant": "fp32",
        "backend": "fake",
        "image_threshold": 1.5,
        "pixel_threshold": 1.0,
        "recipe": "left",
        "code": code,
        "error": "" if code is ErrorCode.NONE else code.name.lower(),
    }
    return Result(**{**given, **fields})


def outcome(number: int = 1, found: Result | None = None, **request: Any) -> Outcome:
    asked = Request("opcua", **request)
    job = Job(number, asked.job_id or f"job-{number}", asked.part_id or f"part-{number}", asked, time.monotonic())
    return Outcome(job, found or result(part_id=job.part_id), time.monotonic())


def state(phase: Phase = Phase.READY, **fields: Any) -> LineState:
    given: dict[str, Any] = {
        "phase": phase,
        "heartbeat": 1,
        "beat_s": 0.5,
        "open": 0,
        "recipe": "left",
        "recipe_index": 1,
        "counts": {"OK": 3, "NG": 2, "ERROR": 1},
        "duplicates": 0,
        "faults": (),
        "model_id": "flange",
        "model_version": 4,
        "bundle_digest": "ab" * 32,
        "last_job": 0,
        "run_id": "run1",
    }
    return LineState(**{**given, **fields})


@dataclass
class CannedDesk:
    """A desk whose verdicts are laid out beforehand: `verdicts` by part id, else OK; on a thread, after `delay_s`."""

    verdicts: dict[str, Result] = field(default_factory=dict)
    delay_s: float = 0.0
    held: set[str] = field(default_factory=set)  # parts that get no verdict until `release`

    def __post_init__(self) -> None:
        self.adapter: OpcUaAdapter | None = None
        self.requests: list[Request] = []
        self.told: list[Outcome] = []
        self.told_at: list[float] = []
        self.now = state()
        self._known: dict[str, Job] = {}
        self._decided: dict[int, Outcome] = {}
        self._lock = threading.Lock()
        self._work: queue.Queue[Job | None] = queue.Queue()
        threading.Thread(target=self._judge, daemon=True).start()

    def trigger(self, request: Request) -> Job:
        for given in (request.job_id, request.part_id):
            if len(given) > 200 or any(ord(letter) < 32 for letter in given):
                raise InputError("an id that cannot be one", mend="Give another")
        with self._lock:
            self.requests.append(request)
            known = self._known.get(request.job_id) if request.job_id else None
            number = len(self._known) + 1
            job_id = request.job_id or f"job-{number}"
            job = known or Job(number, job_id, request.part_id or job_id, request, time.monotonic())
            self._known[job_id] = job
        self._work.put(job)
        return job

    def prepare(self, recipe: str | int) -> None:
        for name, index in self.recipes():
            if recipe in (name, index):
                self.now = replace(self.now, recipe=name, recipe_index=index)
                return
        raise InputError(f"no recipe {recipe!r}", mend="Give another")

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return (("left", 1), ("right", 2), ("spare", None))

    def state(self) -> LineState:
        return self.now

    def signalled(self, outcome: Outcome, channel: str) -> None:
        assert channel == "opcua"
        self.told.append(outcome)
        self.told_at.append(time.monotonic())

    def become(self, **fields: Any) -> None:
        """Change the state and tell it."""
        self.now = replace(self.now, **fields)
        assert self.adapter is not None
        self.adapter.state(self.now)

    def end(self) -> None:
        self._work.put(None)

    def release(self, part_id: str) -> None:
        """Let the part that is held have its verdict."""
        self.held.discard(part_id)
        for job in list(self._known.values()):
            if job.part_id == part_id:
                self._work.put(job)

    def _judge(self) -> None:
        while (job := self._work.get()) is not None:
            if job.part_id in self.held:
                continue
            if self.delay_s:
                time.sleep(self.delay_s)
            found = self.verdicts.get(job.part_id) or result(part_id=job.part_id)
            decided = self._decided.setdefault(job.number, Outcome(job, found, time.monotonic()))
            assert self.adapter is not None
            self.adapter.show(decided)


@dataclass
class Line:
    """A server that runs, and how to reach it."""

    adapter: OpcUaAdapter
    desk: CannedDesk
    folder: Path

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.adapter.port}"


# Tests are imported one by one and cannot import this file: what they need of it comes as fixtures.
@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    return result


@pytest.fixture(scope="session")
def make_outcome() -> Callable[..., Outcome]:
    return outcome


@pytest.fixture(scope="session")
def make_state() -> Callable[..., LineState]:
    return state


@pytest.fixture(scope="session")
def make_desk() -> type[CannedDesk]:
    return CannedDesk


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    return _run


@pytest.fixture(scope="session")
def connected() -> Callable[..., Any]:
    return _connected


@pytest.fixture(scope="session")
def prepared() -> Callable[..., Any]:
    return _prepared


@pytest.fixture(scope="session")
def own() -> Callable[..., Any]:
    return _own


@pytest.fixture(scope="session")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own.der and own.key.pem of a client."""
    from diffad_runtime.line.opcua.certificates import own_identity

    folder = tmp_path_factory.mktemp("opcua-client")
    own_identity(folder, CLIENT_URI, "client", "127.0.0.1", 30)
    return folder


@pytest.fixture(scope="session")
def stranger_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a client that nobody trusts."""
    from diffad_runtime.line.opcua.certificates import own_identity

    folder = tmp_path_factory.mktemp("opcua-stranger")
    own_identity(folder, "urn:test:stranger", "stranger", "127.0.0.1", 30)
    return folder


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory, client_folder: Path) -> Path:
    """Certificate and key of a server that trusts the client, to be copied."""
    from diffad_runtime.line.opcua.certificates import own_identity

    folder = tmp_path_factory.mktemp("opcua-server")
    own_identity(folder, "urn:diffad-edge:site:line:station", "station", "127.0.0.1", 30)
    (folder / "trusted").mkdir()
    shutil.copy(client_folder / "own.der", folder / "trusted" / "client.der")
    return folder


@pytest.fixture(scope="session")
def start(server_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Line]:
    """Start a server: start(desk, **settings). Whoever starts it closes it."""

    def start_one(desk: CannedDesk | None = None, **settings: Any) -> Line:
        folder = tmp_path_factory.mktemp("opcua") / "own"
        shutil.copytree(server_folder, folder)
        desk = desk or CannedDesk()
        adapter = OpcUaAdapter(OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=folder, **settings), Address())
        desk.adapter = adapter
        adapter.start(desk)
        for _ in range(300):  # on a busy machine it takes longer than `start` waits
            if adapter.status().connected:
                break
            time.sleep(0.1)
        return Line(adapter, desk, folder)

    return start_one


@pytest.fixture(scope="session")
def line(start: Callable[..., Line]) -> Iterator[Line]:
    """A server that tests share, of all files: they leave it as they found it."""
    made = start()
    yield made
    made.adapter.close()
    made.desk.end()


def _run(work: Coroutine[Any, Any, Returned], seconds: float = 20.0) -> Returned:
    """Run a client's coroutine to its end."""

    async def bounded() -> Returned:
        return await asyncio.wait_for(work, seconds)

    return asyncio.run(bounded())


async def _prepared(
    line: Line, own: Path, *, as_user: bool = True, name: str = "", password: str = "", timeout: float = 5
) -> Any:
    """A client of asyncua for Basic256Sha256, with its certificate, as that user too unless a name is given."""
    from asyncua import Client
    from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

    client = Client(line.url, timeout=timeout)
    client.application_uri = CLIENT_URI
    await client.set_security(
        SecurityPolicyBasic256Sha256,
        certificate=str(own / "own.der"),
        private_key=str(own / "own.key.pem"),
        server_certificate=str(line.folder / "own.der"),
    )
    if name:
        client.set_user(name)
        client.set_password(password)
    elif as_user:
        await client.load_client_certificate(str(own / "own.der"))
        await client.load_private_key(str(own / "own.key.pem"))
    return client


@asynccontextmanager
async def _connected(line: Line, own: Path, **given: Any) -> Any:
    """The same, connected until the end of the block."""
    async with await _prepared(line, own, **given) as client:
        yield client


def _own(client: Any, path: str, index: int = 3) -> Any:
    """A node of the station's namespace."""
    return client.get_node(asyncua.ua.NodeId(path, index))
