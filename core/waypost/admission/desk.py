"""The desk: takes a caller's request through authentication, intake and the admitting commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from waypost.access import Principal, digest, principal, standing_refusal
from waypost.admission.admit import admit, admit_at_once
from waypost.admission.candidate import Admitted, Candidate, Verdict
from waypost.admission.intake import History, Intake
from waypost.admission.limiter import Limiter
from waypost.admission.request import SendRequest
from waypost.admission.ways import WINDOW_FEATURE
from waypost.clock import SECOND, Clock
from waypost.host.accounts import Accounts
from waypost.host.dispatch import PluginFaultError
from waypost.log import logger
from waypost.metrics import Metrics
from waypost.plugin.errors import InvalidRecipient
from waypost.refusals import AcceptanceUnknown, RateLimited, Refusal, Unauthorized, Unavailable
from waypost.routing import Directory
from waypost.store import events, inbound, keys, messages
from waypost.store.database import CommitUnknownError, Database, StoreUnavailableError
from waypost.store.group_commit import CROWD, GroupCommit
from waypost.store.keys import Standing
from waypost.store.messages import Message

#: What is remembered of keys saves digest look-ups only; their standing is read again where it counts.
REMEMBERED = 10_000
REMEMBER_FOR = 60 * SECOND
#: How long a request may lie unread while others are being stored, in seconds. Reading it decides whether it is refused
#: at once, for whatever reason, or may wait in the lane, where not everybody finds room.
PATIENCE = 0.05
#: A key longer than this is nobody's.
LONGEST_KEY = 200

_LOG = logger()


@dataclass(slots=True)
class _Arrival:
    """A request that waits for its turn; its verdict is None where it must go the long way."""

    key_digest: str
    read: Callable[[], SendRequest]
    verdict: asyncio.Future[Verdict | None]
    #: It has used up a place in its app's request rate.
    counted: bool = False


class Desk:
    """Where partners' requests come in."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        accounts: Accounts,
        directory: Callable[[], Directory],
        metrics: Metrics,
        *,
        validity: int,
        requests_per_second: int,
        admitted: Callable[[Sequence[Candidate]], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._accounts = accounts
        self._directory = directory
        self._metrics = metrics
        self._admitted = admitted
        self._intake = Intake(accounts, clock, validity)
        self._limiter = Limiter(clock, requests_per_second)
        self._lane: GroupCommit[Candidate, Verdict] = GroupCommit(
            database, admit, depth=2, at_once=admit_at_once, committed=self._committed, refill=self._refill
        )
        self._remembered: dict[str, tuple[Principal, int]] = {}
        self._arrived: list[_Arrival] = []
        #: Python 3.11 makes a system call of asking for it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_due = False
        self._later: asyncio.TimerHandle | None = None
        self._windowed_of = -1
        self._any_windowed = False

    async def drain(self) -> None:
        """Wait until everything submitted is decided."""
        await self._lane.drain()
        while self._arrived:
            self._take_in()
            await self._lane.drain()

    # ---- who is calling

    async def authenticate(self, secret: str | None) -> Principal:
        """The caller behind a key, as it stands at this moment. Raises a `Refusal`."""
        standing = await self._standing(_digest(secret))
        return self._principal(standing)

    async def _standing(self, key_digest: str) -> Standing | None:
        try:
            standing = await self._database.read(lambda conn: keys.standing_by_digest(conn, key_digest))
        except StoreUnavailableError as error:
            raise Unavailable(retry_after=1) from error
        if standing is not None and standing_refusal(standing, self._clock.now()) is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[key_digest] = (principal(standing), self._clock.monotonic())
        return standing

    def _principal(self, standing: Standing | None) -> Principal:
        refusal = standing_refusal(standing, self._clock.now())
        if refusal is not None:
            raise refusal
        assert standing is not None
        return principal(standing)

    def _recall(self, key_digest: str) -> Principal | None:
        """The caller from memory. An expiry or a revocation since then is found by the admitting transaction."""
        known = self._remembered.get(key_digest)
        if known is None or self._clock.monotonic() - known[1] >= REMEMBER_FOR:
            return None
        return known[0]

    # ---- what they want

    async def accept(self, secret: str | None, read: Callable[[], SendRequest]) -> Admitted:
        """Authenticate, read the request, and admit it durably. Raises a `Refusal`; then nothing was written.

        `read` parses the body; it is called after authentication, so that strangers learn nothing about their bodies.
        """
        try:
            loop = self._loop
            if loop is None:
                loop = self._loop = asyncio.get_running_loop()
            arrival = _Arrival(_digest(secret), read, loop.create_future())
            self._arrived.append(arrival)
            if len(self._arrived) == CROWD and self._lane.takes(CROWD):
                self._take_in()
            elif not self._is_due:
                if self._lane.takes(len(self._arrived)):
                    self._is_due = True
                    loop.call_soon(self._take_in)
                elif self._later is None:
                    self._later = loop.call_later(PATIENCE, self._take_in)
            verdict = await arrival.verdict
            if verdict is None:
                return await self._accept(arrival)
            return self._heard(verdict, arrival.key_digest)
        except StoreUnavailableError as error:
            kind = AcceptanceUnknown if isinstance(error, CommitUnknownError) else Unavailable
            self._metrics.refused.labels(kind.code).inc()
            raise kind(retry_after=1) from error
        except Refusal as refusal:
            self._metrics.refused.labels(refusal.code).inc()
            raise

    def _refill(self) -> None:
        """A batch is stored: prepare the next, if enough have come in meanwhile."""
        if self._arrived and not self._is_due and self._lane.takes(len(self._arrived)):
            self._take_in()

    def _take_in(self) -> None:
        """Prepare those who arrived while others were being stored, in one tight loop, and have them stored.

        Done between the steps of the HTTP server, one by one, the same work takes three times as long: its code and
        data have left the processor's caches each time. A crowd goes in two halves: one is stored while the other
        is prepared, and later one is answered while the other is stored. Whatever needs a look at the database first,
        or would be refused, is left to `_accept` (None).
        """
        self._is_due = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        count = max(CROWD, len(self._arrived) // 2)
        arrived, self._arrived = self._arrived[:count], self._arrived[count:]
        self._prepare(arrived)
        self._lane.start()
        if self._arrived and self._loop is not None:
            self._is_due = True
            # A turn later than soon: before the rest is prepared, what was is to leave for the database.
            self._loop.call_soon(self._loop.call_soon, self._take_in)

    def _prepare(self, arrived: Sequence[_Arrival]) -> None:
        try:
            directory = self._directory()
            windowed = self._windowed(directory)
        except Exception as error:  # noqa: BLE001 - whoever has arrived must hear of it
            for arrival in arrived:
                if not arrival.verdict.done():
                    arrival.verdict.set_exception(error)
            return
        for arrival in arrived:
            if arrival.verdict.done():
                continue  # whoever asked has gone; to answer would fail, and take those behind it along
            caller = self._recall(arrival.key_digest)
            if caller is None:
                arrival.verdict.set_result(None)
                continue
            try:
                self._count(caller, arrival)
                request = arrival.read()
                if windowed and self._intake.wants_history(caller, request, directory):
                    arrival.verdict.set_result(None)
                    continue
                self._lane.enqueue(self._intake.prepare(caller, request, directory, {}), arrival.verdict)
            except RateLimited as refusal:
                arrival.verdict.set_exception(refusal)
            except Refusal:
                arrival.verdict.set_result(None)
            except Exception as error:  # noqa: BLE001 - it belongs to this one request, and is told there
                arrival.verdict.set_exception(error)

    def _heard(self, verdict: Verdict, key_digest: str) -> Admitted:
        if isinstance(verdict, Refusal):
            if isinstance(verdict, Unauthorized):
                self._remembered.pop(key_digest, None)
            raise verdict
        return verdict

    def _count(self, caller: Principal, arrival: _Arrival) -> None:
        """Let a request count once, whichever ways it goes. Raises `RateLimited`."""
        if not arrival.counted:
            self._limiter.take(caller.app_id)
            arrival.counted = True

    async def _accept(self, arrival: _Arrival) -> Admitted:
        key_digest = arrival.key_digest
        remembered = self._recall(key_digest)
        caller = remembered or self._principal(await self._standing(key_digest))
        request: SendRequest | None = None
        try:
            self._count(caller, arrival)
            request = arrival.read()
            directory = self._directory()
            history = await self._history(caller, request, directory) if self._windowed(directory) else {}
            candidate = self._intake.prepare(caller, request, directory, history)
        except Refusal:
            if remembered is not None:  # the key may have been revoked meanwhile; then that is the answer
                self._principal(await self._standing(key_digest))
            if request is not None and (earlier := await self._accepted_before(caller, request)) is not None:
                return earlier  # what was accepted stays accepted, though it would be refused today
            raise
        return self._heard(await self._lane.enqueue(candidate), key_digest)

    async def _accepted_before(self, caller: Principal, request: SendRequest) -> Admitted | None:
        """The message that this very request was accepted as under its idempotency key, if it was."""
        key = request.stored_key(caller.mode)
        if key is None:
            return None
        pair = (caller.app_id, key)

        def work(conn: Connection) -> Message | None:
            record = events.idempotency_records(conn, [pair]).get(pair)
            same = record is not None and record.fingerprint == request.fingerprint
            return messages.get(conn, record.message_id) if record is not None and same else None

        try:
            message = await self._database.read(work)
        except StoreUnavailableError as error:
            raise Unavailable(retry_after=1) from error
        return Admitted(message, replayed=True) if message is not None else None

    async def _history(self, caller: Principal, request: SendRequest, directory: Directory) -> History:
        """When the recipient last wrote, for the gateways whose plugins ask for it."""
        pairs: set[tuple[str, str]] = set()
        legs = [(request.channel, request.to), *((leg.channel, leg.to or request.to) for leg in request.fallback)]
        for channel, to in legs:
            for route in directory.routes.get((caller.app_id, channel), ()):
                for gateway in directory.route_gateways(route, caller.mode):
                    plugin = self._accounts.plugin(gateway)
                    if plugin is None or WINDOW_FEATURE not in plugin.info.features:
                        continue
                    try:
                        wanted = (plugin.parse_address(to).value, inbound.SINCE, inbound.HIDDEN)
                    except (InvalidRecipient, PluginFaultError):
                        continue  # the intake refuses it with its reason
                    pairs.update((gateway.id, address) for address in wanted)
        if not pairs:
            return {}
        try:
            return await self._database.read(lambda conn: inbound.last_inbound(conn, pairs))
        except StoreUnavailableError as error:
            raise Unavailable(retry_after=1) from error

    def _windowed(self, directory: Directory) -> bool:
        """Whether any gateway's plugin asks for the recipient's history; remembered for each directory."""
        if self._windowed_of != directory.revision:
            plugins = (self._accounts.plugin(gateway) for gateway in directory.gateways.values())
            self._any_windowed = any(plugin and WINDOW_FEATURE in plugin.info.features for plugin in plugins)
            self._windowed_of = directory.revision
        return self._any_windowed

    def _committed(self, items: Sequence[Candidate], verdicts: Sequence[Verdict]) -> None:
        admitted = [
            item
            for item, verdict in zip(items, verdicts, strict=True)
            if isinstance(verdict, Admitted) and not verdict.replayed
        ]
        self._metrics.batches.observe(len(items))
        if not admitted:
            return
        for channel, count in Counter([item.message.channel for item in admitted]).items():
            self._metrics.accepted.labels(channel).inc(count)
        rows = [item.message for item in admitted]
        _LOG.info("messages.accepted", messages=[(row.request_id, row.id, row.org_id) for row in rows])
        self._admitted(admitted)


def _digest(secret: str | None) -> str:
    if not secret or len(secret) > LONGEST_KEY:
        raise Unauthorized
    return digest(secret)
