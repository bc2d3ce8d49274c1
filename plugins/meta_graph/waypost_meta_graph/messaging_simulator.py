"""The Graph on loopback as Messenger and Instagram see it: the Send API, its errors, its webhooks."""

from __future__ import annotations

import abc
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aiohttp import web
from waypost.plugin import WebhookRequest
from waypost.plugin.simulator import Outcome

from waypost_meta_graph.messaging_payloads import ATTACHMENT_TYPES, Surface
from waypost_meta_graph.messaging_simulator_checks import quick_replies_fault, template_fault
from waypost_meta_graph.simulator import BAD_TOKEN, GraphSimulator, Refusal, Sending, invalid_parameter

ACTIONS = frozenset({"typing_on", "typing_off", "mark_seen", "react", "unreact"})
MESSAGING_TYPES = frozenset({"RESPONSE", "UPDATE", "MESSAGE_TAG", "UTILITY"})

#: The errors of the Send API that magic recipients call up, in Meta's own words.
SEND_REFUSALS: Mapping[Outcome, Refusal] = {
    Outcome.INVALID_RECIPIENT: Refusal(400, 100, "(#100) No matching user found", subcode=2018001),
    Outcome.CONTENT_REJECTED: Refusal(400, 100, "(#100) Attachment size exceeds allowable limit", subcode=2018109),
    Outcome.OUTSIDE_WINDOW: Refusal(400, 10, "(#10) This message is sent outside of allowed window.", subcode=2018278),
    Outcome.MISCONFIGURED: Refusal(
        403,
        200,
        "(#200) Cannot message users who are not admins, developers or testers of the app until pages_messaging "
        "permission is reviewed and the app is live.",
        subcode=2018028,
    ),
    Outcome.ACCOUNT_BLOCKED: Refusal(
        403, 368, "(#368) The action attempted has been deemed abusive or is otherwise disallowed"
    ),
    Outcome.RATE_LIMITED: Refusal(400, 613, "(#613) Calls to this api have exceeded the rate limit."),
    Outcome.UNAVAILABLE: Refusal(
        500, 2, "An unexpected error has occurred. Please retry your request later.", is_transient=True
    ),
}


