"""The server's life on its event loop: made, fed, stopped.

Knows in which order things are made and told. Does not know threads (adapter.py). Imported only when used: needs
asyncua.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from importlib import metadata

from asyncua import ua

from diffad_runtime.health.logs import event
from diffad_runtime.line.base import Desk
from diffad_runtime.line.job import Job, LineState, Outcome, Phase
from diffad_runtime.line.opcua.certificates import Identity
from diffad_runtime.line.opcua.limits import Abandoned, Door, Inner, Permissions
from diffad_runtime.line.opcua.methods import Methods
from diffad_runtime.line.opcua.nodes import Stand
from diffad_runtime.line.opcua.protocol import GuardedServer
from diffad_runtime.line.opcua.results import Results
from diffad_runtime.line.opcua.settings import OpcUaSettings
from diffad_runtime.line.opcua.space import build
from diffad_runtime.line.opcua.telling import Teller
from diffad_runtime.line.opcua.trusted import Trusted
from diffad_runtime.line.opcua.users import Users

_log = logging.getLogger(__name__)
_MOST_WAITING = 1000
_LAST_WORDS_S = 0.5
_LISTEN_S = 0.05


class Life:
    """One server from its start to its end.

    `tell`, `show_state` and `stop` may be called from any thread; all else runs on the loop that `live` runs on.

    Args:
        settings: bounds.
        identity: ours.
        trusted: clients that may come in.
        users: by password.
        listening: a socket that is bound.
        desk: of the station.
        channel: name of the adapter.
        name: what people see.
    """

    def __init__(
        self,
        settings: OpcUaSettings,
        identity: Identity,
        trusted: Trusted,
        users: Users | None,
        listening: socket.socket,
        desk: Desk,
        channel: str,
        name: str,
    ) -> None:
        self._settings, self._identity, self._trusted, self._users = settings, identity, trusted, users
        self.listening, self._desk, self._channel, self._name = listening, desk, channel, name
        self.sent = self.lost = self.faults = 0
        self.last_error = ""
        self._inner: Inner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        # Appending and popping are atomic; the bounds are kept by whoever appends.
        self._outcomes: deque[Outcome] = deque()
        self._jobs: deque[Job] = deque()
        self._recipes: deque[str] = deque(maxlen=_MOST_WAITING)
        self._state: tuple[LineState, int] | None = None
        self._tells = 0

    @property
    def peers(self) -> int:
        """Clients that have come in."""
        return self._inner.sessions if self._inner is not None else 0

    @property
    def waiting(self) -> int:
        """Outcomes that have not been told yet."""
        return len(self._outcomes)

    def tell(self, outcome: Outcome) -> None:
        """Tell an outcome soon. Any thread."""
        if len(self._outcomes) >= _MOST_WAITING:
            with suppress(IndexError):
                self._outcomes.popleft()
                self.lost += 1
        self._outcomes.append(outcome)
        self._tells += 1
        self._nudge()

    def show_state(self, state: LineState) -> None:
        """Tell the newest state soon. Any thread."""
        self._state = state, self._tells
        self._nudge()

    def stop(self) -> None:
        """End `live` soon. Any thread."""
        self._stopping = True
        if self._inner is not None:
            self._inner.unwanted = True
        self._nudge()

    def _nudge(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(self._wake.set)

    async def live(self, listening: Callable[[], None]) -> None:
        """Serve until `stop`.

        Args:
            listening: called once clients can come.
        """
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._complain)
        self._inner = inner = Inner(self._settings, Door(self._users, self._trusted, self._open))
        server = GuardedServer(inner, self._trusted, self.listening, self._settings.unencrypted)
        results = Results(self._settings.results)
        try:
            inner.unwanted = self._stopping
            await server.init()
            await self._introduce(server)
            space = await build(server, self._name)
            teller = Teller(space, results, self._desk.state())
            await teller.build()
            await Methods(
                space, self._desk, self._channel, results, lambda: teller.stand, self._started, self._prepared
            ).build()
            if self._stopping:
                return
            await server.start()
            listening()
            await self._work(teller, inner)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._last_words(server, teller, inner), _LAST_WORDS_S)
        except Abandoned:
            pass
        finally:
            self._inner = None
            await server.stop()

    async def _work(self, teller: Teller, inner: Inner) -> None:
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._say(teller, inner)
            except Exception as error:
                self._fault(error)
                self._wake.set()

    async def _say(self, teller: Teller, inner: Inner) -> None:
        """Tell all that waits: jobs before their verdicts, verdicts before the state."""
        while self._jobs:
            await teller.started(self._jobs.popleft())
        told = False
        while self._outcomes:
            outcome = self._outcomes.popleft()
            await teller.result(outcome)
            await inner.subscription_service.hurry()
            self._desk.signalled(outcome, self._channel)
            self.sent += 1
            told = True
        if told:
            await teller.settle()
        while self._recipes:
            await teller.prepared(self._recipes.popleft())
        waiting, self._state = self._state, None
        if waiting is not None:
            state, tells = waiting
            # Jobs whose verdict came after this state was taken are not open any more.
            since = max(0, self._tells - len(self._outcomes) - tells)
            await teller.station(Stand(replace(state, open=max(0, state.open - since)), self._desk.recipes()))
        await inner.subscription_service.hurry()

    async def _last_words(self, server: GuardedServer, teller: Teller, inner: Inner) -> None:
        await self._say(teller, inner)
        gone = replace(teller.stand.state, phase=Phase.STOPPED)
        await teller.station(Stand(gone, teller.stand.recipes))
        state = server.get_node(ua.ObjectIds.Server_ServerStatus_State)
        await state.write_value(ua.ServerState.Shutdown, ua.VariantType.Int32)
        await inner.subscription_service.hurry()
        await asyncio.sleep(_LISTEN_S)  # a client that was told just before asks again before it can be told more

    async def _introduce(self, server: GuardedServer) -> None:
        settings = self._settings
        server.set_endpoint(settings.endpoint)
        server.set_server_name(f"diffad-edge {self._name}")
        server.product_uri, server.manufacturer_name = "urn:diffad-edge", "diffad-edge"
        server.application_type = ua.ApplicationType.Server
        await server.set_application_uri(self._identity.application_uri)
        version = metadata.version("diffad-edge")
        await server.set_build_info(
            server.product_uri, server.manufacturer_name, server.name, version, "0", datetime.now(timezone.utc)
        )
        server.iserver.certificate, server.iserver.private_key = self._identity.certificate, self._identity.key
        policies = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
        if settings.unencrypted:
            policies.append(ua.SecurityPolicyType.NoSecurity)
        server.set_security_policy(policies, Permissions())  # type: ignore[no-untyped-call]

    @property
    def _open(self) -> bool:
        return self._settings.anonymous or self._settings.unencrypted

    def _started(self, job: Job) -> None:
        if len(self._jobs) < _MOST_WAITING:
            self._jobs.append(job)
        self._wake.set()

    def _prepared(self, recipe: str) -> None:
        self._recipes.append(recipe)
        self._wake.set()

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """What no task took care of: counted and logged in one line, not printed by asyncio."""
        self._fault(context.get("exception") or context.get("message"))

    def _fault(self, error: object) -> None:
        self.faults += 1
        kind = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
        self.last_error = f"{kind}{error}"[:200]
        event(_log, logging.ERROR, "opcua_fault", f"OPC UA: {self.last_error}")
