"""The Cloud API on loopback: what a phone number's endpoints answer, and the webhooks that follow."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from waypost.plugin import WebhookRequest
from waypost.plugin.simulator import Outcome
from waypost_meta_graph.pieces import text
from waypost_meta_graph.simulator import BAD_TOKEN, GraphSimulator, Refusal, Sending, invalid_parameter

from waypost_whatsapp.simulator_checks import fault_of
from waypost_whatsapp.simulator_outcomes import MAGIC, NO_SUCH_OBJECT, REFUSALS, UNDELIVERABLE
from waypost_whatsapp.simulator_templates import TEMPLATES, SimulatedTemplate, category_of

_BRAZILIAN_MOBILE = re.compile(r"(55[1-9][0-9])9([0-9]{8})")


def wa_id_of(number: str) -> str:
    """The form WhatsApp knows a number by: digits, and for older Brazilian numbers no ninth digit."""
    return _BRAZILIAN_MOBILE.sub(r"\1\2", number.removeprefix("+"))


def new_message_id() -> str:
    """An opaque id in WhatsApp's form."""
    return "wamid." + base64.b64encode(secrets.token_bytes(42)).decode()


class WhatsAppSimulator(GraphSimulator):
    """One business phone number of one business account. While `locked`, Meta refuses all that it asks, and says so.

    `templates` holds the account's templates by name; any other name is taken as an approved template of any number of
    variables, but `missing_template` is unknown and `paused_template` is paused.
    """

    magic = MAGIC
    refusals = REFUSALS
    ordinary_recipient = "+15550100000"

    def __init__(self) -> None:
        super().__init__()
        self.phone_number_id = str(10**14 + secrets.randbelow(9 * 10**14))
        self.waba_id = str(10**14 + secrets.randbelow(9 * 10**14))
        self.number = "+15550199000"
        self.locked = False
        self.marked_read: list[Mapping[str, Any]] = []
        self.subscriptions: list[Mapping[str, Any]] = []
        self.templates: dict[str, SimulatedTemplate] = dict(TEMPLATES)
        self._media: dict[str, tuple[str, bytes]] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        """The endpoints under `/{version}/`."""
        version = r"/{version:v\d+\.\d+}"
        return [
            web.post(version + "/{node}/messages", self._messages),
            web.post(version + "/{node}/media", self._upload),
            web.get(version + "/{node}/message_templates", self._list_templates),
            web.post(version + "/{node}/message_templates", self._create_template),
            web.post(version + "/{node}/subscribed_apps", self._subscribe),
            web.get(version + "/{node}", self._node),
            web.delete(version + "/{node}", self._delete_media),
            web.get("/media/{media_id}", self._download),
        ]

    def account_settings(self) -> dict[str, Any]:
        """The settings of a gateway that sends through this simulator."""
        return {
            "phone_number_id": self.phone_number_id,
            "waba_id": self.waba_id,
            "access_token": self.access_token,
            "base_url": self.base_url,
        }

    def senders(self) -> list[str]:
        """The business phone number."""
        return [self.number]

    # ---- messages

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        refusal = self._gate(request, self.phone_number_id)
        body = await self.json_body(request)
        if refusal is None and body is None:
            refusal = invalid_parameter("Invalid parameter")
        refusal = refusal or fault_of(body or {}, self.templates)
        if refusal is not None or body is None:
            return (refusal or invalid_parameter("Invalid parameter")).response()
        if body.get("status") == "read":
            self.marked_read.append(body)
            return web.json_response({"success": True})
        return await self.play(request, self._sending(body))

    def _sending(self, body: Mapping[str, Any]) -> Sending:
        message_id, to = new_message_id(), text(body, "to")
        if to is not None:
            recipient = "+" + to.removeprefix("+")
            contact = {"input": to, "wa_id": wa_id_of(recipient)}
        else:
            recipient = text(body, "recipient") or ""
            contact = {"input": recipient, "user_id": recipient}
        reply: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "contacts": [contact],
            "messages": [{"id": message_id}],
        }
        if body.get("type") == "template":
            reply["messages"][0]["message_status"] = "accepted"
        correlation = text(body, "biz_opaque_callback_data")

        def receipt(status: str) -> WebhookRequest:
            return self.status(status, message_id, contact, body)

        return Sending(
            recipient=recipient,
            provider_id=message_id,
            reply=reply,
            receipt=receipt,
            correlation=correlation,
            fields=body,
        )

    def status(
        self, status: str, message_id: str, contact: Mapping[str, str], body: Mapping[str, Any]
    ) -> WebhookRequest:
        """A signed status of a message, as Meta sends it from v24 on."""
        piece: dict[str, Any] = {"id": message_id, "status": status, "timestamp": self.seconds()}
        if "wa_id" in contact:
            piece["recipient_id"] = contact["wa_id"]
        else:
            piece["recipient_user_id"] = contact["user_id"]
        correlation = text(body, "biz_opaque_callback_data")
        if correlation is not None:
            piece["biz_opaque_callback_data"] = correlation
        if status in ("sent", "delivered"):
            category = category_of(body, self.templates)
            free = category == "service"
            kind = "free_customer_service" if free else "regular"
            piece["pricing"] = {"billable": not free, "pricing_model": "PMP", "type": kind, "category": category}
        if status == "failed":
            piece["errors"] = [UNDELIVERABLE]
        return self.change("messages", {"statuses": [piece]})

    # ---- webhooks

    def change(self, field: str, value: Mapping[str, Any], url: str | None = None) -> WebhookRequest:
        """A signed webhook with one change; `messages` gets the metadata it always has."""
        if field in ("messages", "user_preferences"):
            metadata = {
                "display_phone_number": self.number.removeprefix("+"),
                "phone_number_id": self.phone_number_id,
            }
            value = {"messaging_product": "whatsapp", "metadata": metadata, **value}
        entry = {"id": self.waba_id, "changes": [{"value": value, "field": field}]}
        return self.signed({"object": "whatsapp_business_account", "entry": [entry]}, url)

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """A signed text from a person: by phone number, or by business-scoped user id alone."""
        return self.inbound_message({"type": "text", "text": {"body": text}}, sender)

    def inbound_message(self, message: Mapping[str, Any], sender: str | None = None) -> WebhookRequest:
        """A signed message of any type; `message` holds `type` and what goes with it."""
        sender = sender or self.ordinary_recipient
        contact: dict[str, Any] = {"profile": {"name": "Ada Okafor"}}
        piece: dict[str, Any] = {"id": new_message_id(), "timestamp": self.seconds(), **message}
        if sender[:1].isalpha():
            contact["user_id"] = piece["from_user_id"] = sender
        else:
            contact["wa_id"] = piece["from"] = wa_id_of(sender)
        value = {"contacts": [contact], "messages": [piece]}
        return self.change("messages", value, self.inbound_url or self.webhook_url)

    # ---- the account

    def _gate(self, request: web.Request, node: str) -> Refusal | None:
        if not self.authorized(request):
            return BAD_TOKEN
        if request.match_info["node"] != node:
            return NO_SUCH_OBJECT
        return REFUSALS[Outcome.ACCOUNT_BLOCKED] if self.locked else None

    async def _node(self, request: web.Request) -> web.StreamResponse:
        node = request.match_info["node"]
        if node in self._media and self.authorized(request):
            mime_type, data = self._media[node]
            answer = {"messaging_product": "whatsapp", "id": node, "mime_type": mime_type, "file_size": str(len(data))}
            return web.json_response(answer | {"url": f"{self.base_url}/media/{node}"})
        if not self.authorized(request):
            return BAD_TOKEN.response()
        if node not in (self.phone_number_id, self.waba_id):
            return NO_SUCH_OBJECT.response()
        facts = {
            "display_phone_number": self.number,
            "quality_rating": "GREEN",
            "verified_name": "Waypost",
            "health_status": self._health(),
        }
        wanted = request.query.get("fields", ",".join(facts)).split(",")
        return web.json_response({name: facts[name] for name in wanted if name in facts} | {"id": node})

    def _health(self) -> dict[str, Any]:
        word = "BLOCKED" if self.locked else "AVAILABLE"
        account: dict[str, Any] = {"entity_type": "WABA", "id": self.waba_id, "can_send_message": word}
        if self.locked:
            account["errors"] = [{"error_code": 141002, "error_description": "The account is locked."}]
        number = {"entity_type": "PHONE_NUMBER", "id": self.phone_number_id, "can_send_message": "AVAILABLE"}
        return {"can_send_message": word, "entities": [number, account]}

    async def _list_templates(self, request: web.Request) -> web.StreamResponse:
        refusal = self._gate(request, self.waba_id)
        if refusal is not None:
            return refusal.response()
        limit = max(1, int(request.query.get("limit", "25")))
        names = sorted(self.templates)
        start = names.index(request.query["after"]) + 1 if request.query.get("after") in names else 0
        shown = names[start : start + limit]
        answer: dict[str, Any] = {"data": [self.templates[name].listed() for name in shown]}
        if shown:
            answer["paging"] = {"cursors": {"before": shown[0], "after": shown[-1]}}
            if start + limit < len(names):
                answer["paging"]["next"] = f"{self.base_url}{request.path}?after={shown[-1]}"
        return web.json_response(answer)

    async def _create_template(self, request: web.Request) -> web.StreamResponse:
        refusal = self._gate(request, self.waba_id)
        body = await self.json_body(request) or {}
        name = text(body, "name") or ""
        if refusal is None and not re.fullmatch(r"[a-z0-9_]{1,512}", name):
            refusal = invalid_parameter("Invalid parameter", subcode=2388042)
        if refusal is not None:
            return refusal.response()
        made = SimulatedTemplate.defined(body)
        self.templates[name] = made
        return web.json_response({"id": made.template_id, "status": made.status, "category": made.category.upper()})

    async def _subscribe(self, request: web.Request) -> web.StreamResponse:
        refusal = self._gate(request, self.waba_id)
        if refusal is not None:
            return refusal.response()
        subscription = await self.json_body(request) or {}
        self.subscriptions.append(subscription)
        self.webhook_url = text(subscription, "override_callback_uri") or self.webhook_url
        return web.json_response({"success": True})

    # ---- media

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        refusal = self._gate(request, self.phone_number_id)
        if refusal is not None:
            return refusal.response()
        form = await request.post() if request.content_type == "multipart/form-data" else None
        file = form.get("file") if form is not None else None
        if form is None or not isinstance(file, web.FileField) or form.get("messaging_product") != "whatsapp":
            return invalid_parameter("The parameter file is required.").response()
        media_id = str(10**15 + secrets.randbelow(9 * 10**15))
        self._media[media_id] = (file.content_type, file.file.read())
        return web.json_response({"id": media_id})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        media = self._media.get(request.match_info["media_id"])
        if media is None or not self.authorized(request):
            return web.Response(status=404)
        return web.Response(body=media[1], content_type=media[0])

    async def _delete_media(self, request: web.Request) -> web.StreamResponse:
        if not self.authorized(request):
            return BAD_TOKEN.response()
        if self._media.pop(request.match_info["node"], None) is None:
            return NO_SUCH_OBJECT.response()
        return web.json_response({"success": True})


__all__ = ["MAGIC", "REFUSALS", "WhatsAppSimulator", "new_message_id", "wa_id_of"]
