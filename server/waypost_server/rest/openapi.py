"""`GET /openapi.json`: the two APIs as OpenAPI 3.1, with the channels and content kinds of this very deployment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from waypost import __version__
from waypost.node import Node
from waypost.refusals import ALL_REFUSALS, Refusal

from waypost_server.rest import schemas
from waypost_server.rest.answer import Answer
from waypost_server.rest.partner import MAX_LIMIT, MAX_PAGE
from waypost_server.rest.replies import Failure
from waypost_server.rest.router import Route, reading
from waypost_server.rest.schemas import Schema, envelope, ref

_READ = (400, 401, 403, 404, 500, 503)
_SEND = (400, 401, 402, 403, 404, 413, 422, 429, 500, 503)
#: The token API tells of a key without an owner by 401, and of a missing route by 403.
_TOKEN_SEND = tuple(status for status in _SEND if status != 404)


class OpenApi:
    """The document, made when it is first asked for: plugins do not change while a node runs."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._document: bytes | None = None

    def routes(self) -> list[Route]:
        """Its one route."""
        return reading("/openapi.json", self.show)

    async def show(self, _: web.Request) -> Answer:
        """The document; no key is needed, since it holds nothing of anybody's."""
        if self._document is None:
            self._document = orjson.dumps(document(self._node), option=orjson.OPT_INDENT_2)
        return Answer(self._document, headers={CONTENT_TYPE: "application/json"})


def document(node: Node) -> dict[str, Any]:
    """The OpenAPI document of a node."""
    plugins = list(node.plugins.values())
    channels = sorted({plugin.info.channel for plugin in plugins})
    components = schemas.requests(plugins) if plugins else {}
    components |= schemas.answers([*(refusal.code for refusal in ALL_REFUSALS), Failure.code])
    paths = _reads()
    if channels:
        paths["/partner/message/send"] = {"post": _partner_send()}
    for channel in channels:
        paths[f"/api/send-{channel.lower()}.php"] = {"post": _token_send(channel)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Waypost", "version": __version__, "description": "Messages by every channel served here."},
        **({"servers": [{"url": node.config.public_url}]} if node.config.public_url else {}),
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "partnerKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": dict(sorted(components.items())),
        },
    }


def _partner_send() -> Schema:
    prefer = "`wait=N` waits up to N seconds for the provider's verdict, `respond-async` not at all."
    return {
        "operationId": "sendMessage",
        "summary": "Send a message",
        "security": [{"partnerKey": []}],
        "parameters": [_header("Prefer", prefer), _idempotency()],
        "requestBody": _body(ref("PartnerRequest")),
        "responses": _ok(envelope("Message", told=True)) | _errors(_SEND, "PartnerError"),
    }


def _token_send(channel: str) -> Schema:
    return {
        "operationId": f"send{channel.title().replace('_', '')}",
        "summary": f"Send a message by {channel}",
        "security": [{"bearer": []}],
        "parameters": [_idempotency()],
        "requestBody": _body(ref(schemas.token_schema(channel))),
        "responses": _ok(ref("TokenAccepted")) | _errors(_TOKEN_SEND, "TokenError"),
    }


def _reads() -> dict[str, Schema]:
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    filters = {
        "page": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 1},
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 20},
        "channel": text,
        "status": {"type": "string", "enum": list(schemas.STATUSES)},
        "to": text,
        "recipient": text,
        "since": moment,
        "until": moment,
    }
    query = [{"name": name, "in": "query", "schema": schema} for name, schema in filters.items()]
    named = {"name": "messageId", "in": "path", "required": True, "schema": text}
    return {
        "/partner/messages": {"get": _read("listMessages", "List messages, newest first", "MessagePage", query)},
        "/partner/message/{messageId}": {"get": _read("getMessage", "One message", "MessageDetails", [named])},
        "/partner/balance": {"get": _read("getBalance", "The organization's balance", "Balance", [])},
    }


def _read(operation: str, summary: str, data: str, parameters: list[Schema]) -> Schema:
    return {
        "operationId": operation,
        "summary": summary,
        "security": [{"partnerKey": []}],
        "parameters": parameters,
        "responses": _ok(envelope(data)) | _errors(_READ, "PartnerError"),
    }


def _header(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"} | schema}


def _idempotency() -> Schema:
    told = "The same key and body again are answered with the first message."
    return _header("Idempotency-Key", told, pattern="^[\\x21-\\x7e]{1,255}$")


def _body(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _ok(schema: Schema) -> Schema:
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}}


def _errors(statuses: Iterable[int], schema: str) -> Schema:
    content = {"application/json": {"schema": ref(schema)}}
    return {str(status): {"description": _described(status), "content": content} for status in statuses}


def _described(status: int) -> str:
    told = [f"{refusal.code}: {_sentence(refusal)}" for refusal in ALL_REFUSALS if refusal.status == status]
    return "\n\n".join(told) or "Something went wrong on our side."


def _sentence(refusal: type[Refusal]) -> str:
    return (refusal.__doc__ or "").strip()
