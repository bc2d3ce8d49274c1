"""An answer that goes out in one piece: head and body as one write.

aiohttp's own `web.Response` can do far more than our answers need, and takes a third of the time that aiohttp spends on
a request. It answers where the request is of an unusual kind: HEAD and PUT, HTTP/1.0, a connection that is to be
closed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.hdrs import METH_GET, METH_POST, SERVER
from aiohttp.http import HttpVersion11

_SERVER = "waypost"
_USUAL_METHODS = frozenset({METH_GET, METH_POST})
#: What a field's value must not hold (RFC 9110 §5.5).
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: What may have a body, and so a Content-Length (RFC 9110 §8.6).
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}"
    for status in HTTPStatus
    if status >= 200 and status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
}


class _Date:
    """The `Date` of answers (RFC 9110 §6.6.1), made once in a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


_DATE = _Date()


class Answer(web.StreamResponse):
    """A whole answer: status, headers and body."""

    def __init__(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status=status, headers=headers)
        self.body = body
        self._stays_open = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection goes on after this answer."""
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write it all. Raises `ValueError` for a header with a control character in it, which might end it early."""
        line = _STATUS_LINES.get(self.status)
        if (
            line is None
            or request.method not in _USUAL_METHODS
            or request.version != HttpVersion11
            or not request.keep_alive
        ):
            return await self._respond(request)
        if _UNSAFE.search("".join(self.headers.values())):
            raise ValueError("a header must not hold control characters")
        lines = [line, *(f"{name}: {value}" for name, value in self.headers.items())]
        lines += f"Content-Length: {len(self.body)}", f"Date: {_DATE.now()}", f"Server: {_SERVER}\r\n\r\n"
        writer = request.writer
        await writer.write("\r\n".join(lines).encode() + self.body)
        # One who asks and does not read must not fill our memory with answers.
        await writer.drain()
        self._stays_open = True
        return writer

    async def _respond(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.headers.setdefault(SERVER, _SERVER)
        response = web.Response(body=self.body, status=self.status, headers=self.headers)
        writer = await response.prepare(request)
        await response.write_eof()
        self._stays_open = bool(response.keep_alive)
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
