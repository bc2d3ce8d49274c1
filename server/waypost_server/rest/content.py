"""From the flat fields of the two documents to one content of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from waypost.refusals import ValidationFailed


@dataclass(frozen=True, slots=True)
class Names:
    """What a document calls the flat fields, for messages that name them."""

    text: str
    html: str
    template: str
    variables: str
    media: str


PARTNER_NAMES = Names("content", "htmlContent", "templateId", "templateVariables", "mediaUrl")
TOKEN_NAMES = Names("text", "html", "template_id", "variables", "media_url")

#: From here on, a double-precision number may not be the one that was written (RFC 8259 §6).
EXACT = 2.0**53

_MEDIA_BY_ENDING = {
    "jpg": "image", "jpeg": "image", "png": "image", "gif": "image", "mp4": "video", "3gp": "video", "mp3": "audio",
    "ogg": "audio", "amr": "audio", "aac": "audio", "m4a": "audio", "pdf": "document", "webp": "sticker",
}  # fmt: skip


def media_kind(url: str, names: Names) -> str:
    """What kind of media a URL's ending suggests; an image where it says nothing. Raises `ValidationFailed`."""
    try:
        path = urlsplit(url).path
    except ValueError:
        raise ValidationFailed(f"{names.media}: must be a URL") from None
    ending = path.rsplit(".", 1)[-1].lower()
    return _MEDIA_BY_ENDING.get(ending, "image")


def variables(given: Mapping[str, Any] | None, names: Names) -> dict[str, str]:
    """Template variables as texts. Raises `ValidationFailed` for anything but texts and numbers."""
    if given is None:
        return {}
    texts: dict[str, str] = {}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationFailed(f"{names.variables}: every value must be a text or a number")
        texts[name] = _written(value, names)
    return texts


def _written(value: str | float, names: Names) -> str:
    """A number in digits, as people write it. Raises `ValidationFailed` for one that a reader may have rounded."""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= EXACT:
        raise ValidationFailed(f"{names.variables}: so large a number is not exact; write it as a text")
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
    names: Names,
) -> dict[str, Any]:
    """The one content these fields make. Raises `ValidationFailed` where they make none, or two."""
    if media_type is not None and media_url is None:
        raise ValidationFailed(f"{names.media}: media need a {names.media}")
    if is_email or subject is not None or html is not None:
        if media_url is not None or template_language is not None:
            raise ValidationFailed("request: an email takes neither media nor a template's language here")
        return _email(text, template_id, template_variables, subject, html, names)
    if template_id is not None:
        if text is not None or media_url is not None:
            raise ValidationFailed("request: send either a template or content of your own, not both")
        return _without_none(
            kind="template",
            template_id=template_id,
            variables=variables(template_variables, names),
            language=template_language,
        )
    if template_variables is not None:
        raise ValidationFailed(f"{names.template}: {names.variables} need a {names.template}")
    if media_url is not None:
        suggested = media_kind(media_url, names)
        return _without_none(kind=media_type or suggested, url=media_url, caption=text)
    if text is None:
        raise ValidationFailed(f"{names.text}: a message needs {names.text}, a {names.template} or a {names.media}")
    return {"kind": "text", "body": text}


def _email(
    text: str | None,
    template_id: str | None,
    template_variables: Mapping[str, Any] | None,
    subject: str | None,
    html: str | None,
    names: Names,
) -> dict[str, Any]:
    if text is None and html is None and template_id is None:
        raise ValidationFailed(f"{names.html}: an email needs {names.html}, {names.text} or a {names.template}")
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
