from diffad_runtime.chaos import FaultKind, PlantedFault, Sign
from diffad_runtime.soak.detection import find


def _planted(kind: FaultKind, started: float = 10.0, ended: float = 15.0) -> PlantedFault:
    return PlantedFault(kind, 0, 0.0, 5.0, 0.0, started, ended)


def test_the_first_sign_after_the_start_counts() -> None:
    noticed = {Sign.FROZEN: [3.0, 13.5, 14.0], Sign.ERROR: [10.1]}
    finding = find(_planted(FaultKind.FREEZE), noticed, [14.9, 15.25, 16.0], 3.0, 2.0)
    assert (finding.after_s, finding.allowed_s, finding.resumed_s, finding.missed) == (3.5, 5.0, 0.25, False)


def test_too_late_and_not_at_all_are_missed() -> None:
    late = find(_planted(FaultKind.FREEZE), {Sign.FROZEN: [15.5]}, [], 3.0, 2.0)
    assert (late.after_s, late.missed, late.resumed_s) == (5.5, True, None)
    never = find(_planted(FaultKind.END), {Sign.FROZEN: [10.5]}, [20.0], 0.0, 2.0)
    assert (never.after_s, never.missed, never.resumed_s) == (None, True, 5.0)


def test_what_has_no_signs_is_never_missed() -> None:
    finding = find(_planted(FaultKind.DROP), {}, [15.0], 0.0, 2.0)
    assert (finding.after_s, finding.allowed_s, finding.missed, finding.resumed_s) == (None, None, False, 0.0)
