"""The sending connection: one for the account, many submits on it at a time, opened again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

from waypost.plugin import (
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    OutcomeUnknown,
    Permanent,
    RateLimited,
)

from waypost_line.wire import ConnectionEndedError, Line, bind

#: The provider's codes.
ERRORS: dict[str, type[ChannelError]] = {
    "NO_SUCH_NUMBER": InvalidRecipient,
    "BAD_TEXT": ContentRejected,
    "BUSY": RateLimited,
}


class LineClient:
    """What `ctx.client` is. `open` it before the first submit; `close` it in the end."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port, self._token = host, port, token
        self._line: Line | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[list[Any]]] = {}

    async def open(self) -> Line:
        """The connection, opened unless it is. Raises `Transient` or `AccountBlocked`: nothing was submitted."""
        async with self._opening:
            if self._line is None:
                self._line = await bind(self._host, self._port, "send", self._token)
                self._reading = asyncio.get_running_loop().create_task(self._read(self._line))
            return self._line

    async def submit(self, to: str, text: str, reference: str) -> str:
        """Submit one message and return the provider's id. Raises `ChannelError`."""
        line = await self.open()
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await line.say("SUBMIT", number, to, text, reference)
            _, _, verdict, detail = await answer
        except (ConnectionEndedError, ValueError) as error:
            raise OutcomeUnknown("The connection broke before the provider answered.") from error
        finally:
            self._waiting.pop(number, None)
        if verdict == "OK" and isinstance(detail, str) and detail:
            return detail
        code = str(detail)[:40]
        raise ERRORS.get(code, Permanent if verdict == "ERR" else OutcomeUnknown)(provider_code=code)

    async def close(self) -> None:
        """Close the connection; what waits for an answer will not get one."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if self._line is not None:
            await self._line.close()
            self._line = None

    async def _read(self, line: Line) -> None:
        """Hand answers to those who wait for them, until the connection ends."""
        try:
            while True:
                said = await line.hear()
                waiting = self._waiting.get(said[1]) if len(said) == 4 and isinstance(said[1], int) else None
                if waiting is not None and not waiting.done():
                    waiting.set_result(said)
        except ConnectionEndedError as error:
            self._line = None
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionEndedError(str(error)))
            await line.close()
