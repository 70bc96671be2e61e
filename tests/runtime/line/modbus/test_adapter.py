"""A PLC's view of the server: a pymodbus client over loopback, and nothing else."""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.job import Phase, Request

MakeRig = Callable[..., Any]


def _ack(client: Any, number: int) -> None:
    assert not client.write_register(2, number, device_id=1).isError()


def _trigger(client: Any, number: int) -> None:
    assert not client.write_register(1, number, device_id=1).isError()


def test_one_part_by_registers(rig: MakeRig) -> None:
    line = rig(results="own")
    client = line.client()
    block = line.block(client)
    assert (block.trigger_ready, block.results_ready, block.bit(7), block.bit(8)) == (True, False, True, False)
    part = [int.from_bytes(f"{one:\0<2}".encode(), "big") for one in ("ca", "p ", "17")] + [0] * 13
    # Part and trigger in one request, as a PLC would.
    assert not client.write_registers(8, part, device_id=1).isError()
    _trigger(client, 41)
    block = line.block(client)
    assert block.results_ready
    assert [block.bit(bit) for bit in (2, 3, 4, 5)] == [False, True, False, True]
    assert block.registers[17:21] == [2, 0, 1, 41]
    assert (block.registers[21], block.u32(22), block.f32(24), block.f32(26)) == (7, 1, 1.25, 1.5)
    assert (block.registers[29], block.text(30, 16)) == (1, "cap 17")
    assert line.desk.jobs[0].request.part_id == "cap 17"
    assert line.desk.signalled_jobs[0][0] == 1
    _ack(client, block.number)
    block = line.block(client)
    assert not block.results_ready
    assert block.registers[16:48] == [0] * 32  # no verdict is left to be read twice


def test_one_part_by_coils(rig: MakeRig) -> None:
    line = rig()
    client = line.client()

    def inputs() -> list[bool]:
        return list(client.read_discrete_inputs(0, count=16, device_id=1).bits)

    assert inputs()[:2] == [True, False]
    for expected in ([False, True, False, True], [False, True, True, True], [True, False, False, False]):
        client.write_coil(0, True, device_id=1)
        client.write_coil(0, False, device_id=1)
        bits = inputs()
        assert bits[1]
        assert bits[2:6] == expected
        client.write_coil(1, True, device_id=1)
        assert not inputs()[1]
        client.write_coil(1, False, device_id=1)
    assert len(line.desk.jobs) == 3


