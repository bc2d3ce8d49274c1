"""Six hundred forged webhooks, a hundred for each signed scheme: none is believed, none is our fault."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from deployment import Answer, Deployment, RunDeployment
from forgeries import COUNT, Forgery, Scheme
from waypost.plugin import WebhookRequest
from waypost.plugin.signatures import hmac_sign
from waypost_sms_twilio.simulator.webhooks import signed as signed_by_twilio
from world import Partner

#: Recipients whose receipts the simulators hold back.
HELD_BACK = {
    "whatsapp": "+15550100032",
    "messenger": "7000000000000033",
    "instagram": "8000000000000033",
    "email_sendgrid": "late@simulator.example",
    "sms_twilio": "+15005550121",
    "whatsapp_twilio": "+15005550121",
}
TIME = "x-twilio-email-event-webhook-timestamp"


def url_of(gateway: Deployment, plugin: str, gateway_id: str) -> str:
    return f"{gateway.url}/webhooks/{plugin}/{gateway_id}"


class Keys:
    """A provider's keys: the simulated account's, another tenant's, and one that nobody knows."""

    def __init__(self, gateway: Deployment, plugin: str) -> None:
        self.simulator: Any = gateway.simulators[plugin]
        self.plugin = plugin
        self.elliptic = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("other", "wrong")}
        if plugin == "email_sendgrid":
            self.elliptic["own"] = self.simulator._signer._key

    @property
    def header(self) -> str:
        if self.plugin == "email_sendgrid":
            return "x-twilio-email-event-webhook-signature"
        return "x-twilio-signature" if "twilio" in self.plugin else "x-hub-signature-256"

    def others_account(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The other tenant's settings, and those of its provider app."""
        settings = dict(self.simulator.account_settings())
        if self.plugin == "email_sendgrid":
            return settings | {"event_public_keys": [self.public("other")], "parse_public_keys": []}, {}
        if "twilio" in self.plugin:
            return settings | {"account_sid": "AC" + "a" * 32, "auth_token": self._secret("other")}, {}
        ref = {"whatsapp": "phone_number_id", "messenger": "page_id", "instagram": "ig_id"}[self.plugin]
        return settings | {ref: "99887766"}, {"app_secrets": [self._secret("other")], "verify_token": "other-token"}

    def public(self, whose: str) -> str:
        der = self.elliptic[whose].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def _secret(self, whose: str) -> str:
        if whose != "own":
            return whose * 4
        settings = self.simulator.account_settings() | self.simulator.provider_app_settings()
        return str(settings["auth_token"] if "twilio" in self.plugin else settings["app_secrets"][0])

    def signs(self, whose: str) -> Callable[..., WebhookRequest]:
        """The provider, signing with this key."""

        def sign(body: bytes, url: str, *, at: int | None = None) -> WebhookRequest:
            if "twilio" in self.plugin:
                from urllib.parse import parse_qsl

                signature = dict(signed_by_twilio(self._secret(whose), url, dict(parse_qsl(body.decode()))).headers)
                form = "application/x-www-form-urlencoded; charset=UTF-8"
                proof = {"content-type": form, self.header: signature[self.header]}
            elif self.plugin == "email_sendgrid":
                stamp = str(at if at is not None else int(time.time()))
                made = self.elliptic[whose].sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
                proof = {"content-type": "application/json", self.header: base64.b64encode(made).decode(), TIME: stamp}
            else:
                proof = {
                    "content-type": "application/json",
                    self.header: "sha256=" + hmac_sign(self._secret(whose), body),
                }
            return WebhookRequest(method="POST", url=url, headers=tuple(proof.items()), body=body)

        return sign


async def prepare(gateway: Deployment, partner: Partner, plugin: str) -> tuple[Scheme, str]:
    """A message whose receipts are held back, and the scheme that would prove them."""
    row = next(row for row in partner.gateways if row.plugin == plugin)
    # The partner's routes name one gateway for each channel; this one goes by the plugin in question.
    app = await gateway.app(partner.org)
    key = await gateway.key(app)
    await gateway.route(app, row)
    request: dict[str, Any] = {"channel": row.channel, "to": HELD_BACK[plugin], "content": "hello"}
    if row.channel == "EMAIL":
        request |= {"subject": "hello", "htmlContent": "<p>hello</p>"}
        del request["content"]
    answer = await gateway.send(key, request)
    assert answer.status == 200, answer.text
    keys = Keys(gateway, plugin)
    settings, app_settings = keys.others_account()
    other = await gateway.configured(plugin, settings, app_settings)
    url = url_of(gateway, plugin, row.id)
    receipts = list(keys.simulator._late)
    if "twilio" not in plugin:
        receipts = [replace(item, url=url) for item in receipts]
    signs = plugin in ("sms_twilio", "whatsapp_twilio")
    inbound = keys.signs("own")(receipts[0].body.replace(b"sent", b"read"), url)
    genuine = (receipts[-1], receipts[0] if len(receipts) > 1 else inbound)
    return (
        Scheme(
            name=plugin,
            genuine=genuine,
            header=keys.header,
            sign=keys.signs("own"),
            other=keys.signs("other"),
            wrong=keys.signs("wrong"),
            others_url=url_of(gateway, plugin, other.id),
            signs_url=signs,
            signs_time=TIME if plugin == "email_sendgrid" else None,
        ),
        answer.json["data"]["messageId"],
    )


async def post(gateway: Deployment, forgery: Forgery) -> Answer:
    request = forgery.request
    path = request.url.removeprefix(gateway.url)
    return await gateway.call(request.method, path, data=request.body, headers=list(request.headers))


@pytest.mark.parametrize("plugin", HELD_BACK)
async def test_a_hundred_forged_deliveries_of_each_scheme(run: RunDeployment, plugin: str) -> None:
    gateway = await run([plugin])
    partner = await gateway.newcomer()
    scheme, message_id = await prepare(gateway, partner, plugin)
    before, message = await gateway.rows(), await gateway.message(message_id)
    assert message.status == "SENT"
    told: dict[str, list[str]] = {}
    answers = []
    for forgery in scheme.forgeries():
        answer = await post(gateway, forgery)
        if answer.status not in forgery.statuses:
            told.setdefault(f"{answer.status} instead of {forgery.statuses}", []).append(forgery.trick)
        answers.append(answer)
    assert told == {}
    assert len(answers) == COUNT
    assert not [answer for answer in answers if answer.status < 400 or answer.status >= 500]
    refused = [answer for answer in answers if answer.status == 401]
    assert len(refused) >= COUNT - 6
    assert {(answer.text, answer.headers["Content-Type"]) for answer in refused} == {("unauthorized", "text/plain")}
    assert len({tuple(sorted(set(answer.headers) - {"Date"})) for answer in refused}) == 1
    await gateway.node.inbox.drain()
    assert await gateway.rows() == before
    assert await gateway.message(message_id) == message
    # They were forgeries of something that is believed as it was.
    for genuine in scheme.genuine:
        assert (await post(gateway, Forgery("genuine", genuine))).status == 200
    await gateway.node.inbox.drain()
    assert (await gateway.message(message_id)).status in (("READ",) if plugin == "instagram" else ("DELIVERED",))
