"""Sessions, subscriptions and monitored items: how many, how fast, how long.

Knows which services of asyncua a client reaches and bounds what each may take. Does not know the wire (protocol.py) nor
certificates. Imported only when used: needs asyncua.

asyncua 2.1 bounds connections, subscriptions and queues of its own accord. Here is what it leaves open, each with a
test: session tokens that can be guessed, sessions without a bound, publishing intervals of 0, items without a bound,
queues that a client may make endless, an OfType filter that does not know subtypes.
"""

# asyncua's hints: names that are not exported, and Int32 or String where a plain int or str is what it takes.
# mypy: disable-error-code="attr-defined, arg-type"

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.server.address_space import AddressSpace
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemService, WhereClauseEvaluator
from asyncua.server.standard_address_space.standard_address_space import fill_address_space
from asyncua.server.subscription_service import SubscriptionService
from asyncua.server.user_managers import UserManager

from diffad_runtime.line.opcua.settings import OpcUaSettings
from diffad_runtime.line.opcua.trusted import Answer, Trusted
from diffad_runtime.line.opcua.users import Users

FASTEST_MS: Final = 10.0
"""Publishing intervals are not shorter: each costs a wake-up, whether there is anything to tell or not."""
_SLOWEST_MS: Final = 60_000.0
PROMPT_MS: Final = 100.0
"""Whoever wants to be told at least so often is told of a verdict at once."""
_SILENT_S: Final = 10.0
_SPARE_CONNECTIONS: Final = 20

_NOBODY: Final = User(role=UserRole.Anonymous)
_ALLOWED: Final = frozenset(
    ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"))
    for name in (
        "Read", "Browse", "TranslateBrowsePathsToNodeIds", "RegisterNodes", "UnregisterNodes", "Call",
        "CreateSubscription", "ModifySubscription", "DeleteSubscriptions", "SetPublishingMode", "TransferSubscriptions",
        "CreateMonitoredItems", "ModifyMonitoredItems", "DeleteMonitoredItems", "SetMonitoringMode", "Publish",
        "Republish", "CloseSecureChannel",
    )
)  # fmt: skip


class Permissions(SimpleRoleRuleset):
    """What whoever came in may do: read, subscribe and call. Nothing can be written, added or deleted."""

    def check_validity(self, user: User, action_type: ua.NodeId, body: Any) -> bool:  # noqa: ARG002  asyncua's
        """Whether a service may be used."""
        return action_type in _ALLOWED


class Door(UserManager):
    """Says yes or no to a user: by password, by a certificate that is trusted, or anybody where that is wanted.

    Args:
        users: by password; None: nobody.
        trusted: certificates.
        anybody: the settings let clients in without a user.
    """

    def __init__(self, users: Users | None, trusted: Trusted, anybody: bool) -> None:
        self._users, self._trusted, self._anybody = users, trusted, anybody

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002  asyncua's
        username: Any = None,
        password: Any = None,
        certificate: Any = None,
    ) -> User | None:
        """The user, or None to refuse. `certificate` is the user's, or the channel's where the user is anonymous; only
        tokens that the server offers come so far."""
        if username is not None:
            welcome = self._users is not None and self._users.admit(str(username), str(password or ""))
        else:
            welcome = self._anybody or self._trusted.ask(certificate) is Answer.TRUSTED
        return User(role=UserRole.User, name=username) if welcome else None


class Inner(InternalServer):
    """The server behind the wire, with bounds.

    Args:
        settings: the bounds.
        door: who comes in.
    """

    def __init__(self, settings: OpcUaSettings, door: Door) -> None:
        super().__init__(user_manager=door)
        self._most_sessions = settings.sessions
        self.unwanted = False
        self.deserted: list[InternalSession] = []
        self.allow_remote_admin = False
        self.max_session_timeout_ms = 1000 * settings.session_timeout_s
        self.min_session_timeout_ms = min(self.min_session_timeout_ms, self.max_session_timeout_ms)
        self.max_unacked_messages_per_subscription = 100
        self.max_monitored_item_queue_size = 1000
        self.max_pending_messages_per_connection = 100
        self.max_connections = 2 * settings.sessions + _SPARE_CONNECTIONS
        self.max_pending_activation_seconds = _SILENT_S
        self.max_lifetime_count = 3000
        self.max_subscriptions = settings.subscriptions
        self.subscription_service = Subscriptions(self.aspace, self, settings.items)
        self.isession.subscription_service = self.subscription_service
        self.supported_tokens = (
            ua.X509IdentityToken,
            *((ua.UserNameIdentityToken,) if settings.users is not None else ()),
            *((ua.AnonymousIdentityToken,) if settings.anonymous or settings.unencrypted else ()),
        )

    async def load_standard_address_space(self, shelf_file: Path | None = None) -> None:  # noqa: ARG002  asyncua's
        """As asyncua's, which takes seconds on a small machine; given up where the server is to be closed."""
        await asyncio.to_thread(fill_address_space, _Interruptible(self))

    @property
    def sessions(self) -> int:
        """Clients that have come in, those too whose connection is away for the moment."""
        return sum(session.is_activated() for session in self._external_sessions.values())

    async def make_room(self) -> None:
        """Where all places are taken, the session that lost its connection longest ago gives up its own."""
        self.deserted = [one for one in self.deserted if one.auth_token in self._external_sessions]
        while self.deserted and (
            len(self._external_sessions) >= self._most_sessions
            or len(self.subscription_service.subscriptions) >= self.max_subscriptions
        ):
            await self.deserted.pop(0).close_session(True)

    def create_session(self, name: str, user: User = _NOBODY, external: bool = False) -> InternalSession:
        """As asyncua's; not more than there may be, and with a token that nobody can guess."""
        if external and len(self._external_sessions) >= self._most_sessions:
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        session = super().create_session(name, user, external)
        if external:
            self.unregister_external_session(session)
            session.auth_token = ua.NodeId(secrets.token_bytes(32), 0, ua.NodeIdType.ByteString)
            self.register_external_session(session)
        return session


