"""A real mosquitto that can be killed, a client at the other end, and a small desk that answers at once."""

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.base import Adapter
from diffad_runtime.line.job import Job, LineState, Outcome, Phase, Request
from diffad_runtime.line.settings import Address
from diffad_runtime.result import ErrorCode, Result, Verdict

WHEN = datetime(2026, 11, 27, tzinfo=timezone.utc)
ADDRESS = Address(site="plant-1", line="press-3", station="left")
BASE = "diffad/plant-1/press-3/left"
_MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Broker:
    """mosquitto on a free port of its own, with what a SIGKILL leaves of its persistence."""

    def __init__(self, folder: Path, *lines: str, listener: tuple[str, ...] = ()) -> None:
        self.port = _free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = lines or ("allow_anonymous true",)
        general = (
            "user root",  # files of the test belong to whoever runs it
            "per_listener_settings false",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 100000",
            f"log_dest file {folder}/log",
            "set_tcp_nodelay true",
            *lines,
            f"listener {self.port} 127.0.0.1",
            *listener,
        )
        (folder / "conf").write_text("\n".join(general) + "\n")

    def start(self) -> None:
        assert _MOSQUITTO is not None
        self._process = subprocess.Popen(
            [_MOSQUITTO, "-c", str(self._folder / "conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < until, f"mosquitto did not start: {self.log()}"
                assert self._process.poll() is None, f"mosquitto ended: {self.log()}"
                time.sleep(0.02)

    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            for one in (signal.SIGCONT, number):
                self._process.send_signal(one)
            self._process.wait(10)
            self._process = None


class Listener:
    """Somebody at the other end: keeps all that comes, and can publish. A client of paho, with a session that stays."""

    def __init__(self, port: int, topic: str, name: str = "", **tls: Any) -> None:
        from paho.mqtt.client import CallbackAPIVersion, Client, MQTTv5
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.heard: list[tuple[str, bytes, bool]] = []
        self.times: list[float] = []
        self._changed = threading.Condition()
        self._topic = topic
        self._there = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=name or uuid.uuid4().hex, protocol=MQTTv5)
        self.client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = lambda *_: self._there.clear()
        self.client.on_subscribe = lambda *_: self._there.set()
        self.client.on_message = self._on_message
        if tls:
            self.client.username_pw_set(tls["username"], tls["password"])
            self.client.tls_set(ca_certs=str(tls["ca"]))
        stays = Properties(PacketTypes.CONNECT)
        stays.SessionExpiryInterval = 3600
        self.client.connect("localhost" if tls else "127.0.0.1", port, 60, clean_start=False, properties=stays)
        self.client.loop_start()
        self.wait_there()

    def wait_there(self) -> None:
        assert self._there.wait(10)

    def publish(self, topic: str, payload: Any, *, retain: bool = False, qos: int = 1) -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.client.publish(topic, data, qos=qos, retain=retain).wait_for_publish(10)

    def of(self, what: str) -> list[Any]:
        """What came on topics that end so, in order."""
        with self._changed:
            return [json.loads(payload) for topic, payload, _ in self.heard if topic.endswith(f"/{what}")]

    def wait(self, what: str, count: int = 1, seconds: float = 10) -> list[Any]:
        """As `of`, once there are so many."""
        until = time.monotonic() + seconds
        with self._changed:
            while sum(topic.endswith(f"/{what}") for topic, _, _ in self.heard) < count:
                left = until - time.monotonic()
                assert left > 0, f"{len(self.of(what))} of {count} on {what}, {[one[0] for one in self.heard[-5:]]}"
                self._changed.wait(left)
        return self.of(what)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client: Any, *_: Any) -> None:
        client.subscribe(self._topic, 1)

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        with self._changed:
            self.heard.append((message.topic, message.payload, bool(message.retain)))
            self.times.append(time.monotonic())
            self._changed.notify_all()


class CannedDesk:
    """Answers every job on a thread of its own, as a station would: OK, NG and ERROR by turns."""

    def __init__(self, run_id: str = "run-1") -> None:
        self.adapters: list[Adapter] = []
        self.requests: list[Request] = []
        self.prepared: list[str | int] = []
        self.signals: list[tuple[int, float]] = []
        self.kept: dict[tuple[str, str], Job] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.duplicates = 0
        self.run_id = run_id
        self.fails: Exception | None = None
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._judge = threading.Thread(target=self._work, daemon=True)
        self._judge.start()

    def trigger(self, request: Request) -> Job:
        if self.fails is not None:
            raise self.fails
        if not request.job_id.isprintable() or not request.part_id.isprintable():
            raise InputError("job_id has control characters", mend="Leave them out")
        with self._lock:
            self.requests.append(request)
            key = (request.channel, request.job_id)
            if request.job_id and key in self.kept:
                self.duplicates += 1
                job = self.kept[key]
                again = self.outcomes.get(job.number)
            else:
                again = None
                number = len(self.kept) + 1
                job_id = request.job_id or f"{self.run_id}-{number}"
                job = Job(number, job_id, request.part_id or job_id, request, time.monotonic())
                self.kept[request.channel, job_id] = job
                self._jobs.put(job)
        if again is not None:
            self._show(again)
        return job

    def prepare(self, recipe: str | int) -> None:
        if recipe not in {"lid", 3}:
            raise InputError(f"there is no recipe {recipe!r}", mend="Use lid or 3")
        self.prepared.append(recipe)

    def recipes(self) -> tuple[tuple[str, int | None], ...]:
        return (("lid", 3),)

    def state(self) -> LineState:
        counts = {"OK": 1, "NG": 0, "ERROR": 0}
        return LineState(Phase.READY, 7, 0.5, 0, "lid", 3, counts, 0, (), "tiny", 1, "d" * 64, 1, self.run_id)

    def signalled(self, outcome: Outcome, channel: str) -> None:
        assert channel == "mqtt"
        self.signals.append((outcome.job.number, time.monotonic()))

    def decide(self, job: Job, **changes: Any) -> Outcome:
        verdict = (Verdict.OK, Verdict.NG, Verdict.ERROR)[job.number % 3]
        fields: dict[str, Any] = {
            "frame_id": job.number,
            "t_capture": WHEN,
            "score": float("nan") if verdict is Verdict.ERROR else 0.5,
            "verdict": verdict,
            "mask": np.zeros((8, 8), np.uint8),
            "anomaly_map": np.zeros((4, 4), np.float32),
            "latency_ms": {"total": 1.0},
            "bundle_digest": "d" * 64,
            "variant": "fp32",
            "backend": "fake",
            "image_threshold": 0.6,
            "pixel_threshold": 0.5,
            "part_id": job.part_id,
            "code": ErrorCode.LATE if verdict is Verdict.ERROR else ErrorCode.NONE,
        }
        outcome = Outcome(job, Result(**{**fields, **changes}), time.monotonic())
        self.outcomes[job.number] = outcome
        return outcome

    def own(self, number: int, **changes: Any) -> Outcome:
        """An outcome of a job that came by another way."""
        job = Job(number, f"j{number}", f"p{number}", Request("", f"j{number}"), time.monotonic())
        return self.decide(job, **changes)

    def close(self) -> None:
        self._jobs.put(None)
        self._judge.join(5)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._show(self.decide(job))

    def _show(self, outcome: Outcome) -> None:
        for adapter in self.adapters:
            adapter.show(outcome)


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """make_broker(*lines, listener=lines): a broker that is not started yet; ended after the test."""
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    if _MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    made: list[Broker] = []

    def make(*lines: str, listener: tuple[str, ...] = ()) -> Broker:
        made.append(Broker(tmp_path / f"broker{len(made)}", *lines, listener=listener))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """One that lets everybody in, running."""
    one = make_broker()
    one.start()
    return one


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """listen(port, topic): somebody who hears all of it; closed after the test."""
    made: list[Listener] = []

    def make(port: int, topic: str = "diffad/#", **more: Any) -> Listener:
        made.append(Listener(port, topic, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def make_desk() -> Iterator[Callable[..., CannedDesk]]:
    """make_desk(run_id)."""
    made: list[CannedDesk] = []

    def make(run_id: str = "run-1") -> CannedDesk:
        made.append(CannedDesk(run_id))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def desk(make_desk: Callable[..., CannedDesk]) -> CannedDesk:
    """A desk."""
    return make_desk()


@pytest.fixture
def start(desk: CannedDesk) -> Iterator[Callable[..., Any]]:
    """start(port, **settings): an adapter at work with the desk; closed after the test."""
    from diffad_runtime.line.mqtt import MqttAdapter, MqttSettings

    made: list[Adapter] = []

    def make(port: int, at: Any = None, **changes: Any) -> Any:
        fields = {"host": "127.0.0.1", "port": port, "backoff_s": 0.1, "backoff_cap_s": 0.5, **changes}
        adapter = MqttAdapter(MqttSettings(**fields), ADDRESS)
        made.append(adapter)
        one = at or desk
        one.adapters.append(adapter)
        adapter.start(one)
        return adapter

    yield make
    for adapter in made:
        adapter.close()


@pytest.fixture
def soon() -> Callable[..., None]:
    """soon(condition, seconds): wait until it is true; fails where it does not come about."""

    def wait(condition: Callable[[], Any], seconds: float = 10, told: Callable[[], Any] = lambda: "") -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, told()
            time.sleep(0.01)

    return wait
