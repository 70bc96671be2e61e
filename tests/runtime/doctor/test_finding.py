"""What findings mean for one backend, and what of them becomes JSON."""

import pytest

from diffad_runtime.doctor.finding import ALL, ON_GPU, ON_ONNXRUNTIME, Finding, fail, for_backend, ok, warn
from diffad_runtime.engines.choice import BACKENDS

FINDINGS = [
    ok("disk", "10 GiB"),
    warn("clocks", "not pinned", "Pin them"),
    warn("tensorrt", "missing", "Install it", stops=("tensorrt",)),
    ok("cuda driver", "no GPU", "Get one", stops=ON_GPU),
    fail("opencv", "missing", "Install it"),
]


def test_the_backends_named_are_those_there_are() -> None:
    assert set(ALL) == set(BACKENDS)
    assert set(ON_GPU) | set(ON_ONNXRUNTIME) == set(BACKENDS)


@pytest.mark.parametrize(
    ("backend", "failed"),
    [
        ("auto", ["opencv"]),
        ("onnxruntime", ["opencv"]),
        ("tensorrt", ["tensorrt", "cuda driver", "opencv"]),
        ("onnxruntime-cuda", ["cuda driver", "opencv"]),
    ],
)
def test_what_a_backend_needs_has_failed_where_it_is_missing(backend: str, failed: list[str]) -> None:
    judged = for_backend(FINDINGS, backend)
    assert [finding.name for finding in judged if finding.status == "fail"] == failed
    assert [finding.name for finding in judged] == [finding.name for finding in FINDINGS]
    assert judged[1] == FINDINGS[1]


def test_json_has_the_four_keys() -> None:
    finding = Finding("disk", "fail", "full", "Make room", stops=("auto",))
    assert finding.to_json() == {"name": "disk", "status": "fail", "detail": "full", "mend": "Make room"}
