"""A short run of the fuzzer: nothing found, every layer reached; and what is broken on purpose is found."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from bundlefuzz import bases, watch
from bundlefuzz.campaign import LAYERS, Campaign, Tally, beyond
from bundlefuzz.enginechild import EngineChild
from bundlefuzz.heavy import HEAVY
from bundlefuzz.kinds import KINDS
from bundlefuzz.watch import Seen, Watch

from diffad_runtime.bundle import reader, strictjson
from diffad_runtime.errors import BundleError

ROUNDS = 1600
SEED = 2026


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(SEED, tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def tally(campaign: Campaign) -> Tally:
    return campaign.run(ROUNDS)


def test_nothing_is_found(tally: Tally) -> None:
    assert tally.rounds == ROUNDS
    assert tally.faults == []
    assert tally.repeated == ROUNDS // 20


def test_inputs_do_not_all_die_at_the_door(tally: Tally) -> None:
    """Every layer of a bundle refuses some, and some get through; so with every other entrance."""
    found: Counter[str] = Counter()
    for kind in KINDS:
        layers = tally.layers[kind.name]
        assert sum(layers.values()) > 0, kind.name
        if kind.bundle:
            found.update(layers)
        else:
            assert 0 < layers["accepted"] < sum(layers.values()), (kind.name, layers)
    for name, _ in LAYERS[1:]:
        assert found[name] > 0, (name, found)
    assert found["zip records"] < 0.25 * tally.bundles


def test_a_number_makes_the_same_input_again(campaign: Campaign) -> None:
    for number in range(40):
        kind, data = campaign.data(number)
        again, same = campaign.data(number)
        assert (again, same) == (kind, data)


def _found(campaign: Campaign, rounds: int = 250) -> str:
    return "\n".join(campaign.run(rounds).faults)


def test_a_reader_that_believes_a_size_is_found(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was: a key error where a member is missing, which its own check would have named."""
    monkeypatch.setattr(
        reader, "_check_members", lambda manifest, members: [members[name] for name in manifest.members]
    )
    assert "KeyError" in _found(campaign)


def test_a_reader_that_takes_any_json_is_found(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    def loose(raw: bytes, _name: str) -> dict[str, object]:
        return dict(json.loads(bytes(raw)))

    monkeypatch.setattr(reader, "parse_object", loose)
    assert "RecursionError" in _found(campaign)


def test_a_message_with_whatever_stands_in_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign(SEED, tmp_path, kinds=[kind for kind in KINDS if kind.name.startswith("manifest: s")])
    monkeypatch.setattr(strictjson, "_shown", lambda text: text)
    monkeypatch.setattr(strictjson, "_check_inside", lambda *_: None)
    found = _found(campaign, 300)
    assert "a terminal would act on" in found
    assert "characters" in found


def test_a_reader_that_looks_elsewhere_is_found(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "check_onnx", lambda *_: Path("/etc/hostname").read_text())
    assert "read '/etc/hostname'" in _found(campaign, 60)


def _writes(folder: Path) -> Callable[[], object]:
    return lambda: (folder / "new").write_text("x")


def _cannot_end() -> None:
    while True:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watch, Path]:
    folder = tmp_path_factory.mktemp("watched")
    (folder / "own").write_text("x")
    return Watch(folder), folder


def test_the_watch_sees_what_must_not_be(looking: tuple[Watch, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault alone, so that none hides behind another."""
    one, folder = looking
    assert one.run((folder / "own").read_text).faults == []
    assert "wrote" in one.run(_writes(folder)).faults[0]
    assert "read '/etc/hostname'" in one.run(Path("/etc/hostname").read_text).faults[0]
    assert "os.rename" in one.run(lambda: (folder / "own").rename(folder / "own")).faults[0]
    assert "subprocess.Popen" in " ".join(
        one.run(lambda: subprocess.run([sys.executable, "-c", ""], check=True)).faults
    )
    assert "ZeroDivisionError" in one.run(lambda: 1 / 0).faults[0]
    assert "MemoryError" in one.run(lambda: bytearray(1 << 60)).faults[0]
    monkeypatch.setattr(watch, "HANG_S", 0.2)
    assert "did not end" in one.run(_cannot_end).faults[0]


def _refuses(message: str) -> Callable[[], object]:
    def work() -> None:
        raise BundleError(message, mend="m")

    return work


def test_the_watch_reads_messages_and_measures(looking: tuple[Watch, Path]) -> None:
    one, _ = looking
    assert one.run(_refuses("plain")).faults == []
    assert "3000 characters" in one.run(_refuses("x" * 2996)).faults[0]
    assert "terminal" in one.run(_refuses("\x1b[2J")).faults[0]
    one.settle()
    kept: list[bytes] = []
    seen = one.run(lambda: kept.append(b"x" * (200 << 20)), python_memory=True)
    assert seen.peak_mb > 190
    assert seen.python_mb > 190
    assert beyond(1 << 10, Seen(peak_mb=400.0)) != []
    assert beyond(8 << 20, Seen(peak_mb=400.0)) == []
    assert beyond(1 << 10, Seen(cpu_s=60.0)) != []
    kept.clear()


def test_alarms_are_given_back() -> None:
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_onnxruntime_takes_the_base_and_judges_its_golden_frames() -> None:
    child = EngineChild(bases.tiny().sealed())
    try:
        assert child.run(bases.tiny().sealed()).how == "accepted"
        wrong = bases.tiny()
        wrong.members["golden/00.json"] = wrong.members["golden/00.json"].replace(b'"score": 0', b'"score": 9')
        ended = child.run(wrong.sealed())
        assert ended.how == "refused"
        assert "golden" in ended.what
        assert child.started == 1
    finally:
        child.close()


def test_onnxruntime_is_not_given_what_is_too_heavy(campaign: Campaign) -> None:
    """All but the few that are no heavier than they should be end at the reader."""
    light = set()
    for name, make in HEAVY.items():
        base = bases.tiny()
        base.members[bases.EXTRACTOR] = make()
        path = campaign._targets.bundle_path
        path.write_bytes(base.sealed())
        try:
            reader.open_bundle(path)
        except BundleError:
            continue
        light.add(name)
    assert light == set()


def test_the_script_runs() -> None:
    script = Path(__file__).parents[2] / "docs" / "fuzz_bundles.py"
    done = subprocess.run(
        [sys.executable, str(script), "--rounds", "150", "--seed", "3", "--engines", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["inputs"], report["tracebacks"], report["found"]) == (150, 0, {})
    assert report["engines"]["bad"] == 0
    assert sum(report["layers"].values()) == report["bundles"]
