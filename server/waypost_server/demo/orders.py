"""Orders: one message through each REST API for every channel, and what became of each."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from waypost_server.demo.stage import ORGANIZATION, Actor, Stage

#: How long a message may take to be delivered, in seconds.
PATIENCE = 30.0
#: How long a receipt is waited for that the provider does not promise, in seconds.
PATIENCE_WITHOUT_PROOF = 3.0
LOOK_EVERY = 0.05

#: Which kind of content to send, the first that the plugin has an example of.
_PARTNER_KINDS = ("email", "template", "text")
_TOKEN_KINDS = ("email", "text", "template")
_FLAT_TEMPLATE = frozenset({"template_id", "variables", "language"})


class OrderError(Exception):
    """A request of the demo was refused; the message says by what."""


@dataclass(frozen=True, slots=True)
class Order:
    """A message to be sent through one of the two APIs."""

    api: str
    actor: Actor
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def channel(self) -> str:
        """The channel it goes through."""
        return self.actor.plugin.info.channel

    async def send(self, stage: Stage) -> str:
        """Post it and return the message's id. Raises `OrderError` where it was refused."""
        try:
            async with stage.http.post(stage.url + self.path, json=self.body, headers=self.headers) as response:
                answer = await response.json()
        except (aiohttp.ClientError, ValueError, TimeoutError) as error:
            raise OrderError(f"no answer ({type(error).__name__})") from error
        if response.status != 200:
            raise OrderError(f"{response.status} {answer.get('code') or answer.get('error')}")
        found: str = answer["data"]["messageId"] if self.api == "partner" else answer["id"]
        return found

    def curl(self, url: str) -> str:
        """The same request as a command to paste."""
        headers = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items())
        body = shlex.quote(json.dumps(self.body, ensure_ascii=False))
        return f"curl {url}{self.path} {headers} -H 'Content-Type: application/json' -d {body}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of an order: the explained message, and whether it arrived. `problem` says why it was not sent."""

    order: Order
    explained: Mapping[str, Any]
    balance: Mapping[str, Any]
    arrived: bool
    problem: str = ""


def orders(stage: Stage) -> Iterator[Order]:
    """Every message of the demo: SMS and WhatsApp first, then the other channels, each through both APIs."""
    first = {"SMS": 0, "WHATSAPP": 1}
    for actor in sorted(stage.actors, key=lambda actor: first.get(actor.plugin.info.channel, 2)):
        yield _partner(actor)
        yield _token(actor)


def _partner(actor: Actor) -> Order:
    info = actor.plugin.info
    # An SMS says something of its own; WhatsApp begins with a template, as its rules want.
    kinds = ("text",) if info.channel == "SMS" else _PARTNER_KINDS
    kind, fields = _example(actor, kinds)
    request: dict[str, Any] = {"channel": info.channel, "to": actor.simulator.ordinary_recipient}
    if kind == "template" and actor.sender:
        request["from"] = actor.sender
    if kind == "text":
        request["content"] = fields["body"]
    elif kind == "template" and fields.keys() <= _FLAT_TEMPLATE:
        request["templateId"] = fields["template_id"]
        request["templateVariables"] = fields.get("variables", {})
        if "language" in fields:
            request["templateLanguage"] = fields["language"]
    elif kind == "email":
        request |= {"subject": fields.get("subject", "Hello"), "htmlContent": fields.get("html") or fields["text"]}
    else:
        request["content"] = {"kind": kind, **fields}
    return Order("partner", actor, "/partner/message/send", {"x-api-key": actor.key}, {"request": request})


def _token(actor: Actor) -> Order:
    kind, fields = _example(actor, _TOKEN_KINDS)
    body: dict[str, Any] = {"to": actor.simulator.ordinary_recipient}
    if kind == "text":
        body["text"] = fields["body"]
    elif kind == "email":
        body |= {"subject": fields.get("subject", "Hello"), "html": fields.get("html") or fields["text"]}
    else:
        body |= {"type": kind, kind: fields}
    path = f"/api/send-{actor.plugin.info.channel.lower()}.php"
    return Order("token", actor, path, {"Authorization": f"Bearer {actor.key}"}, body)


def _example(actor: Actor, kinds: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    examples = actor.plugin.info.examples
    for kind in kinds:
        if kind in examples:
            return kind, dict(examples[kind])
    for kind, fields in examples.items():
        return kind, dict(fields)
    return "text", {"body": "Hello from Waypost"}


async def deliver(stage: Stage, order: Order) -> Delivered:
    """Send a message, wait until it has arrived, and explain it."""
    try:
        message_id = await order.send(stage)
    except OrderError as error:
        balance = await stage.do("credit.show", organization=ORGANIZATION)
        return Delivered(order, {}, balance, arrived=False, problem=str(error))
    arrived = await _arrived(stage, order, message_id)
    explained = await stage.do("messages.show", message=message_id)
    balance = await stage.do("credit.show", organization=ORGANIZATION)
    return Delivered(order, explained, balance, arrived=arrived)


async def _arrived(stage: Stage, order: Order, message_id: str) -> bool:
    """Look through the partner API until it is delivered or read, or as far as its provider can prove."""
    headers = {"x-api-key": order.actor.key}
    proves_less = order.actor.plugin.info.last_receipt == "sent"
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + PATIENCE:
        async with stage.http.get(f"{stage.url}/partner/message/{message_id}", headers=headers) as response:
            told = await response.json()
        status = told["data"]["status"] if response.status == 200 else ""
        if status in ("DELIVERED", "READ"):
            return True
        if status == "SENT" and proves_less and loop.time() > began + PATIENCE_WITHOUT_PROOF:
            return True
        await asyncio.sleep(LOOK_EVERY)
    return False
