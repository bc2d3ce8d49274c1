"""Reading request bodies: bounded, and as JSON objects that the store and the plugins can hold."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import orjson
from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING, EXPECT
from aiohttp.http import HttpVersion11
from multidict import istr
from uuid_utils import uuid7
from waypost.node import Node
from waypost.refusals import InvalidRequest, PayloadTooLarge, Refusal, ValidationFailed

#: As `istr`, which spares each look-up a change of case.
REQUEST_ID: str = istr("X-Request-Id")
IDEMPOTENCY_KEY: str = istr("Idempotency-Key")

#: Deeper than any content of ours, and well within what can be serialized again.
DEEPEST = 64

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,100}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
#: The end of a member's name. Inside a text it would be `\":`, which is counted too, and then looked at closely.
_NAME_END = re.compile(rb'"[ \t\r\n]*:')


#: How long a body may take to arrive, in seconds.
PATIENCE = 60.0
#: How long the bodies that are on their way have, each until its own end.
_on_their_way: set[asyncio.Timeout] = set()


class BodyTooSlow(InvalidRequest):
    """The body did not arrive in time, or its end never; send it at once, and as long as its Content-Length says."""


def hurry(patience: float) -> None:
    """Give the bodies that are on their way so many seconds more: nothing was promised for them yet."""
    until = asyncio.get_running_loop().time() + patience
    for timeout in _on_their_way:
        timeout.reschedule(min(until, timeout.when() or until))


async def read_send(request: web.Request, node: Node) -> bytes:
    """The body of a send. Raises as `read_body` does; a refusal is counted like those that follow it."""
    try:
        return await read_body(request, node.config.max_body)
    except Refusal as refusal:
        node.metrics.refused.labels(refusal.code).inc()
        raise


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises `PayloadTooLarge` as soon as it is longer than the limit.

    Raises `InvalidRequest` for a compressed one, where a few bytes could become gigabytes, and `BodyTooSlow`.
    """
    encoding = request.headers.get(CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in ("identity", ""):
        raise InvalidRequest("The body must not be compressed; send it without Content-Encoding.")
    length = request.content_length
    if length is not None:
        if length > limit:
            raise _too_large(limit)
        if request.content.is_eof():  # it came together with its head
            return request.content.read_nowait()
    try:
        async with asyncio.timeout(PATIENCE) as timeout:
            _on_their_way.add(timeout)
            try:
                if EXPECT in request.headers:
                    await _go_on(request)
                if length is not None:
                    return await request.read()  # which cannot be longer than its Content-Length
                return await _chunked(request, limit)
            finally:
                _on_their_way.discard(timeout)
    except (TimeoutError, ConnectionError):  # whoever hangs up hears of nothing, but did nothing to us either
        raise BodyTooSlow from None


async def _chunked(request: web.Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is too large; send at most {limit} bytes.")


async def _go_on(request: web.Request) -> None:
    """Tell a caller who waits for it to send the body (RFC 9110 §10.1.1); other expectations may be passed over."""
    if request.headers[EXPECT].lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer proper has not begun


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises `InvalidRequest` for anything else, for names given twice (readers differ on which one counts) and for deep
    nesting; `ValidationFailed` for the NUL character, which PostgreSQL's texts cannot hold.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("The request body is not JSON; send a JSON object.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if _names(value) != len(_NAME_END.findall(body)) and _repeats_a_name(body):
        raise InvalidRequest("The request body gives the same name twice in one object.")
    # A backslash that is escaped itself does not begin an escape.
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b""):
        raise ValidationFailed("request: texts must not hold the NUL character")
    return value


def _names(value: dict[str, Any]) -> int:
    """How many names there are in all objects. Raises `InvalidRequest` when they are nested too deeply."""
    for item in value.values():
        if isinstance(item, dict | list):
            return _nested_names(value)
    return len(value)


def _nested_names(value: dict[str, Any]) -> int:
    count = depth = 0
    level: list[Any] = [value]
    while level:
        depth += 1
        if depth > DEEPEST:
            raise InvalidRequest("The request body is nested too deeply.")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                count += len(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = [item for item in below if isinstance(item, dict | list)]
    return count


def _repeats_a_name(body: bytes) -> bool:
    repeated = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in items}) < len(items)

    json.loads(body, object_pairs_hook=pairs, parse_int=len, parse_float=len)
    return repeated


def request_id(request: web.Request) -> str:
    """The caller's `X-Request-Id` where it is harmless, else a new one."""
    given = request.headers.get(REQUEST_ID)
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return uuid7().hex


def idempotency_key(request: web.Request) -> str | None:
    """The `Idempotency-Key` header. Raises `InvalidRequest` unless it is 1 to 255 visible ASCII characters."""
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key
