"""The HTTP server over one node: wiring only."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from aiohttp.log import server_logger
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from waypost.log import logger
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

_LOG = logger()


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's log, in which what is no HTTP is no fault of ours: the internet sends it to every open port."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **options: Any) -> None:
        """Log an error with its traceback, or a line for a request that cannot be read."""
        if isinstance(exc_info, HttpProcessingError):
            _LOG.warning("request.malformed", problem=type(exc_info).__name__)
        else:
            super().exception(msg, *args, exc_info=exc_info, **options)


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
    log = _ServerLog(server_logger)
    return web.Server(router.handle, request_factory=request, access_log=None, logger=log, **options)


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
