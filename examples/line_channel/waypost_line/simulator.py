"""The provider on loopback. It is no web server: it listens, breaks and speaks by itself."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.plugin.simulator import ACCEPTING, Outcome, Simulator

from waypost_line.wire import LONGEST_LINE, ConnectionEndedError, Line

MAGIC: Mapping[str, Outcome] = {
    "901": Outcome.ACCEPTED,
    "902": Outcome.FAILED,
    "911": Outcome.INVALID_RECIPIENT,
    "912": Outcome.CONTENT_REJECTED,
    "913": Outcome.RATE_LIMITED,
    "922": Outcome.ACCEPT_THEN_DROP,
}
REFUSALS = {
    Outcome.INVALID_RECIPIENT: "NO_SUCH_NUMBER",
    Outcome.CONTENT_REJECTED: "BAD_TEXT",
    Outcome.RATE_LIMITED: "BUSY",
}


@dataclass(slots=True)
class _Bound:
    """One connection, and which of the things to say were said on it."""

    line: Line
    kind: str
    said: set[int] = field(default_factory=set)


class LineSimulator(Simulator):
    """A provider with one account. `receivers` counts the connections bound to receive, `binds` all there ever were.

    What was not acknowledged is said again to the next receiver. While `deaf`, nobody may bind to receive.
    """

    magic = MAGIC
    ordinary_recipient = "100"

    def __init__(self) -> None:
        super().__init__()
        self.token = secrets.token_urlsafe(16)
        self.deaf = False
        self.binds: list[str] = []
        self.changed = asyncio.Condition()
        self._bound: list[_Bound] = []
        self._unacknowledged: dict[int, tuple[str, dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._handlers: set[asyncio.Task[None]] = set()

    # ---- what the frame asks for

    def account_settings(self) -> dict[str, Any]:
        """The account's settings, towards this simulator."""
        return {"host": "127.0.0.1", "port": self._port, "token": self.token}

    def senders(self) -> list[str]:
        """The account's own number."""
        return ["555"]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen on loopback and return the address."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=LONGEST_LINE)
        self._port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"tcp://{host}:{self._port}"
        return self.base_url

    async def stop(self) -> None:
        """Stop listening and break every connection."""
        if self._server is not None:
            self._server.close()
            await self.break_connections()
            await self._server.wait_closed()
            self._server = None

    async def write(self, text: str, sender: str | None = None) -> None:
        """Somebody writes to the account."""
        await self.says(text, sender or self.ordinary_recipient)

    # ---- what tests do

    @property
    def receivers(self) -> int:
        """How many connections are bound to receive."""
        return sum(bound.kind == "receive" for bound in self._bound)

    @property
    def unacknowledged(self) -> int:
        """How much was said or is to be said that nobody has acknowledged."""
        return len(self._unacknowledged)

    async def says(self, text: str, sender: str = "100", *, message_id: str | None = None) -> str:
        """Somebody writes to the account; return the message's id."""
        known_as = message_id or secrets.token_hex(8)
        await self._tell("MSG", {"id": known_as, "from": sender, "to": "555", "text": text, "at": 1_795_000_000})
        return known_as

    async def break_connections(self, kind: str | None = None) -> None:
        """Break the connections, all or of one kind."""
        for bound in [bound for bound in self._bound if kind in (None, bound.kind)]:
            await bound.line.close()
        if kind is None:
            await asyncio.gather(*self._handlers, return_exceptions=True)

    async def until(self, holds: Any) -> None:
        """Wait until something holds of this simulator."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(holds), 20)

    # ---- connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        line = Line(reader, writer)
        try:
            await self._serve(line)
        except ConnectionEndedError:
            pass
        finally:
            self._handlers.discard(task)
            self._bound = [bound for bound in self._bound if bound.line is not line]
            await self._notify()
            await line.close()

    async def _serve(self, line: Line) -> None:
        said = await line.hear()
        if said[0] != "BIND" or len(said) != 3 or said[2] != self.token or (self.deaf and said[1] == "receive"):
            await line.say("ERR", "NOT_BOUND")
            return
        bound = _Bound(line, str(said[1]))
        await line.say("OK")
        self._bound.append(bound)
        self.binds.append(bound.kind)
        await self._notify()
        await self._deliver_unacknowledged()
        while True:
            said = await line.hear()
            if said[0] == "SUBMIT":
                await self._submitted(line, *said[1:])
            elif said[0] == "ACK":
                self._unacknowledged.pop(said[1], None)
                await self._notify()

    async def _submitted(self, line: Line, number: int, to: str, text: str, reference: str) -> None:
        outcome = self.outcome_of(to)
        provider_id = secrets.token_hex(8) if outcome in ACCEPTING else None
        self.record(to, outcome, provider_id=provider_id, correlation=reference, fields={"text": text})
        if provider_id is None:
            await line.say("RESP", number, "ERR", REFUSALS[outcome])
            return
        if outcome is Outcome.ACCEPT_THEN_DROP:
            await line.close()
        else:
            await line.say("RESP", number, "OK", provider_id)
        status = {Outcome.ACCEPTED: None, Outcome.FAILED: "failed"}.get(outcome, "delivered")
        if status is not None:
            await self._tell("DLR", {"id": provider_id, "status": status, "ref": reference})

    async def _tell(self, word: str, fields: dict[str, Any]) -> None:
        self._unacknowledged[next(self._numbers)] = (word, fields)
        await self._deliver_unacknowledged()

    async def _deliver_unacknowledged(self) -> None:
        """Say to a receiver what it has not been told; the first that is bound, as SMPP centres do."""
        receiver = next((bound for bound in self._bound if bound.kind == "receive"), None)
        if receiver is None:
            return
        for number, (word, fields) in list(self._unacknowledged.items()):
            if number not in receiver.said:
                receiver.said.add(number)
                try:
                    await receiver.line.say(word, number, fields)
                except ConnectionEndedError:
                    return

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()
