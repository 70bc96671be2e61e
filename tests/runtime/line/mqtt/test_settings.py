"""The [mqtt] table: what is refused, and that names of topics and clients never meet."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diffad_runtime.line.mqtt.settings import MqttSettings
from diffad_runtime.line.mqtt.topics import client_id_of, topics_of
from diffad_runtime.line.settings import Address

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
PREFIXES = st.from_regex(r"[A-Za-z0-9_.-]{1,8}(/[A-Za-z0-9_.-]{1,8}){0,2}", fullmatch=True)
ADDRESSES = st.builds(Address, site=NAMES, line=NAMES, station=NAMES)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"host": "mqtts://broker"}, "host"),
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"password": "secret"}, "password_file or password_env"),
        ({"password_env": "MQTT"}, "needs a username"),
        ({"username": "u", "password_env": "MQTT", "password_file": "f"}, "name one of them"),
        ({"tls": {"certificate": "c.pem"}}, "go together"),
        ({"tls": {"insecure": True}}, "tls.insecure"),
        ({"prefix": "plant/+"}, "prefix"),
        ({"prefix": "/plant"}, "prefix"),
        ({"prefix": "plant/"}, "prefix"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"keepalive_s": 0}, "keepalive_s"),
        ({"answer_s": float("inf")}, "answer_s"),
        ({"protocol": "3.1"}, "protocol"),
        ({"spool_messages": 0}, "spool_messages"),
        ({"spool_mb": 0}, "spool_mb"),
        ({"backoff_s": 5, "backoff_cap_s": 1}, "backoff_cap_s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        MqttSettings(**{"host": "broker", **changes})


def test_a_refused_password_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        MqttSettings(host="broker", password="hunter2")  # type: ignore[call-arg]
    assert "hunter2" not in str(caught.value.errors(include_input=False))


def test_the_port_follows_from_tls() -> None:
    assert MqttSettings(host="b").where == "b:1883"
    assert MqttSettings(host="b", tls={}).where == "b:8883"  # type: ignore[arg-type]
    assert MqttSettings(host="b", port=99, tls={"ca": Path("x")}).where == "b:99"  # type: ignore[arg-type]


def test_topics_are_laid_out_by_site_line_and_station() -> None:
    topics = topics_of("diffad", Address(site="plant-1", line="press-3", station="left"))
    assert topics.trigger == "diffad/plant-1/press-3/left/trigger"
    assert topics.state == "diffad/plant-1/press-3/left/state"


@given(PREFIXES, ADDRESSES, PREFIXES, ADDRESSES)
def test_two_stations_share_neither_a_topic_nor_a_name(
    prefix: str, one: Address, other_prefix: str, other: Address
) -> None:
    same = (prefix, one) == (other_prefix, other)
    # "a/b" + site "c" and "a" + ... have another number of levels, or differ in one of them.
    assert (topics_of(prefix, one) == topics_of(other_prefix, other)) == same
    assert (client_id_of(prefix, one) == client_id_of(other_prefix, other)) == same
    assert not set("+#") & set(topics_of(prefix, one).result)
