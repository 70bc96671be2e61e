"""Numbers that never fall: whatever is committed, in whatever order, an older model does not come back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.errors import InputError
from diffad_runtime.trust.versions import (
    Committed,
    Seen,
    raised,
    read_versions,
    too_old_to_install,
    too_old_to_run,
    versions_bytes,
)

generations = st.builds(
    lambda model, version: Committed(model, version, f"{version:064x}"), st.sampled_from("ab"), st.integers(1, 9)
)
histories = st.lists(st.lists(generations, min_size=1, max_size=2).map(tuple), max_size=8)


@given(histories)
def test_never_fall(history: list[tuple[Committed, ...]]) -> None:
    seen: dict[str, Seen] = {}
    for kept in history:
        after = raised(seen, kept)
        assert raised(after, kept) == after
        for model, before in seen.items():
            assert after[model].floor >= before.floor
            assert after[model].highest >= before.highest
        for one in kept:
            assert after[one.model_id].highest >= one.version
        seen = after
    for model, one in seen.items():
        committed = [each.version for kept in history for each in kept if each.model_id == model]
        assert one.highest == max(committed)
        assert one.digest == f"{one.highest:064x}"
        assert too_old_to_run(seen, model, one.floor) == ""
        assert one.floor == 1 or "older than this device goes back to" in too_old_to_run(seen, model, one.floor - 1)


def test_two_generations_are_kept() -> None:
    """1, then 2 with 1 before it, then 4 with 2 before it."""
    seen: dict[str, Seen] = {}
    floors = []
    for kept in [(1,), (2, 1), (4, 2), (2,), (5, 2)]:
        seen = raised(seen, tuple(Committed("a", version, f"{version:064x}") for version in kept))
        floors.append((seen["a"].floor, seen["a"].highest))
    assert floors == [(1, 1), (1, 2), (2, 4), (2, 4), (2, 5)]
    assert too_old_to_run(seen, "a", 1)
    assert not too_old_to_run(seen, "a", 2)
    assert too_old_to_install(seen, "a", 5, "0" * 64)
    assert too_old_to_install(seen, "a", 4, f"{4:064x}")
    assert not too_old_to_install(seen, "a", 5, f"{5:064x}")  # the very one that was rolled back
    assert not too_old_to_install(seen, "a", 6, "0" * 64)
    assert not too_old_to_install(seen, "b", 1, "0" * 64)
    assert not too_old_to_run(seen, "b", 1)


@given(histories)
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, history: list[tuple[Committed, ...]]) -> None:
    seen: dict[str, Seen] = {}
    for kept in history:
        seen = raised(seen, kept)
    path = tmp_path_factory.mktemp("versions") / "versions.json"
    path.write_bytes(versions_bytes(seen))
    assert read_versions(path) == seen


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"schema_version": 2, "models": {}}',
        '{"schema_version": 1, "models": {}, "more": 1}',
        '{"schema_version": 1, "models": {"a": {"floor": 0, "highest": 1, "digest": "' + "0" * 64 + '"}}}',
        '{"schema_version": 1, "models": {"a": {"floor": 3, "highest": 2, "digest": "' + "0" * 64 + '"}}}',
        '{"schema_version": 1, "models": {"a": {"floor": 1.0, "highest": 2, "digest": "' + "0" * 64 + '"}}}',
        '{"schema_version": 1, "models": {"a": {"floor": 1, "highest": 2, "digest": "0"}}}',
        json.dumps({"schema_version": 1, "models": {}})[:-1],
    ],
)
def test_a_damaged_file_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "versions.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"versions\.json is damaged") as caught:
        read_versions(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == text


def test_no_file_is_no_number(tmp_path: Path) -> None:
    assert read_versions(tmp_path / "versions.json") == {}
    with pytest.raises(InputError, match="cannot read"):
        read_versions(tmp_path)
