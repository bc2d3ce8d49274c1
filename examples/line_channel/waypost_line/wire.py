r"""The wire: one JSON array a line, its first item a word. Made up, in the manner of SMPP.

==========================================  ===========================================================
the gateway says                            the provider answers
==========================================  ===========================================================
``["BIND", "send"|"receive", token]``       ``["OK"]`` or ``["ERR", code]``
``["SUBMIT", number, to, text, ref]``       ``["RESP", number, "OK", id]`` or ``["RESP", number, "ERR", code]``
``["ACK", number]``                         nothing
==========================================  ===========================================================

On a connection bound to receive the provider says ``["MSG", number, {id, from, to, text, at}]`` and ``["DLR", number,
{id, status, ref}]``. What is not acknowledged by its number comes again on the next connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from waypost.plugin import AccountBlocked, Transient

#: Longer than any line of this wire.
LONGEST_LINE = 1 << 16
#: How long opening a connection may take, in seconds.
OPEN_TIMEOUT = 5.0


class ConnectionEndedError(Exception):
    """The provider closed the connection, or said something that is not of this wire."""


class Line:
    """An open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, *items: Any) -> None:
        """Write one line. Raises `ConnectionEndedError`."""
        try:
            self._writer.write(orjson.dumps(items, option=orjson.OPT_APPEND_NEWLINE))
            await self._writer.drain()
        except OSError as error:
            raise ConnectionEndedError from error

    async def hear(self) -> list[Any]:
        """Read one line. Raises `ConnectionEndedError`."""
        try:
            said = orjson.loads(await self._reader.readuntil(b"\n"))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, orjson.JSONDecodeError) as error:
            raise ConnectionEndedError from error
        if not isinstance(said, list) or not said:
            raise ConnectionEndedError
        return said

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return


async def bind(host: str, port: int, kind: str, token: str) -> Line:
    """Open a connection and bind it. Raises `Transient` where nobody answers, `AccountBlocked` for a wrong token."""
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, limit=LONGEST_LINE)
    except (OSError, TimeoutError) as error:
        raise Transient(f"No connection to the provider ({type(error).__name__}).") from error
    line = Line(reader, writer)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            await line.say("BIND", kind, token)
            answer = await line.hear()
    except (ConnectionEndedError, TimeoutError) as error:
        await line.close()
        raise Transient("The provider did not take the connection.") from error
    if answer[0] != "OK":
        await line.close()
        raise AccountBlocked("The provider does not accept the token.", provider_code=str(answer[-1])[:40])
    return line
