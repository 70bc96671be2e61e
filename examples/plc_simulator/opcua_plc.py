"""A PLC that speaks OPC UA: calls a method, hears an event's variables. Nodes: docs/opcua.md."""

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from plc import Plc, Told, wait_until

LINE = "Line"


class OpcUaPlc(Plc):
    """Subscribes to the last result as JSON, and triggers by the plain method.

    Args:
        url: opc.tcp://HOST:PORT...
        certificate, key: DER and PEM of this client; None: unencrypted, where the station allows it.
        server: the station's certificate.
    """

    name = "opcua"

    def __init__(self, url: str, certificate: Path | None = None, key: Path | None = None, server: Path | None = None):
        super().__init__()
        self._url, self._files = url, (certificate, key, server)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="opcua plc", daemon=True)
        self._thread.start()
        self._client: Client | None = None
        self._method: Any = None
        self._parent: Any = None
        self._ready = False
        self._standing = False

    def connect(self) -> None:
        self._do(self._connect())
        wait_until("OPC UA: the station is ready", lambda: self._ready)

    def ask(self, job: str, *, recipe: str | None = None, deadline_ms: float | None = None) -> float:
        arguments = (
            ua.Variant(job, ua.VariantType.String),
            ua.Variant(job, ua.VariantType.String),
            ua.Variant(recipe or "", ua.VariantType.String),
            ua.Variant(float(deadline_ms or 0), ua.VariantType.Double),
        )
        sent = time.monotonic()
        self._do(self._parent.call_method(self._method, *arguments))
        return sent

    def drop(self) -> None:
        self._do(self._leave())
        self._do(self._connect())

    def close(self) -> None:
        self._do(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)
        self._loop.close()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _connect(self) -> None:
        client = Client(self._url, timeout=30)
        certificate, key, server = self._files
        if certificate is not None and key is not None:
            client.application_uri = "urn:plc-simulator"
            await client.set_security(
                SecurityPolicyBasic256Sha256, str(certificate), str(key), server_certificate=server
            )
        await client.connect()
        self._client = client
        space = await client.get_namespace_index("urn:diffad-edge:line")
        self._parent = client.get_node(ua.NodeId(LINE, space))
        self._method = ua.NodeId(f"{LINE}.Trigger", space)
        self._standing = True
        subscription = await client.create_subscription(10, self)
        for name in ("Ready", "LastResult.Json"):
            await subscription.subscribe_data_change(client.get_node(ua.NodeId(f"{LINE}.{name}", space)), queuesize=100)

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.disconnect()

    def datachange_notification(self, node: Any, value: Any, _data: Any) -> None:
        """What asyncua calls."""
        if str(node.nodeid.Identifier).endswith("Ready"):
            self._ready = bool(value)
        elif value:
            said, standing, self._standing = json.loads(value), self._standing, False
            # A new subscription begins with the value that stands there: the result before, told already.
            if said["channel"] == self.name and not (standing and said["job_id"] in self.heard.verdicts):
                self.heard.add(Told(said["job_id"], said["verdict"], said["code"], said["reject"], time.monotonic()))
