"""What a partner may ask of SendGrid beyond the content: the `options` of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from waypost.plugin import ContentRejected

from waypost_email_sendgrid.address import clean_line

#: Our own custom arguments: the attempt, and which recipient is the main one.
REF_ARG = "waypost_ref"
TO_ARG = "waypost_to"

#: SendGrid, Mail Send: "custom_args … may not exceed 10,000 bytes".
MAX_CUSTOM_ARGS_BYTES = 10_000
#: Fields of an event; a custom argument of that name is lost, because SendGrid flattens them into the event.
_EVENT_FIELDS = frozenset(
    {
        "asm_group_id", "attempt", "bounce_classification", "category", "domain", "email", "event", "from", "ip",
        "pool", "reason", "response", "send_at", "sg_content_type", "sg_event_id", "sg_machine_open", "sg_message_id",
        "smtp-id", "status", "timestamp", "tls", "type", "url", "url_offset", "useragent",
    }
)  # fmt: skip


GroupId = Annotated[int, Field(gt=0, lt=1 << 31)]
#: SendGrid's own ids and names, which are plain words.
Word = Annotated[str, Field(pattern=r"^[\w .:-]+$")]


class MailOptions(BaseModel):
    """The options this plugin reads; those of other channels are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    subject: str | None = Field(default=None, min_length=1, max_length=998)
    to_name: str | None = Field(default=None, max_length=255)
    custom_args: dict[str, str | bool | int | float] = Field(default_factory=dict, max_length=100)
    groups_to_display: tuple[GroupId, ...] = Field(default=(), max_length=25)
    ip_pool_name: Word | None = Field(default=None, min_length=2, max_length=64)
    batch_id: Word | None = Field(default=None, max_length=100)
    click_tracking: bool | None = None
    open_tracking: bool | None = None


def read_options(options: Mapping[str, Any]) -> MailOptions:
    """The options, checked. Raises `ContentRejected` naming the option that is wrong, never its value."""
    try:
        return MailOptions.model_validate(dict(options))
    except ValidationError as error:
        names = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        raise ContentRejected(f"These options are not valid: {', '.join(names)}.") from error


def custom_args(options: MailOptions, correlation: str, recipient: str) -> dict[str, str]:
    """The partner's arguments and ours, all text. Raises `ContentRejected`."""
    arguments: dict[str, str] = {}
    for name, value in options.custom_args.items():
        clean_line(name, "name of a custom argument")
        if name in _EVENT_FIELDS or name.startswith(("waypost_", "sg_")):
            raise ContentRejected("A custom argument has a reserved name.")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments[name] = clean_line(text, "custom argument")
    arguments[REF_ARG] = correlation
    arguments[TO_ARG] = recipient
    if sum(len(name.encode()) + len(value.encode()) for name, value in arguments.items()) > MAX_CUSTOM_ARGS_BYTES:
        raise ContentRejected("The custom arguments are longer than 10,000 bytes.")
    return arguments
