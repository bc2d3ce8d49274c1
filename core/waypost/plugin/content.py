"""What a message can hold. Kinds are open: a plugin may declare `vendor.kind` with a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048)]


class Content(BaseModel):
    """The body of a message; a subclass fixes `kind` and its own fields.

    A third party's kind is a subclass whose `kind` is a `Literal["vendor.kind"]`, named in
    `ChannelInfo.content_models`; it enters validation and OpenAPI without core code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)

    kind: str

    def __repr__(self) -> str:
        """Name the kind only: a message's content never reaches a log by accident."""
        return f"{type(self).__name__}(kind={self.kind!r})"

    __str__ = __repr__


class Text(Content):
    """Plain text."""

    kind: Literal["text"] = "text"
    body: str = Field(min_length=1, max_length=65_536)
    preview_url: bool = False


class Template(Content):
    """A message approved beforehand at the provider, with variables filled in.

    `template_id` is the provider's own id (Twilio `HX…`, SendGrid `d-…`) or name (Meta). `variables` are named or
    positional ("1", "2"); `components` is the provider's own structured form where plain variables do not do
    (Meta's header, body and button components).
    """

    kind: Literal["template"] = "template"
    template_id: str = Field(min_length=1, max_length=512)
    language: str | None = Field(default=None, max_length=35)
    variables: dict[str, str] = Field(default_factory=dict, max_length=100)
    components: list[dict[str, Any]] | None = Field(default=None, max_length=50)
    category: str | None = Field(default=None, max_length=64)


class Media(Content):
    """An image, video, audio, document or sticker, by public URL or by the provider's own media id."""

    kind: Literal["image", "video", "audio", "document", "sticker"]
    url: Url | None = None
    media_id: str | None = Field(default=None, max_length=512)
    caption: str | None = Field(default=None, max_length=4096)
    filename: str | None = Field(default=None, max_length=255)
    mime_type: str | None = Field(default=None, max_length=255)
    #: Further media of the same message, where a channel allows several (MMS: ten in all).
    more_urls: tuple[Url, ...] = Field(default=(), max_length=9)
    voice: bool = False


class Location(Content):
    """A place on the map, in degrees."""

    kind: Literal["location"] = "location"
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    name: str | None = Field(default=None, max_length=1000)
    address: str | None = Field(default=None, max_length=1000)


class Contacts(Content):
    """Contact cards, in the provider's own structure (Meta's `contacts` array)."""

    kind: Literal["contacts"] = "contacts"
    contacts: list[dict[str, Any]] = Field(min_length=1, max_length=50)


class Reaction(Content):
    """An emoji put on an earlier message, named by the provider's id; no emoji takes it back."""

    kind: Literal["reaction"] = "reaction"
    message_id: str = Field(min_length=1, max_length=512)
    emoji: str | None = Field(default=None, max_length=64)


class Choice(BaseModel):
    """One thing a recipient can tap. `url` makes it a link, `phone` a call; otherwise `id` comes back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1, max_length=128)
    id: str | None = Field(default=None, max_length=1000)
    description: str | None = Field(default=None, max_length=1000)
    url: Url | None = None
    phone: str | None = Field(default=None, max_length=32)
    image_url: Url | None = None


class Section(BaseModel):
    """A titled group of choices in a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str | None = Field(default=None, max_length=128)
    choices: tuple[Choice, ...] = Field(min_length=1, max_length=30)


class Buttons(Content):
    """Text with a few buttons or quick replies below it."""

    kind: Literal["buttons", "quick_replies"] = "buttons"
    body: str = Field(min_length=1, max_length=4096)
    choices: tuple[Choice, ...] = Field(min_length=1, max_length=13)
    header: str | None = Field(default=None, max_length=1000)
    footer: str | None = Field(default=None, max_length=1000)


class ChoiceList(Content):
    """Text with a menu that opens into sections of choices."""

    kind: Literal["list"] = "list"
    body: str = Field(min_length=1, max_length=4096)
    button: str = Field(min_length=1, max_length=64)
    sections: tuple[Section, ...] = Field(min_length=1, max_length=10)
    header: str | None = Field(default=None, max_length=1000)
    footer: str | None = Field(default=None, max_length=1000)


class Card(BaseModel):
    """One card of a carousel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1, max_length=256)
    subtitle: str | None = Field(default=None, max_length=256)
    image_url: Url | None = None
    url: Url | None = None
    choices: tuple[Choice, ...] = Field(default=(), max_length=3)


class Cards(Content):
    """A carousel of cards (Meta calls it a generic template)."""

    kind: Literal["cards"] = "cards"
    cards: tuple[Card, ...] = Field(min_length=1, max_length=10)


class Attachment(BaseModel):
    """A file inside an email; `data` is base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filename: str = Field(min_length=1, max_length=255)
    data: str = Field(min_length=1)
    mime_type: str = Field(default="application/octet-stream", max_length=255)
    content_id: str | None = Field(default=None, max_length=255)


class Email(Content):
    """An email: text, HTML or both, or a provider's dynamic template."""

    kind: Literal["email"] = "email"
    subject: str | None = Field(default=None, max_length=998)
    text: str | None = None
    html: str | None = None
    from_name: str | None = Field(default=None, max_length=255)
    reply_to: str | None = Field(default=None, max_length=320)
    cc: tuple[str, ...] = Field(default=(), max_length=100)
    bcc: tuple[str, ...] = Field(default=(), max_length=100)
    headers: dict[str, str] = Field(default_factory=dict, max_length=50)
    categories: tuple[str, ...] = Field(default=(), max_length=10)
    attachments: tuple[Attachment, ...] = Field(default=(), max_length=50)
    template_id: str | None = Field(default=None, max_length=128)
    variables: dict[str, Any] = Field(default_factory=dict, max_length=500)
    send_at: int | None = None
    unsubscribe_group: int | None = None


class Action(Content):
    """Something shown in the conversation that is not a message: typing, mark as read. An emoji is a `Reaction`."""

    kind: Literal["typing_on", "typing_off", "mark_read"]
    message_id: str | None = Field(default=None, max_length=512)


class Unknown(Content):
    """Inbound content of a kind nobody here knows yet; the provider's own fields are kept. It cannot be sent."""

    kind: Literal["unknown"] = "unknown"
    provider_kind: str = ""
    fields: Mapping[str, Any] = Field(default_factory=dict)


#: The kinds that a plugin may send without a model of its own, by name.
STANDARD_CONTENT: Mapping[str, type[Content]] = MappingProxyType({
    "text": Text,
    "template": Template,
    "image": Media,
    "video": Media,
    "audio": Media,
    "document": Media,
    "sticker": Media,
    "location": Location,
    "contacts": Contacts,
    "reaction": Reaction,
    "buttons": Buttons,
    "quick_replies": Buttons,
    "list": ChoiceList,
    "cards": Cards,
    "email": Email,
    "typing_on": Action,
    "typing_off": Action,
    "mark_read": Action,
})  # fmt: skip
