"""The table [opcua]."""

import pytest
from pydantic import ValidationError

from diffad_runtime.line.opcua.settings import OpcUaSettings


def test_safe_unless_told_otherwise() -> None:
    settings = OpcUaSettings()
    assert not settings.anonymous
    assert not settings.unencrypted
    assert settings.warnings() == ()


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("opc.tcp://0.0.0.0:4840", "0.0.0.0", 4840),
        ("opc.tcp://station-3", "station-3", 4840),
        ("opc.tcp://[::1]:4841/left", "::1", 4841),
        ("opc.tcp://127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_endpoints(endpoint: str, host: str, port: int) -> None:
    settings = OpcUaSettings(endpoint=endpoint)
    assert (settings.host, settings.port) == (host, port)
    assert OpcUaSettings(endpoint=settings.endpoint) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "http://0.0.0.0:4840"},
        {"endpoint": "opc.tcp://:4840"},
        {"endpoint": "opc.tcp://host:99999"},
        {"endpoint": "opc.tcp://user@host:4840"},
        {"endpoint": "opc.tcp://[::1:4840"},
        {"application_uri": "no uri"},
        {"sessions": 0},
        {"session_timeout_s": float("nan")},
        {"anonymus": True},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OpcUaSettings.model_validate(wrong)


def test_what_is_open_is_said() -> None:
    assert len(OpcUaSettings(anonymous=True).warnings()) == 1
    assert len(OpcUaSettings(unencrypted=True).warnings()) == 2
