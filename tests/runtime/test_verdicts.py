from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.result import Verdict
from diffad_runtime.verdicts import rejects, worst

VERDICTS = st.sampled_from(Verdict)


@given(st.lists(VERDICTS), st.lists(VERDICTS), VERDICTS)
def test_worst_is_a_join(left: list[Verdict], right: list[Verdict], one: Verdict) -> None:
    assert worst([one]) is one is worst([one, one])
    assert worst([*left, one]) is worst([one, *left])
    if left and right:
        assert worst([worst(left), worst(right)]) is worst([*left, *right])


@given(st.lists(VERDICTS, min_size=1), VERDICTS)
def test_nothing_makes_a_part_better(found: list[Verdict], more: Verdict) -> None:
    assert rejects(worst([*found, more])) >= rejects(worst(found))
    assert worst([*found, Verdict.OK]) is worst(found)
    assert worst([*found, Verdict.ERROR]) is Verdict.ERROR


def test_what_nobody_looked_at_is_an_error() -> None:
    assert worst([]) is Verdict.ERROR
    assert [rejects(verdict) for verdict in (Verdict.OK, Verdict.NG, Verdict.ERROR)] == [False, True, True]
    assert worst([Verdict.OK, Verdict.NG]) is Verdict.NG
