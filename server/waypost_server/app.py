"""The HTTP server over one node: wiring only."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from waypost.node import Node

from waypost_server.rest.answer import Answer
from waypost_server.rest.bodies import REQUEST_ID, request_id
from waypost_server.rest.health import Health
from waypost_server.rest.openapi import OpenApi
from waypost_server.rest.partner import PartnerApi
from waypost_server.rest.replies import reply
from waypost_server.rest.router import Route, Router
from waypost_server.rest.token import TokenApi
from waypost_server.rest.webhooks import Webhooks


def routes(node: Node) -> list[Route]:
    """All that a node of this role answers."""
    found = Health(node).routes()
    if node.role in ("all", "api"):
        for part in (PartnerApi(node), TokenApi(node), Webhooks(node), OpenApi(node)):
            found += part.routes()
    return found


def build_server(node: Node, **options: Any) -> web.Server:
    """The server, with aiohttp's options; whoever runs it opens, starts and stops the node."""
    loop = asyncio.get_running_loop()
    longest = node.config.max_webhook_body + 1

    def request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.Request:
        return web.Request(message, payload, protocol, writer, task, loop, client_max_size=longest)

    router = Router(routes(node), _nothing_here)
    return web.Server(router.handle, request_factory=request, access_log=None, **options)


def _nothing_here(request: web.Request, allowed: list[str]) -> Answer:
    """Answer for a path or a method that nobody serves, in the envelope of the API it belongs to."""
    status, code = (405, "METHOD_NOT_ALLOWED") if allowed else (404, "NOT_FOUND")
    sentence = "This path does not take this method." if allowed else "There is nothing at this path."
    headers = {REQUEST_ID: request_id(request)}
    if allowed:
        headers["Allow"] = ", ".join(allowed)
    if request.path.startswith("/api/"):
        return reply({"error": code.lower(), "message": sentence}, status, headers)
    return reply({"success": False, "error": sentence, "code": code}, status, headers)
