"""Reading request bodies: bounded, and as JSON objects."""

from __future__ import annotations

import re
from typing import Any

import orjson
from aiohttp import web
from uuid_utils import uuid7
from waypost.refusals import InvalidRequest, PayloadTooLarge

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,100}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises `PayloadTooLarge` as soon as it is longer than the limit."""
    length = request.content_length
    if length is not None:
        if length > limit:
            raise PayloadTooLarge
        return await request.read()
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises `InvalidRequest`."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest("The request body is not JSON; send a JSON object.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return value


def request_id(request: web.Request) -> str:
    """The caller's `X-Request-Id` where it is harmless, else a new one."""
    given = request.headers.get("X-Request-Id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return uuid7().hex


def idempotency_key(request: web.Request) -> str | None:
    """The `Idempotency-Key` header. Raises `InvalidRequest` unless it is 1 to 255 visible ASCII characters."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key
