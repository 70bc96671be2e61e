"""What the profile's tables say."""

import pytest

from diffad_calibration.profile import BundleProfile, ConvolutionFigures, GraphProfile, OperatorShare, Peak
from diffad_edge.cli.profileview import show_profile


def test_tables_name_shares_rates_and_the_disturbance(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    none = ConvolutionFigures(0, 0.0, 0.0, 100.0)
    operators = tuple(OperatorShare(f"Op{i}", i + 1, 0.5 - i / 100, 0.1) for i in range(10))
    graph = GraphProfile("extractor", 4.0, 5.0, operators, ConvolutionFigures(7, 1.2, 2.0, 800.0), none, ())
    peaks = {"int8": Peak(800.0, "3 x 3, 8 -> 8, 4 x 4"), "fp32": Peak(100.0, "1 x 1, 8 -> 8, 4 x 4")}
    show_profile(BundleProfile({"int8": (graph,)}, peaks, 30, 2))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "int8, extractor" in lines
    assert "Op0 1 0.500 10.0%" in lines
    assert "2 others 19 0.830 20.0%" in lines
    assert "all 55 5.000" in lines
    assert "int8 extractor INT8 7 1.200 2.00 600 75%" in lines
    assert not any("FP32 0" in line for line in lines)
    assert "peak INT8 800 GOP/s: 3 x 3, 8 -> 8, 4 x 4" in lines
    assert any("int8 extractor +25% of 4.00" in line for line in lines)
