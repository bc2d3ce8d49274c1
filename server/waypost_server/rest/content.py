"""From the flat fields of the two documents to one content of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from waypost.refusals import ValidationFailed

#: From here on, a double-precision number may not be the one that was written (RFC 8259 §6).
EXACT = 2.0**53

_MEDIA_BY_ENDING = {
    "jpg": "image", "jpeg": "image", "png": "image", "gif": "image", "mp4": "video", "3gp": "video", "mp3": "audio",
    "ogg": "audio", "amr": "audio", "aac": "audio", "m4a": "audio", "pdf": "document", "webp": "sticker",
}  # fmt: skip


def media_kind(url: str) -> str:
    """What kind of media a URL's ending suggests; an image where it says nothing. Raises `ValidationFailed`."""
    try:
        path = urlsplit(url).path
    except ValueError:
        raise ValidationFailed("mediaUrl: must be a URL") from None
    ending = path.rsplit(".", 1)[-1].lower()
    return _MEDIA_BY_ENDING.get(ending, "image")


def variables(given: Mapping[str, Any] | None) -> dict[str, str]:
    """Template variables as texts. Raises `ValidationFailed` for anything but texts and numbers."""
    if given is None:
        return {}
    texts: dict[str, str] = {}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationFailed("templateVariables: every value must be a text or a number")
        texts[name] = _written(value)
    return texts


def _written(value: str | float) -> str:
    """A number in digits, as people write it. Raises `ValidationFailed` for one that a reader may have rounded."""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= EXACT:
        raise ValidationFailed("templateVariables: so large a number is not exact; write it as a text")
    return format(Decimal(repr(value)), "f")


def flat_content(
    *,
    text: str | None,
    template_id: str | None,
    template_variables: Mapping[str, Any] | None,
    template_language: str | None,
    subject: str | None,
    html: str | None,
    media_url: str | None,
    media_type: str | None,
    is_email: bool,
) -> dict[str, Any]:
    """The one content these fields make. Raises `ValidationFailed` where they make none, or two."""
    if media_type is not None and media_url is None:
        raise ValidationFailed("mediaUrl: media need a mediaUrl")
    if is_email or subject is not None or html is not None:
        if media_url is not None or template_language is not None:
            raise ValidationFailed("request: an email takes neither media nor a template's language here")
        return _email(text, template_id, template_variables, subject, html)
    if template_id is not None:
        if text is not None or media_url is not None:
            raise ValidationFailed("request: send either a template or content of your own, not both")
        return _without_none(
            kind="template",
            template_id=template_id,
            variables=variables(template_variables),
            language=template_language,
        )
    if template_variables is not None:
        raise ValidationFailed("templateId: templateVariables need a templateId")
    if media_url is not None:
        suggested = media_kind(media_url)
        return _without_none(kind=media_type or suggested, url=media_url, caption=text)
    if text is None:
        raise ValidationFailed("content: a message needs content, a templateId or a mediaUrl")
    return {"kind": "text", "body": text}


def _email(
    text: str | None,
    template_id: str | None,
    template_variables: Mapping[str, Any] | None,
    subject: str | None,
    html: str | None,
) -> dict[str, Any]:
    if text is None and html is None and template_id is None:
        raise ValidationFailed("htmlContent: an email needs htmlContent, content or a templateId")
    return _without_none(
        kind="email",
        subject=subject,
        text=text,
        html=html,
        template_id=template_id,
        variables=dict(template_variables) if template_variables is not None else None,
    )


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
