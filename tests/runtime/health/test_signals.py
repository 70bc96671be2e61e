"""Real signals to real processes, and to this one."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from diffad_runtime.health.signals import stop_on_signals


def run(body: str) -> subprocess.Popen[str]:
    script = (
        "import signal, sys, threading, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from diffad_runtime.health.signals import stop_on_signals\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script + textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


DRAINS = """
    with stop_on_signals(lambda: print("asked", flush=True)) as stop:
        print("ready", flush=True)
        while not stop.requested:
            time.sleep(0.01)
        time.sleep(0.1)
        print("drained", stop.signal.name, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drains_and_exits_with_0(number: signal.Signals) -> None:
    child = run(DRAINS)
    child.send_signal(number)
    out, err = child.communicate(timeout=10)
    assert (child.returncode, err) == (0, "")
    assert sorted(out.splitlines()) == ["asked", f"drained {number.name}"]


def test_sent_twice_at_once_is_one_signal() -> None:
    """As timeout(1) does: to the process, then to its group."""
    child = run(DRAINS)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=10)
    assert child.returncode == 0
    assert out.count("asked") == 1


HANGS = """
    with stop_on_signals(threading.Event().wait) as stop:
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
"""


def test_the_second_one_ends_it_at_once() -> None:
    child = run(HANGS)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=5)
    assert (child.returncode, err) == (130, "SIGINT, the second one: leaving at once\n")


def test_a_main_thread_that_hangs_in_a_call_is_ended_by_the_deadline() -> None:
    """Its handler never runs: the signal is taken on another thread, and the call on this one goes on."""
    child = run(
        """
        with stop_on_signals(lambda: print("asked", flush=True), deadline_s=0.6):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            print("ready", flush=True)
            time.sleep(1000)
        """
    )
    begun = time.monotonic()
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=10)
    assert out == "asked\n"
    assert child.returncode == 143
    assert err.startswith("SIGTERM, not ended 0.6 s after it: leaving at once")
    assert time.monotonic() - begun < 3


def test_a_block_that_ends_in_time_is_not_ended_by_the_deadline() -> None:
    child = run(
        """
        with stop_on_signals(deadline_s=0.5) as stop:
            print("ready", flush=True)
            stop.wait()
        time.sleep(1.0)
        print("later", flush=True)
        """
    )
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=10)
    assert (child.returncode, out, err) == (0, "later\n", "")


def test_handlers_come_back_and_nothing_is_left() -> None:
    def mine(*_: object) -> None:
        pass

    before_term, before_int = signal.signal(signal.SIGTERM, mine), signal.getsignal(signal.SIGINT)
    try:
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            with stop_on_signals() as stop:
                assert signal.getsignal(signal.SIGTERM) is not mine
                assert not stop.requested
                assert not stop.wait(0.01)
                os.kill(os.getpid(), signal.SIGTERM)
                assert stop.wait(5)
                assert stop.signal is signal.SIGTERM
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGINT) is before_int
            assert signal.set_wakeup_fd(-1) == -1
        assert not any(thread.name == "signals" for thread in threading.enumerate())
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    finally:
        signal.signal(signal.SIGTERM, before_term)


def test_somebody_elses_wakeup_socket_takes_nothing_away() -> None:
    """A build of engines puts its own there: the handler passes the signal on."""
    with stop_on_signals() as stop:
        ours = signal.set_wakeup_fd(-1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        signal.set_wakeup_fd(ours)


def test_other_signals_are_not_taken_for_it() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not stop.wait(0.2)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_on_another_thread_nothing_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def other() -> None:
        with stop_on_signals() as stop:
            seen.append((signal.getsignal(signal.SIGTERM) is before, stop.requested))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [(True, False)]
