"""Providers' webhooks: one URL per gateway, one per plugin, and the two of the token API's document."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from waypost.log import logger
from waypost.node import Node
from waypost.plugin.types import WebhookReply, WebhookRequest
from waypost.refusals import InvalidRequest, PayloadTooLarge
from waypost.store.database import StoreUnavailableError

from waypost_server.rest.answer import Answer
from waypost_server.rest.bodies import BodyTooSlow, read_body
from waypost_server.rest.router import Handler, Route

#: Who posts to `/api/webhook-messenger.php`.
_MESSENGER_CHANNELS = frozenset({"MESSENGER", "INSTAGRAM"})

_LOG = logger()


class Webhooks:
    """Handlers over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """The webhook routes; providers call with GET and with POST."""
        paths: dict[str, Handler] = {
            "/webhooks/{plugin}": self.of_plugin,
            "/webhooks/{plugin}/{gateway}": self.of_gateway,
            "/api/webhook.php": self.of_anyone,
            "/api/webhook-messenger.php": self.of_messenger,
        }
        return [Route(method, path, handler) for path, handler in paths.items() for method in ("GET", "POST")]

    async def of_gateway(self, request: web.Request, plugin: str, gateway: str) -> Answer:
        """The URL of one gateway."""
        return await self._receive(request, plugin=plugin, gateway=gateway)

    async def of_plugin(self, request: web.Request, plugin: str) -> Answer:
        """The URL that a plugin's gateways share."""
        return await self._receive(request, plugin=plugin)

    async def of_anyone(self, request: web.Request) -> Answer:
        """One URL for WhatsApp messages, email events and SMS statuses: plugins recognise what is theirs."""
        return await self._receive(request)

    async def of_messenger(self, request: web.Request) -> Answer:
        """One URL for Messenger and Instagram."""
        among = [plugin.id for plugin in self._node.plugins.values() if plugin.info.channel in _MESSENGER_CHANNELS]
        return await self._receive(request, among=among)

    async def _receive(
        self,
        request: web.Request,
        plugin: str | None = None,
        gateway: str | None = None,
        among: list[str] | None = None,
    ) -> Answer:
        try:
            body = await read_body(request, self._node.config.max_webhook_body)
            given = WebhookRequest(
                method=request.method,
                url=self._public_url(request),
                headers=tuple(
                    [
                        (name.lower(), value if value.isascii() else _text(value))
                        for name, value in request.headers.items()
                    ]
                ),
                query=tuple(request.query.items()),
                body=body,
            )
            answer = await self._node.inbox.receive(given, plugin=plugin, gateway=gateway, among=among)
        except PayloadTooLarge:
            answer = WebhookReply(413, b"too large")
        except BodyTooSlow:
            answer = WebhookReply(408, b"too slow")
        except InvalidRequest:
            answer = WebhookReply(415, b"send it without content-encoding")
        except StoreUnavailableError:
            answer = WebhookReply(503, b"unavailable")
        except Exception as error:  # noqa: BLE001 - the last resort: told to the log, not to the caller
            _LOG.exception("webhook.failed", plugin=plugin, problem=type(error).__name__)
            answer = WebhookReply(500, b"error")
        return Answer(answer.body, answer.status, {CONTENT_TYPE: answer.content_type} if answer.body else None)

    def _public_url(self, request: web.Request) -> str:
        """The URL as the provider called it: our configured public base, and the path and query to the letter."""
        base = self._node.config.public_url
        raw = request.raw_path
        if not raw.startswith("/"):  # absolute form, RFC 9112 §3.2.2
            parts = urlsplit(raw)
            raw = parts.path + (f"?{parts.query}" if parts.query else "")
        return f"{base or f'http://{request.host}'}{raw}"


def _text(value: str) -> str:
    """A header's value as text that can be stored; what is no UTF-8 is ISO-8859-1, as in old HTTP.

    Proxies add such headers of their own, and no receipt may be lost for them.
    """
    given = value.encode("utf-8", "surrogateescape")
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given.decode("latin-1")