class MessagingSimulator(GraphSimulator):
    """A Send API. A product fills `surface` and `account_prefix`, and says how its receipts look.

    `locked` makes Meta refuse everything that is asked of the account. `actions` holds the sender actions and reactions
    that were taken, `subscriptions` the requests that connect the app; while it `declines`, it answers such a request
    without success.
    """

    surface: ClassVar[Surface]
    refusals = SEND_REFUSALS
    #: The message tags that Meta takes.
    tags: ClassVar[frozenset[str]] = frozenset({"HUMAN_AGENT"})
    #: The first digits of an account's id.
    account_prefix: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.account_id = self.account_prefix + str(10**9 + secrets.randbelow(9 * 10**9))
        self.locked = False
        self.declines = False
        self.actions: list[Mapping[str, Any]] = []
        self.subscriptions: list[Mapping[str, Any]] = []

    def nodes(self) -> frozenset[str]:
        """The ids under which the account may be addressed in a path."""
        return frozenset({self.account_id, "me"})

    @abc.abstractmethod
    def new_mid(self) -> str:
        """A message id that no other run mints."""

    @abc.abstractmethod
    def receipt_event(self, status: str, sending_to: str, mid: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The `messaging` event of a receipt; None where the product has none for that status."""

    # ---- endpoints

    def routes(self) -> Sequence[web.RouteDef]:
        """Sending, reading the account, subscribing to it."""
        return [
            web.post("/{version}/{node}/messages", self._messages),
            web.post("/{version}/{node}/subscribed_apps", self._subscribe),
            web.get("/{version}/{node}", self._node),
        ]

    def senders(self) -> list[str]:
        """The account's id."""
        return [self.account_id]

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refuse_access(request)
        body = await self.json_body(request)
        if refusal is None and body is None:
            refusal = invalid_parameter("The request body is not a JSON object")
        if refusal is None and body is not None:
            refusal = self.invalid(body)
        if refusal is not None or body is None:
            return (refusal or invalid_parameter("Invalid request")).response()
        return await self._act(request, body) if "sender_action" in body else await self._send(request, body)

    async def _send(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        person, mid = str(body["recipient"]["id"]), self.new_mid()

        def receipt(status: str) -> WebhookRequest | None:
            event = self.receipt_event(status, person, mid, body)
            return self.signed(self.envelope(event)) if event is not None else None

        return await self.play(
            request,
            Sending(
                recipient=person,
                provider_id=mid,
                reply={"recipient_id": person, "message_id": mid},
                receipt=receipt,
                correlation=body["message"].get("metadata"),
                fields=body,
            ),
        )

    async def _act(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """An action makes no message: it is refused like one, and not journalled."""
        person = str(body["recipient"]["id"])
        outcome = self.outcome_of(person)
        if outcome in self.refusals:
            return self.refusals[outcome].response()
        self.actions.append(body)
        return await self.misbehave(request, outcome) or web.json_response({"recipient_id": person})

    async def _subscribe(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refuse_access(request)
        if refusal is not None:
            return refusal.response()
        self.subscriptions.append(await self.json_body(request) or dict(request.query))
        return web.json_response({"success": not self.declines})

    async def _node(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refuse_access(request)
        return refusal.response() if refusal is not None else web.json_response({"id": self.account_id})

    # ---- what the Graph refuses

    def _refuse_access(self, request: web.Request) -> Refusal | None:
        if not self.authorized(request):
            return BAD_TOKEN
        if request.match_info["node"] not in self.nodes():
            return Refusal(
                400,
                100,
                "Unsupported request. Object does not exist, cannot be loaded due to missing permissions, or does not "
                "support this operation",
                subcode=33,
                type="GraphMethodException",
            )
        return self.refusals[Outcome.ACCOUNT_BLOCKED] if self.locked else None

    def invalid(self, body: Mapping[str, Any]) -> Refusal | None:
        """What is wrong with a send body, as the Graph says it."""
        recipient = body.get("recipient")
        if not isinstance(recipient, dict) or not str(recipient.get("id") or "").isdigit():
            return invalid_parameter("The parameter recipient is required")
        fault = self._invalid_type(body)
        if fault is not None:
            return fault
        if "sender_action" in body:
            return self._invalid_action(body)
        message = body.get("message")
        if not isinstance(message, dict):
            return invalid_parameter("The parameter message is required")
        return self._invalid_message(message)

    def _invalid_type(self, body: Mapping[str, Any]) -> Refusal | None:
        kind = body.get("messaging_type")
        if kind is not None and kind not in MESSAGING_TYPES:
            return invalid_parameter("Param messaging_type must be one of {RESPONSE, UPDATE, MESSAGE_TAG, UTILITY}")
        if (kind == "MESSAGE_TAG") != ("tag" in body):
            return invalid_parameter("A tag must be provided with messaging type MESSAGE_TAG, and only then")
        if "tag" in body and str(body["tag"]) not in self.tags:
            return invalid_parameter("Param tag must be one of {" + ", ".join(sorted(self.tags)) + "}")
        return None

    def _invalid_action(self, body: Mapping[str, Any]) -> Refusal | None:
        action = body["sender_action"]
        if action not in ACTIONS or "message" in body:
            return invalid_parameter("Param sender_action is invalid")
        payload = body.get("payload")
        if action in ("react", "unreact") and not (isinstance(payload, dict) and payload.get("message_id")):
            return invalid_parameter("The parameter payload.message_id is required")
        return None

    def _invalid_message(self, message: Mapping[str, Any]) -> Refusal | None:
        bodies = [key for key in ("text", "attachment", "template") if key in message]
        if len(bodies) != 1:
            return invalid_parameter("Message must have exactly one of text, attachment or template", subcode=2018074)
        if not isinstance(message.get("metadata", ""), str) or len(message.get("metadata", "")) > 1000:
            return invalid_parameter("Param message[metadata] must be a string of at most 1000 characters")
        if "text" in message and not self._text_fits(message["text"]):
            return invalid_parameter(f"Length of param message[text] must be at most {self.surface.text_limit}")
        fault = quick_replies_fault(message.get("quick_replies", []))
        if fault is None and "attachment" in message:
            fault = self._invalid_attachment(message["attachment"])
        return fault

    def _text_fits(self, text: Any) -> bool:
        if not isinstance(text, str) or not text:
            return False
        return len(text.encode() if self.surface.text_in_bytes else text) <= self.surface.text_limit

    def attachment_types(self) -> frozenset[str]:
        """The attachment types that the product takes."""
        return frozenset({*ATTACHMENT_TYPES.values(), "template"})

    def _invalid_attachment(self, attachment: Any) -> Refusal | None:
        if not isinstance(attachment, dict) or attachment.get("type") not in self.attachment_types():
            return invalid_parameter("Param message[attachment][type] is invalid")
        payload = attachment.get("payload")
        if attachment["type"] == "template":
            return template_fault(payload)
        if attachment["type"] in ATTACHMENT_TYPES.values() and not (
            isinstance(payload, dict) and (payload.get("url") or payload.get("attachment_id"))
        ):
            return invalid_parameter("Param message[attachment][payload] must have a url or an attachment_id")
        return None

    # ---- webhooks

    def envelope(self, *events: Mapping[str, Any]) -> dict[str, Any]:
        """One entry of this account with these `messaging` events."""
        entry = {"id": self.account_id, "time": self.milliseconds(), "messaging": list(events)}
        return {"object": self.surface.webhook_object, "entry": [entry]}

    def from_person(self, person: str | None = None, **body: Any) -> dict[str, Any]:
        """A `messaging` event that a person causes; `body` is its `message`, `postback`, `reaction` and so on."""
        return self._between(person or self.ordinary_recipient, self.account_id, body)

    def from_account(self, person: str, **body: Any) -> dict[str, Any]:
        """A `messaging` event that the account causes: an echo."""
        return self._between(self.account_id, person, body)

    def _between(self, sender: str, recipient: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": self.milliseconds(), **body}

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """A signed delivery of a person's text."""
        event = self.from_person(sender, message={"mid": self.new_mid(), "text": text})
        return self.signed(self.envelope(event), self.inbound_url or self.webhook_url)

    def account_settings(self) -> dict[str, Any]:
        """What every product's gateway needs; a product adds the account's id."""
        return {"access_token": self.access_token, "base_url": self.base_url}


def random_id(length: int) -> str:
    """Random letters, digits, `-` and `_`, as Meta's message ids have them."""
    return secrets.token_urlsafe(length)[:length]