class Abandoned(Exception):  # noqa: N818  no error
    """The server is to be closed while it is still being made."""


class _Interruptible:
    """The service that adds nodes, until the server is to be closed."""

    def __init__(self, inner: Inner) -> None:
        self._inner, self._service = inner, inner.node_mgt_service
        self.try_add_references = inner.node_mgt_service.try_add_references

    def try_add_nodes(self, nodes: Any, check: bool = True) -> Any:
        if self._inner.unwanted:
            raise Abandoned
        return self._service.try_add_nodes(nodes, check=check)


class Subscriptions(SubscriptionService):
    """Subscriptions at bearable intervals, with a bound on their items."""

    def __init__(self, aspace: AddressSpace, inner: Inner, most_items: int) -> None:
        super().__init__(aspace, inner)
        self._inner, self._most_items = inner, most_items

    async def create_subscription(
        self,
        params: ua.CreateSubscriptionParameters,
        callback: Callable[..., Any],
        session_id: ua.NodeId,
        request_callback: Callable[..., Any] | None = None,
    ) -> ua.CreateSubscriptionResult:
        """As asyncua's, within the bounds; the interval that holds is in the answer."""
        await self._inner.make_room()
        wanted = params.RequestedPublishingInterval
        if not FASTEST_MS <= wanted <= _SLOWEST_MS:  # NaN too
            params.RequestedPublishingInterval = _SLOWEST_MS if wanted > _SLOWEST_MS else FASTEST_MS
        result = await super().create_subscription(params, callback, session_id, request_callback)
        made = self.subscriptions[result.SubscriptionId]
        made.monitored_item_srv = Items(made, self.aspace, self._most_items)
        return result

    async def hurry(self) -> None:
        """Tell those at once who are told often anyway: half an interval earlier, on average."""
        for one in list(self.subscriptions.values()):
            if one.data.RevisedPublishingInterval <= PROMPT_MS:
                await one.publish_results()


class Items(MonitoredItemService):
    """Monitored items of one subscription, so many and no more."""

    def __init__(self, subscription: InternalSubscription, aspace: AddressSpace, most: int) -> None:
        super().__init__(subscription, aspace)
        self._most = most

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """As asyncua's, or refused as a whole."""
        if len(self._monitored_items) + len(params.ItemsToCreate) > self._most:
            raise ServiceError(ua.StatusCodes.BadTooManyMonitoredItems)
        return await super().create_monitored_items(params)

    def _create_events_monitored_item(self, params: ua.MonitoredItemCreateRequest) -> ua.MonitoredItemCreateResult:
        if not isinstance(params.RequestedParameters.Filter, ua.EventFilter):
            return ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadMonitoredItemFilterInvalid))
        result = super()._create_events_monitored_item(params)
        item = self._monitored_items.get(result.MonitoredItemId)
        if item is not None:
            item.where_clause_evaluator = Where(self.logger, self.aspace, item.filter.WhereClause)
        return result

    def _modify_monitored_item(self, params: ua.MonitoredItemModifyRequest) -> ua.MonitoredItemModifyResult:
        if params.MonitoredItemId not in self._monitored_items:
            return ua.MonitoredItemModifyResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadMonitoredItemIdInvalid))
        params.RequestedParameters.QueueSize = self._revise_queue_size(params.RequestedParameters.QueueSize)
        return super()._modify_monitored_item(params)


class Where(WhereClauseEvaluator):
    """A filter of events whose OfType holds for subtypes too, as OPC 10000-4, clause 7.7.3, has it."""

    def _eval_el(self, index: int, event: Any) -> Any:
        element = self.elements[index]
        if element.FilterOperator != ua.FilterOperator.OfType:
            return super()._eval_el(index, event)
        wanted, kind = self._eval_op(element.FilterOperands[0], event), event.EventType
        while kind is not None and kind != wanted:
            kind = self._parent(kind)
        return kind is not None

    def _parent(self, kind: ua.NodeId) -> Any:
        node = self._aspace.get(kind)
        for reference in node.references if node is not None else ():
            if reference.ReferenceTypeId == _HAS_SUBTYPE and not reference.IsForward:
                return reference.NodeId
        return None


_HAS_SUBTYPE: Final = ua.NodeId(ua.ObjectIds.HasSubtype)
