"""A PLC, or the gateway before one, that speaks MQTT. Topics and messages: docs/mqtt.md."""

import json
import socket
import ssl
import threading
import time
from typing import Any

from paho.mqtt import client as mqtt
from plc import Plc, Told, wait_until


class MqttPlc(Plc):
    """Triggers by message, hears results and state.

    Args:
        host, port: of the broker.
        base: "diffad/site/line/station".
        user, password, ca: as the broker asks for; None: not.
    """

    name = "mqtt"

    def __init__(
        self,
        host: str,
        port: int,
        base: str,
        user: str | None = None,
        password: str | None = None,
        ca: str | None = None,
    ) -> None:
        super().__init__()
        self._host, self._port, self._base = host, port, base
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="plc-simulator", protocol=mqtt.MQTTv5)
        if user is not None:
            self._client.username_pw_set(user, password)
        if ca is not None:
            self._client.tls_set(ca, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self._client.reconnect_delay_set(1, 2)
        # Without it a small message waits up to 40 ms for the acknowledgement of the one before (Nagle's algorithm).
        self._client.on_socket_open = lambda _client, _data, sock: sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._listening.set()
        self._client.on_message = self._message
        self._listening = threading.Event()
        self._state: dict[str, Any] = {}
        self.seqs: list[tuple[str, int]] = []
        """(run, seq) of every result, as they came; repeats are among them."""

    def connect(self) -> None:
        # A session that outlives the connection: results that come meanwhile are kept by the broker.
        properties = mqtt.Properties(mqtt.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        self._client.connect(self._host, self._port, keepalive=10, clean_start=False, properties=properties)
        self._client.loop_start()
        if not self._listening.wait(15):
            raise TimeoutError(f"no subscription at {self._host}:{self._port}")
        wait_until("MQTT: the station is ready", lambda: self._state.get("ready"))

    def ask(self, job: str, *, recipe: str | None = None, deadline_ms: float | None = None) -> float:
        message: dict[str, Any] = {"job_id": job, "part_id": job, "sent_ms": time.time() * 1e3}
        if recipe is not None:
            message["recipe"] = recipe
        if deadline_ms is not None:
            message["deadline_ms"] = deadline_ms
        sent = time.monotonic()
        self._client.publish(f"{self._base}/trigger", json.dumps(message), qos=1)
        return sent

    def drop(self) -> None:
        self._listening.clear()
        sock = self._client.socket()
        if sock is not None:
            sock.shutdown(2)
        if not self._listening.wait(15):
            raise TimeoutError("MQTT: not connected again within 15 s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(f"{self._base}/{what}", 1) for what in ("result", "state", "refused")])

    def _message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        now, said = time.monotonic(), json.loads(message.payload)
        if message.topic.endswith("/result"):
            self.seqs.append((said["run_id"], said["seq"]))
            self.heard.add(Told(said["job_id"], said["verdict"], said["code"], said["reject"], now))
        elif message.topic.endswith("/state"):
            self._state = said
        elif said.get("job_id"):  # refused: not taken at all, which no part of a campaign may be
            self.heard.add(Told(said["job_id"], "REFUSED", -1, True, now))
