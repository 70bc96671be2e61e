"""The adapter's life: started, closed, told."""

import asyncio
import gc
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import InputError, MissingExtraError
from diffad_runtime.line.job import LineState, Outcome
from diffad_runtime.line.opcua.adapter import OpcUaAdapter
from diffad_runtime.line.opcua.settings import OpcUaSettings

asyncua = pytest.importorskip("asyncua", reason="needs the extra [line]: asyncua")


def threads() -> set[threading.Thread]:
    """Those of servers."""
    return {thread for thread in threading.enumerate() if thread.name == "opcua"}


def test_closing_is_quick_with_clients_and_leaves_nothing(
    start: Callable[..., Any], client_folder: Path, run: Any, connected: Any, own: Any
) -> None:
    before = threads()
    line = start()
    assert len(threads() - before) == 1
    took = 0.0

    class Words:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def datachange_notification(self, _: Any, value: Any, __: Any) -> None:
            self.said.append(value)

    words = Words()

    async def work() -> None:
        nonlocal took
        try:
            async with (
                connected(line, client_folder) as client,
                connected(line, client_folder) as other,
            ):
                subscription = await client.create_subscription(20, words)
                await subscription.subscribe_data_change(own(client, "Line.State"))
                await other.create_subscription(1000, words)
                while not words.said:
                    await asyncio.sleep(0.02)
                for one in (client, other):  # they need not wait long for a server that is gone
                    one.uaclient.protocol.timeout = 1
                # One that came in and reads nothing any more, and one that never said a word.
                other.uaclient.protocol.transport.pause_reading()
                silent = socket.create_connection(("127.0.0.1", line.adapter.port))
                began = time.monotonic()
                await asyncio.to_thread(line.adapter.close)
                took = time.monotonic() - began
                await asyncio.sleep(0.1)
                silent.close()
        except (ConnectionError, asyncua.ua.UaError):
            pass  # the server is gone: so it should be

    run(work())
    assert 0 < took < 2
    assert words.said[-1] == "stopped"
    assert threads() == before
    assert not line.adapter.status().connected
    line.adapter.close()
    with socket.create_server(("127.0.0.1", line.adapter.port)):
        pass  # the port is free
    gc.collect()  # a task or socket that was left would warn, and warnings are errors


def test_close_in_every_state(tmp_path: Path, make_desk: Any, make_outcome: Callable[..., Outcome]) -> None:
    before = threads()
    settings = OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=tmp_path)
    adapter = OpcUaAdapter(settings)
    adapter.show(make_outcome())
    adapter.close()
    adapter.close()
    with pytest.raises(InputError):
        adapter.start(make_desk())
    # While it is being made.
    adapter = OpcUaAdapter(settings)
    starting = threading.Thread(target=lambda: adapter.start(make_desk()))
    starting.start()
    while adapter.port == 0:
        time.sleep(0.005)
    began = time.monotonic()
    adapter.close()
    assert time.monotonic() - began < 2
    starting.join(5)
    assert not starting.is_alive()
    for _ in range(600):
        if threads() == before:
            break
        time.sleep(0.05)
    assert threads() == before


def test_a_taken_port(tmp_path: Path, make_desk: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        adapter = OpcUaAdapter(OpcUaSettings(endpoint=f"opc.tcp://127.0.0.1:{port}", folder=tmp_path))
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1:{port}"):
            adapter.start(make_desk())
        adapter.close()


def test_an_address_of_another_machine(tmp_path: Path, make_desk: Any) -> None:
    adapter = OpcUaAdapter(OpcUaSettings(endpoint="opc.tcp://192.0.2.1:4840", folder=tmp_path))
    with pytest.raises(InputError, match="cannot listen"):
        adapter.start(make_desk())


def test_files_that_cannot_be_used(tmp_path: Path, make_desk: Any) -> None:
    (tmp_path / "own.der").write_text("junk")
    (tmp_path / "own.key.pem").write_text("junk")
    before = threads()
    for settings in (
        OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=tmp_path),
        OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=tmp_path / "own.der"),
        OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=tmp_path / "new", users=tmp_path / "none"),
    ):
        adapter = OpcUaAdapter(settings)
        with pytest.raises(InputError) as told:
            adapter.start(make_desk())
        assert told.value.mend
        assert threads() == before


def test_without_asyncua_it_says_so(tmp_path: Path, make_desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("diffad_runtime.line.opcua.")]:
        if not name.endswith((".adapter", ".settings")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("diffad_runtime.line.opcua.server", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "asyncua"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncua", None)
    adapter = OpcUaAdapter(OpcUaSettings(endpoint="opc.tcp://127.0.0.1:0", folder=tmp_path))
    with pytest.raises(MissingExtraError, match=r"diffad-edge\[line\]"):
        adapter.start(make_desk())


def wait_for(ready: Callable[[], bool]) -> None:
    for _ in range(500):
        if ready():
            return
        time.sleep(0.02)
    pytest.fail("it did not come")


def test_show_never_blocks_and_the_oldest_is_given_up(
    line: Any, make_outcome: Callable[..., Outcome], make_state: Callable[..., LineState]
) -> None:
    many = [make_outcome(number) for number in range(1, 3001)]
    before, told = line.adapter.status(), len(line.desk.told)
    began = time.monotonic()
    for one in many:
        line.adapter.show(one)
        line.adapter.state(make_state(last_job=one.job.number))
    assert time.monotonic() - began < 1
    wait_for(lambda: bool(line.desk.told) and line.desk.told[-1].job.number == 3000)
    status = line.adapter.status()
    assert status.waiting == 0
    assert status.sent + status.lost - before.sent - before.lost == 3000
    numbers = [one.job.number for one in line.desk.told[told:]]
    assert len(numbers) == status.sent - before.sent
    assert numbers == sorted(numbers)
    assert status.faults == before.faults


def test_one_that_cannot_be_told_does_not_silence_the_rest(
    line: Any, make_outcome: Callable[..., Outcome], make_result: Callable[..., Any]
) -> None:
    before = line.adapter.status()
    line.adapter._life._loop.call_soon_threadsafe(time.sleep, 0.3)  # so that both wait together
    line.adapter.show(make_outcome(5001, make_result(t_capture="no time")))
    line.adapter.show(make_outcome(5002))
    wait_for(lambda: bool(line.desk.told) and line.desk.told[-1].job.number == 5002)
    assert 5001 not in [one.job.number for one in line.desk.told]
    assert line.adapter.status().faults == before.faults + 1
    assert "isoformat" in line.adapter.status().last_error


def test_after_the_end_nothing_happens(tmp_path: Path, make_outcome: Callable[..., Outcome], make_state: Any) -> None:
    adapter = OpcUaAdapter(OpcUaSettings(folder=tmp_path))
    adapter.close()
    adapter.show(make_outcome())
    adapter.state(make_state())
    assert not adapter.status().connected
