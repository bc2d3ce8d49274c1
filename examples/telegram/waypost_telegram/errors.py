"""What the Bot API's refusals mean, by error code and the beginning of the description.

The words come from the Bot API's documentation and from what bots are known to receive; Telegram does not promise
them. What is not in the table goes by its code. Telegram's own words are never passed on.
"""

from __future__ import annotations

from dataclasses import dataclass

from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OptedOut,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
)
from waypost.plugin.errors import RateScope
from waypost.plugin.http import HttpReply, retry_after


@dataclass(frozen=True, slots=True)
class Row:
    """A refusal that is known: a code, how the description begins, and what it means."""

    code: int
    begins: str
    error: type[ChannelError]
    detail: str


ROWS: tuple[Row, ...] = (
    Row(400, "bad request: chat not found", InvalidRecipient, "Telegram knows no such chat."),
    Row(400, "bad request: user not found", InvalidRecipient, "Telegram knows no such user."),
    Row(400, "bad request: chat_id is empty", InvalidRecipient, "Telegram was given no chat."),
    Row(400, "bad request: peer_id_invalid", InvalidRecipient, "Telegram knows no such chat."),
    Row(400, "bad request: group chat was upgraded", InvalidRecipient, "The group has a new id; write to that one."),
    Row(400, "bad request: group chat was deactivated", InvalidRecipient, "The group was closed."),
    Row(400, "bad request: message text is empty", ContentRejected, "Telegram found the text empty."),
    Row(400, "bad request: text must be non-empty", ContentRejected, "Telegram found the text empty."),
    Row(400, "bad request: message is too long", ContentRejected, "The text is longer than Telegram takes."),
    Row(400, "bad request: message caption is too long", ContentRejected, "The caption is longer than Telegram takes."),
    Row(400, "bad request: can't parse entities", ContentRejected, "The text does not fit its parse_mode."),
    Row(400, "bad request: unsupported parse_mode", ContentRejected, "Telegram does not know this parse_mode."),
    Row(400, "bad request: wrong file identifier", ContentRejected, "Telegram cannot use this media id or URL."),
    Row(400, "bad request: failed to get http url content", ContentRejected, "Telegram could not fetch the media."),
    Row(
        400, "bad request: wrong type of the web page content", ContentRejected, "The URL holds another type of media."
    ),
    Row(400, "bad request: photo_invalid_dimensions", ContentRejected, "The image is too large or too narrow."),
    Row(400, "bad request: voice_messages_forbidden", ContentRejected, "The recipient takes no voice messages."),
    Row(400, "bad request: button_data_invalid", ContentRejected, "A button's id is not one that Telegram takes."),
    Row(400, "bad request: button_url_invalid", ContentRejected, "A button's URL is not one that Telegram takes."),
    Row(400, "bad request: message to be replied not found", ContentRejected, "The message to reply to is gone."),
    Row(400, "bad request: message to react not found", ContentRejected, "The message to react to is gone."),
    Row(400, "bad request: reaction_invalid", ContentRejected, "Telegram does not allow this reaction here."),
    Row(400, "bad request: message thread not found", ContentRejected, "The group has no such topic."),
    Row(400, "bad request: poll", ContentRejected, "Telegram does not take this poll."),
    Row(400, "bad request: not enough rights", Misconfigured, "The bot lacks the right to send this in this chat."),
    Row(400, "bad request: have no rights to send", Misconfigured, "The bot lacks the right to send in this chat."),
    Row(400, "bad request: need administrator rights", Misconfigured, "The bot is no administrator of this channel."),
    Row(400, "bad request: chat_write_forbidden", Misconfigured, "The bot lacks the right to send in this chat."),
    Row(401, "", AccountBlocked, "Telegram does not accept the bot's token."),
    Row(403, "forbidden: bot was blocked by the user", OptedOut, "The recipient blocked the bot."),
    Row(403, "forbidden: bot was kicked", OptedOut, "The bot was removed from the chat."),
    Row(403, "forbidden: user is deactivated", InvalidRecipient, "The recipient's account is gone."),
    Row(403, "forbidden: the group chat was deleted", InvalidRecipient, "The group is gone."),
    Row(403, "forbidden: bot can't send messages to bots", InvalidRecipient, "The recipient is a bot."),
    Row(403, "forbidden: bot can't initiate conversation", OutsideWindow, "The recipient must write to the bot first."),
    Row(403, "forbidden: bot is not a member", Misconfigured, "The bot is no member of this chat."),
    # What is malformed enough gets no 401 but this, as if the whole API were not there.
    Row(404, "", AccountBlocked, "Telegram does not know the bot's token."),
    Row(413, "", ContentRejected, "The message is larger than Telegram takes."),
)


def refusal(reply: HttpReply, *, scope: RateScope) -> ChannelError:
    """The error that an answer with `ok: false`, or with an error status, means.

    `scope` says who is limited by a 429. `parameters.retry_after` is in seconds.
    """
    body = reply.json_object()
    code = body.get("error_code")
    if isinstance(code, bool) or not isinstance(code, int):
        code = reply.status
    description = body.get("description")
    words = description.lower() if isinstance(description, str) else ""
    if code == 429:
        return RateLimited(
            "Telegram limits the rate.",
            retry_after=_retry_after(reply),
            scope=scope,
            provider_code="429",
            http_status=reply.status,
        )
    for row in ROWS:
        if row.code == code and words.startswith(row.begins):
            return row.error(row.detail, provider_code=str(code), http_status=reply.status)
    kind: type[ChannelError] = Permanent if 400 <= code < 500 else OutcomeUnknown
    return kind(f"Telegram answered {code}.", provider_code=str(code), http_status=reply.status)


def _retry_after(reply: HttpReply) -> float | None:
    """What Telegram says in the body, else what the header says (a proxy's 429 has no body of Telegram's)."""
    parameters = reply.json_object().get("parameters")
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 86_400:
        return retry_after(reply)
    return float(seconds)
