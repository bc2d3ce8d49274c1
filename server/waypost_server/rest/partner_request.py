"""The partner API's `request` envelope, to the letter of its document, with what it is silent about beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from waypost.admission.intake import describe
from waypost.admission.request import FallbackRequest, SendRequest
from waypost.refusals import InvalidRequest, ValidationFailed

from waypost_server.rest.content import PARTNER_NAMES, flat_content

Channel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$")]
#: How long texts may be, in characters.
LONGEST_SHORT, LONGEST_TEXT = 512, 200_000
#: How long a message may be tried, or a further step wait for the earlier one, in seconds.
LONGEST_TRIED = 30 * 86_400
#: Addresses, names and ids: one line without control characters.
Short = Annotated[
    str,
    StringConstraints(min_length=1, max_length=LONGEST_SHORT, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT)]
MediaType = Literal["image", "video", "audio", "document", "sticker"]
MEDIA_TYPES: tuple[str, ...] = get_args(MediaType)


class _Leg(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    channel: Channel
    sender_id: Short | None = Field(default=None, alias="senderId")
    content: Text | dict[str, Any] | None = None
    template_id: Short | None = Field(default=None, alias="templateId")
    template_variables: dict[str, Any] | None = Field(default=None, alias="templateVariables")
    template_language: Short | None = Field(default=None, alias="templateLanguage")
    subject: Annotated[str, StringConstraints(max_length=998)] | None = None
    html_content: Text | None = Field(default=None, alias="htmlContent")
    media_url: Short | None = Field(default=None, alias="mediaUrl")
    media_type: MediaType | None = Field(default=None, alias="mediaType")

    def fields(self) -> dict[str, Any]:
        """The content's fields, with its kind. Raises `ValidationFailed`."""
        if isinstance(self.content, dict):
            if "kind" not in self.content:
                raise ValidationFailed("content.kind: content given as an object needs its kind")
            if any(item is not None for item in self._flat()):
                raise ValidationFailed("content: send either a content object or the flat fields, not both")
            return self.content
        return flat_content(
            text=self.content,
            template_id=self.template_id,
            template_variables=self.template_variables,
            template_language=self.template_language,
            subject=self.subject,
            html=self.html_content,
            media_url=self.media_url,
            media_type=self.media_type,
            is_email=self.channel.upper() == "EMAIL",
            names=PARTNER_NAMES,
        )

    @property
    def has_content(self) -> bool:
        """Whether any content of its own is given."""
        return any(item is not None for item in (self.content, *self._flat()))

    def _flat(self) -> tuple[object, ...]:
        return (
            self.template_id,
            self.template_variables,
            self.template_language,
            self.subject,
            self.html_content,
            self.media_url,
            self.media_type,
        )


class FallbackLeg(_Leg):
    """A further step, taken when the earlier ones fail or do not get far enough in time."""

    to: Short | None = None
    from_: Short | None = Field(default=None, alias="from")
    after: int | None = Field(default=None, ge=1, le=LONGEST_TRIED)
    until: Literal["sent", "delivered", "read"] = "delivered"


class PartnerMessage(_Leg):
    """What a partner sends inside `request`."""

    to: Short
    from_: Short | None = Field(default=None, alias="from")
    reply_to: Short | None = Field(default=None, alias="replyTo")
    validity: int | None = Field(default=None, ge=1, le=LONGEST_TRIED)
    options: dict[str, Any] = Field(default_factory=dict, max_length=50)
    fallback: tuple[FallbackLeg, ...] = Field(default=(), max_length=5, strict=False)


def read_partner_request(
    body: dict[str, Any], *, idempotency_key: str | None, fingerprint: str, request_id: str
) -> SendRequest:
    """Read the envelope. Raises `InvalidRequest` where there is none and `ValidationFailed` where it is wrong."""
    envelope = body.get("request")
    if not isinstance(envelope, dict):
        raise InvalidRequest('The body must hold a "request" object.')
    if len(body) > 1:
        raise InvalidRequest('The body must hold nothing beside "request".')
    try:
        message = PartnerMessage.model_validate(envelope)
    except ValidationError as error:
        raise ValidationFailed(describe(error)) from None
    return SendRequest(
        channel=message.channel.upper(),
        to=message.to,
        content=message.fields(),
        sender=message.sender_id or message.from_,
        reply_to=message.reply_to,
        validity=message.validity,
        options=message.options,
        fallback=tuple(
            FallbackRequest(
                channel=leg.channel.upper(),
                to=leg.to,
                sender=leg.sender_id or leg.from_,
                content=leg.fields() if leg.has_content else None,
                after=leg.after,
                until=leg.until,
            )
            for leg in message.fallback
        ),
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        request_id=request_id,
    )