def test_one_part_by_bits_of_a_register(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    client.write_register(0, 1, device_id=1)
    assert line.block(client).results_ready
    client.write_register(0, 2, device_id=1)  # trigger falls, ack rises
    assert not line.block(client).results_ready
    client.mask_write_register(address=0, and_mask=0xFFFC, or_mask=1, device_id=1)
    assert client.read_holding_registers(0, count=1, device_id=1).registers == [1]
    assert line.block(client).u32(22) == 2


def test_error_has_a_code_no_score_and_raises_ng(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    _trigger(client, 1)
    _ack(client, line.block(client).number)
    _trigger(client, 2)
    block = line.block(client)
    assert [block.bit(bit) for bit in (2, 3, 4, 5)] == [False, True, True, True]
    assert block.registers[17:20] == [3, 11, 1]
    assert math.isnan(block.f32(24))


def test_a_repeated_number_is_no_second_part(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    for number in (5, 5, 0, 5, 6):
        _trigger(client, number)
    assert len(line.desk.jobs) == 2
    assert line.adapter.status().details["triggers_repeated"] == 2


def test_outcomes_come_one_at_a_time_in_the_order_of_their_verdicts(rig: MakeRig) -> None:
    line = rig(None)
    client = line.client()
    for number in (11, 12, 13):
        _trigger(client, number)
    assert line.block(client).registers[7] == 3
    for number in (2, 3, 1):
        line.desk.decide(number)
    seen = []
    for _ in range(3):
        block = line.until(client, lambda block: block.results_ready)
        seen.append((block.registers[20], block.u32(22)))
        _ack(client, block.number)
    assert seen == [(12, 2), (13, 3), (11, 1)]
    assert [number for number, _ in line.desk.signalled_jobs] == [2, 3, 1]


def test_results_ready_is_seen_low_between_two_outcomes(rig: MakeRig) -> None:
    line = rig(gap_ms=100)
    client = line.client()
    _trigger(client, 1)
    _trigger(client, 2)
    first = line.block(client)
    _ack(client, first.number)
    assert not line.block(client).results_ready
    began = time.monotonic()
    second = line.until(client, lambda block: block.results_ready)
    assert time.monotonic() - began > 0.05
    assert second.number == first.number % 65535 + 1


def test_with_a_level_the_next_outcome_waits_until_it_is_low(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    _trigger(client, 1)
    _trigger(client, 2)
    client.write_coil(1, True, device_id=1)
    time.sleep(0.05)
    assert not line.block(client).results_ready
    client.write_coil(1, False, device_id=1)
    assert line.until(client, lambda block: block.results_ready).u32(22) == 2


def test_an_acknowledgement_that_never_comes(rig: MakeRig) -> None:
    line = rig(ack_timeout_s=0.1)
    client = line.client()
    _trigger(client, 1)
    _trigger(client, 2)
    second = line.until(client, lambda block: block.results_ready and block.u32(22) == 2)
    assert second.registers[9] == 1
    status = line.adapter.status()
    assert (status.sent, status.lost, status.waiting) == (2, 1, 1)


def test_an_early_trigger_is_a_part_all_the_same(rig: MakeRig) -> None:
    line = rig(None)
    line.desk.tell(phase=Phase.FAULT)
    client = line.client()
    block = line.block(client)
    assert (block.trigger_ready, block.bit(7), block.bit(8), block.registers[2]) == (False, False, True, 2)
    _trigger(client, 1)
    assert len(line.desk.jobs) == 1
    assert line.block(client).registers[10] == 1
    line.desk.tell(phase=Phase.READY)
    for number in range(2, 17):
        _trigger(client, number)
    assert not line.block(client).trigger_ready  # no room for one more outcome


def test_recipes(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    assert line.block(client).registers[3] == 0xFFFF
    client.write_register(3, 9, device_id=1)
    client.write_register(3, 9, device_id=1)
    block = line.block(client)
    assert (block.registers[3], block.bit(9), line.desk.prepared) == (9, False, [9])
    line.desk.tell(recipe=7)  # by somebody else
    client.write_register(3, 9, device_id=1)
    assert line.desk.prepared == [9, 9]


def test_a_recipe_that_is_not_there_judges_no_part_by_another(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    for _ in range(3):  # in every cycle
        client.write_register(3, 4, device_id=1)
    block = line.block(client)
    assert (block.bit(9), block.registers[4], block.registers[5]) == (True, 1, 1)
    _trigger(client, 1)
    assert line.desk.jobs[0].request.recipe == 4  # the desk will say ERROR, code RECIPE
    client.write_register(3, 7, device_id=1)
    block = line.block(client)
    assert (block.bit(9), block.registers[4]) == (False, 0)
    _trigger(client, 2)
    assert line.desk.jobs[1].request.recipe is None


def test_recipe_part_and_trigger_in_one_request(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    values = [0] * 24
    values[1], values[3], values[8] = 77, 7, 0x4142
    client.write_registers(0, values, device_id=1)
    assert line.desk.prepared == [7]
    assert [job.request.part_id for job in line.desk.jobs] == ["AB"]


def test_a_refused_trigger_is_told(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    line.desk.refuse = True
    _trigger(client, 1)
    block = line.block(client)
    assert (block.bit(9), block.registers[4], block.registers[5], block.registers[7]) == (True, 2, 1, 0)
    line.desk.refuse = False
    _trigger(client, 2)
    assert line.block(client).registers[4] == 0
    assert "part_id is odd" in line.adapter.status().last_error


def test_a_fault_in_the_desk_is_an_exception_and_not_the_end(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    line.desk.fail = True
    answer = client.write_register(1, 1, device_id=1)
    assert answer.exception_code == 4
    line.desk.fail = False
    _trigger(client, 2)
    assert line.block(client).results_ready
    assert line.adapter.status().faults == 1


def test_heartbeats(rig: MakeRig) -> None:
    line = rig(plc_watchdog_s=0.15)
    client = line.client()
    for beat in (1, 2, 65536 + 3):
        line.desk.tell(beat=beat)
        block = line.block(client)
        assert (block.registers[1], block.bit(6)) == (beat & 0xFFFF, bool(beat & 1))
    line.until(client, lambda block: block.bit(10))
    assert line.adapter.status().details["plc_silent"] == 1.0
    client.write_register(4, 1, device_id=1)
    assert not line.block(client).bit(10)
    line.until(client, lambda block: block.bit(10))
    assert line.adapter.status().faults == 2


def test_what_judges_and_how_much(rig: MakeRig) -> None:
    line = rig()
    block = line.block(line.client())
    assert [block.u32(at) for at in (48, 50, 52, 54, 58)] == [70_000, 2, 3, 4, 70_001]
    assert (block.text(60, 16), block.text(76, 16)) == ("cap-v2", "left")
    assert (block.text(92, 8), block.text(100, 8)) == ("0123456789abcdef", "run-77")
    assert block.registers[11:13] == [1, 1000]


def test_the_other_word_order(rig: MakeRig) -> None:
    line = rig(word_order="low-first")
    client = line.client()
    _trigger(client, 1)
    registers = line.block(client).registers
    assert registers[22:24] == [1, 0]
    assert registers[24:26] == [0, 0x3FA0]  # 1.25 is 3FA00000


def test_outcomes_of_other_channels(rig: MakeRig) -> None:
    for results, expected in (("own", False), ("all", True)):
        line = rig(None, results=results)
        client = line.client()
        _trigger(client, 5)
        line.desk.trigger(Request("mqtt", "theirs"))
        line.desk.decide(2)
        block = line.block(client)
        assert (block.results_ready, block.registers[20], block.registers[7]) == (expected, 0, 1)


@pytest.fixture
def _restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("_restless")
def test_a_reader_never_sees_two_results_in_one(rig: MakeRig) -> None:
    """One thread decides and acknowledges without a pause; readers take the whole block, and its fields agree."""
    line = rig(None)
    stop = threading.Event()
    torn: list[list[int]] = []
    numbers: set[int] = set()

    def read(client: Any) -> None:
        while not stop.is_set():
            block = line.block(client)
            job = block.u32(22)
            numbers.add(job)
            good = job == 0 and block.registers[16:48] == [0] * 32 and not block.results_ready
            if job:
                verdict = (job % 3) + 1
                score = block.f32(24)
                good = (
                    block.results_ready
                    and block.registers[17] == verdict
                    and block.bit(2) == (verdict == 1)
                    and (math.isnan(score) if verdict == 3 else score == job + 0.25)
                    and block.f32(26) == job + 0.5
                    and block.registers[29] == job % 65536
                    and block.registers[20] == job % 65535
                    and block.text(30, 16) == f"part {job}"
                )
            if not good:
                torn.append(block.registers)
                return

    readers = [threading.Thread(target=read, args=(line.client(),)) for _ in range(3)]
    for reader in readers:
        reader.start()
    writer = line.client()
    for job in range(1, 251):
        text = f"part {job}".encode().ljust(32, b"\0")
        part = [int.from_bytes(text[at : at + 2], "big") for at in range(0, 32, 2)]
        writer.write_registers(8, part, device_id=1)
        _trigger(writer, job)
        line.desk.decide(job)  # on this thread, not on that which answers
        _ack(writer, line.block(writer).number)
    stop.set()
    for reader in readers:
        reader.join(5)
    assert not torn
    assert len(numbers) > 50


def test_a_trigger_reaches_the_desk_before_its_write_is_answered(rig: MakeRig) -> None:
    line = rig(None)
    client = line.client()
    for number in range(1, 30):
        _trigger(client, number)
        assert len(line.desk.jobs) == number


def test_every_part_gets_one_outcome_with_acknowledgements_lost_and_triggers_twice(rig: MakeRig) -> None:
    line = rig(0.002, ack_timeout_s=0.5)
    client = line.client()
    seen: list[int] = []
    for number in range(1, 121):
        line.until(client, lambda block: block.trigger_ready)
        _trigger(client, number)
        if number % 7 == 0:
            _trigger(client, number)
        block = line.until(client, lambda block, last=number: block.results_ready and block.registers[20] == last)
        seen.append(block.u32(22))
        if number % 40:
            _ack(client, block.number)
    assert seen == list(range(1, 121))
    status = line.adapter.status()
    assert (status.sent, status.details["triggers_repeated"]) == (120, 17)
    line.until(client, lambda block: not block.results_ready)
    assert line.adapter.status().lost == 3


def test_closing(rig: MakeRig) -> None:
    line = rig()
    client = line.client()
    line.block(client)
    assert line.adapter.status().connected
    assert line.adapter.status().peers == 1
    began = time.monotonic()
    line.adapter.close()
    line.adapter.close()
    assert time.monotonic() - began < 2
    assert not line.adapter.status().connected
    line.desk.decide(0) if line.desk.jobs else None
    line.desk.tell(phase=Phase.STOPPED)
    assert not [thread for thread in threading.enumerate() if thread.name == "modbus"]
    with pytest.raises(InputError, match="once"):
        line.adapter.start(line.desk)
    client.close()


def test_closed_before_it_began() -> None:
    from diffad_runtime.line.modbus import ModbusAdapter, ModbusSettings

    adapter = ModbusAdapter(ModbusSettings())
    adapter.close()
    assert not adapter.status().connected


def test_a_port_that_is_taken(rig: MakeRig) -> None:
    line = rig()
    with pytest.raises(InputError, match=r"cannot listen on .*in use.*another port"):
        rig(port=line.adapter.port)
