"""Are only the provider's deliveries taken, whatever a stranger sends?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from waypost.plugin.types import Challenge, Rejected, Verified, WebhookRequest, WebhookVerdict
from waypost.testing import strange
from waypost.testing.check import CheckFailed, NotApplicable, check
from waypost.testing.credentials import with_other_secrets, without_secrets
from waypost.testing.stage import Stage, on_stage
from waypost.testing.subject import Subject

#: A plugin with this feature proves deliveries by a shared secret that does not cover the body (Telegram's header).
SHARED_SECRET = "shared_secret_webhooks"  # noqa: S105 - the name of a feature


class VerificationChecks(Subject):
    """`verify_webhook`, with the simulator's deliveries and worse ones."""

    def receives_webhooks(self) -> None:
        """Raise `NotApplicable` for a plugin without webhooks."""
        if "verify_webhook" not in self.channel.hooks:
            raise NotApplicable("not applicable: it receives no webhooks")

    async def _verdict(self, stage: Stage, request: WebhookRequest, what: str, **context: Any) -> WebhookVerdict:
        try:
            verdict = await self.hooks.verify_webhook(ctx=stage.webhook_context(**context), request=request)
        except Exception as error:  # noqa: BLE001 - a stranger's code
            raise CheckFailed(f"{what}: verify_webhook raised {type(error).__name__}: {error}") from None
        if not isinstance(verdict, WebhookVerdict):
            raise CheckFailed(f"{what}: verify_webhook returned a {type(verdict).__name__}, not a verdict")
        return verdict

    async def _refuse(self, stage: Stage, requests: Sequence[WebhookRequest], what: str, **context: Any) -> None:
        for request in requests:
            verdict = await self._verdict(stage, request, what, **context)
            if not isinstance(verdict, Rejected):
                raise CheckFailed(f"{what} was taken as {type(verdict).__name__}")

    @check(
        "silver", "Verify exactly what the provider signs (raw body, public URL), and let the simulator sign the same."
    )
    async def test_verify_accepts(self) -> None:
        """What the simulator signs is verified."""
        self.receives_webhooks()
        async with on_stage(self) as stage:
            deliveries = await stage.deliveries()
            if not deliveries:
                raise CheckFailed("the simulator delivered no webhook, neither a receipt nor an inbound message")
            for request in deliveries:
                verdict = await self._verdict(stage, request, "a delivery of the simulator's")
                if not isinstance(verdict, Verified):
                    why = verdict.reason if isinstance(verdict, Rejected) else type(verdict).__name__
                    raise CheckFailed(f"a delivery of the simulator's was not verified: {why}")
            if stage.simulator.errors:
                raise CheckFailed(f"the simulator could not deliver: {stage.simulator.errors[0]}")

    @check("silver", "Return Rejected for a delivery without signature.")
    async def test_verify_unsigned(self) -> None:
        """A delivery without any proof is rejected."""
        self.receives_webhooks()
        async with on_stage(self) as stage:
            bare = [strange.unsigned(request) for request in await stage.deliveries()]
            await self._refuse(stage, bare, "an unsigned delivery")
            empty = [
                WebhookRequest(method=method, url=stage.webhook_url, body=body)
                for method in ("POST", "GET", "PUT")
                for body in (b"", b"{}", b"[]", b"\xff\x00", b"x" * (1 << 20))
            ]
            await self._refuse(stage, empty, "a request with nothing in it that the provider would send")

    @check("silver", "Check the signature over the raw body that came, before anything is parsed.")
    async def test_verify_tampered(self) -> None:
        """A delivery whose body was changed after it was signed is rejected."""
        self.receives_webhooks()
        if SHARED_SECRET in self.channel.info.features:
            raise NotApplicable("not applicable: its provider's proof does not cover the body")
        async with on_stage(self) as stage:
            changed = [strange.tampered(request) for request in await stage.deliveries()]
            await self._refuse(stage, changed, "a delivery with another body")

    @check("silver", "Check with the secrets of this account or provider app, and with nothing else.")
    async def test_verify_wrong_key(self) -> None:
        """A delivery that another account's key signed is rejected."""
        self.receives_webhooks()
        async with on_stage(self) as stage:
            deliveries = await stage.deliveries()
            other = with_other_secrets(self, stage)
            what = "a delivery that another key signed"
            await self._refuse(stage, deliveries, what, account=other.account, provider_app=other.provider_app)

    @check("silver", "Return Rejected for a signature that is junk; never let it raise.")
    async def test_verify_junk(self) -> None:
        """A delivery with junk for a signature is rejected."""
        await self._junk(strange.JUNK_SIGNATURES, "a delivery with a junk signature")

    @check("silver", "Return Rejected for an empty signature; compare nothing with it.")
    async def test_verify_empty(self) -> None:
        """A delivery with an empty signature is rejected."""
        await self._junk(("", " "), "a delivery with an empty signature")

    @check("silver", "Return Rejected for a signature of any length, without parsing it at length.")
    async def test_verify_huge(self) -> None:
        """A delivery with a signature of a megabyte is rejected."""
        await self._junk((strange.HUGE_SIGNATURE,), "a delivery with a huge signature")

    @check(
        "silver",
        "Compare signatures as bytes (waypost.plugin.signatures.same): compare_digest raises for non-ASCII text.",
    )
    async def test_verify_non_ascii(self) -> None:
        """A delivery with a signature of other characters than ASCII is rejected."""
        await self._junk(strange.NON_ASCII_SIGNATURES, "a delivery with a non-ASCII signature")

    async def _junk(self, signatures: Sequence[str], what: str) -> None:
        self.receives_webhooks()
        async with on_stage(self) as stage:
            for request in await stage.deliveries():
                for junk in signatures:
                    await self._refuse(stage, [strange.signed_with(request, junk)], what)
                    for partly in strange.each_signed_with(request, junk):
                        await self._verdict(stage, partly, what)

    @check("silver", "Return Rejected where no secret is configured: what cannot be verified is refused, not allowed.")
    async def test_verify_missing_secret(self) -> None:
        """Without a secret in the settings, nothing is verified."""
        self.receives_webhooks()
        async with on_stage(self) as stage:
            deliveries = await stage.deliveries()
            bare = without_secrets(stage.account)
            everything = [*deliveries, *(strange.unsigned(request) for request in deliveries)]
            await self._refuse(stage, everything, "a delivery to a gateway without secrets", **bare)
            bare["account"] = None
            await self._refuse(stage, everything, "a delivery to no gateway at all", **bare)

    @check("silver", "Answer the handshake with Challenge and the provider's own words when the token is right.")
    async def test_handshake_right(self) -> None:
        """The provider's handshake with the right token is answered."""
        self.receives_webhooks()
        async with on_stage(self) as stage:
            request = self._handshake(stage, good=True)
            verdict = await self._verdict(stage, request, "the handshake")
            if not isinstance(verdict, Challenge) or not 200 <= verdict.reply.status < 300:
                raise CheckFailed(f"the handshake got {verdict!r}, not a Challenge with a 2xx")

    @check(
        "silver",
        "Compare the handshake's token with the configured one in constant time; return Rejected when it differs.",
    )
    async def test_handshake_wrong(self) -> None:
        """The handshake with a wrong token, or without a configured one, is rejected."""
        self.receives_webhooks()
        async with on_stage(self) as stage:
            await self._refuse(stage, [self._handshake(stage, good=False)], "a handshake with a wrong token")
            bare = without_secrets(stage.account)
            await self._refuse(
                stage,
                [self._handshake(stage, good=True), self._handshake(stage, good=False)],
                "a handshake with a gateway without secrets",
                **bare,
            )

    def _handshake(self, stage: Stage, *, good: bool) -> WebhookRequest:
        request = self.handshake(stage.simulator, good=good)
        if request is None:
            raise NotApplicable("not applicable: its simulator makes no handshake")
        return request
