"""The token API's bodies: `{to, text}`, `{to, type, text}`, `{to, subject, html}`, and a kind's own fields."""

from __future__ import annotations

from typing import Annotated, Any, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from waypost.admission.intake import describe
from waypost.admission.request import SendRequest
from waypost.refusals import ValidationFailed

from waypost_server.rest.content import TOKEN_NAMES, flat_content
from waypost_server.rest.partner_request import (
    LONGEST_SHORT,
    LONGEST_TEXT,
    LONGEST_TRIED,
    MEDIA_TYPES,
    Channel,
    Short,
    Text,
)


class TokenMessage(BaseModel):
    """What a partner posts. A field named like the `type` holds that kind's own fields."""

    model_config = ConfigDict(extra="allow", strict=True)

    to: Short
    type: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,63}$")] | None = None
    channel: Channel | None = None
    from_: Short | None = Field(default=None, alias="from")
    text: Text | dict[str, Any] | None = None
    subject: Annotated[str, StringConstraints(max_length=998)] | None = None
    html: Text | None = None
    media_url: Short | None = Field(default=None, alias="media_url")
    template_id: Short | None = None
    variables: dict[str, Any] | None = None
    language: Short | None = None
    reply_to: Short | None = None
    validity: int | None = Field(default=None, ge=1, le=LONGEST_TRIED)

    @property
    def has_flat_fields(self) -> bool:
        """Whether content is given outside of an object of its own."""
        flat = (self.subject, self.html, self.media_url, self.template_id, self.variables, self.language)
        return isinstance(self.text, str) or any(item is not None for item in flat)


def read_token_request(
    body: dict[str, Any], channel: str, *, idempotency_key: str | None, fingerprint: str, request_id: str
) -> SendRequest:
    """Read a body for a channel. Raises `ValidationFailed`."""
    if len(body) == 2 and channel != "EMAIL":
        to, text = body.get("to"), body.get("text")
        if _is_plain(to, LONGEST_SHORT) and _is_plain(text, LONGEST_TEXT):
            return SendRequest(
                channel=channel,
                to=to,
                content={"kind": "text", "body": text},
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                request_id=request_id,
            )
    try:
        message = TokenMessage.model_validate(body)
    except ValidationError as error:
        raise ValidationFailed(describe(error)) from None
    return SendRequest(
        channel=channel,
        to=message.to,
        content=_content(message, channel),
        sender=message.from_,
        reply_to=message.reply_to,
        validity=message.validity,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        request_id=request_id,
    )


def _is_plain(value: object, longest: int) -> TypeGuard[str]:
    """Whether this is a text that the model would surely take: nearly every request has two and nothing else."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _content(message: TokenMessage, channel: str) -> dict[str, Any]:
    kind = message.type
    own = (message.model_extra or {}).get(kind) if kind is not None else None
    if kind == "text" and isinstance(message.text, dict):
        own = message.text
    unknown = (message.model_extra or {}).keys() - {kind}
    if unknown:
        raise ValidationFailed("request: a field is not known; see the documentation for those of this channel")
    if own is not None:
        if not isinstance(own, dict) or "kind" in own:
            raise ValidationFailed(f"{kind}: must be an object with the fields of this kind")
        if message.has_flat_fields:
            raise ValidationFailed(f"{kind}: send either an object of this name or the flat fields, not both")
        return {"kind": kind, **own}
    if isinstance(message.text, dict):
        raise ValidationFailed("text: must be a text")
    media = kind if kind in MEDIA_TYPES else None
    if kind not in (None, "text", "template", "email") and media is None:
        raise ValidationFailed(f"{kind}: a message of this type needs an object of this name")
    content = flat_content(
        text=message.text,
        template_id=message.template_id,
        template_variables=message.variables,
        template_language=message.language,
        subject=message.subject,
        html=message.html,
        media_url=message.media_url,
        media_type=media,
        is_email=channel == "EMAIL",
        names=TOKEN_NAMES,
    )
    if kind not in (None, content["kind"]) and content["kind"] != "email":
        raise ValidationFailed("type: the fields given make a message of another type")
    return content
