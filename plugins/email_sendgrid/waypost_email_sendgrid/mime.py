"""A whole MIME mail, as Inbound Parse's raw mode hands it over: its text, its HTML and its attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.parser import HeaderParser
from itertools import islice

from waypost_email_sendgrid.form import FormFile, clean, decode

_WORD = r"=\?[^?\s]+\?[BbQq]\?[^?]*\?="
#: Encoded words (RFC 2047) that follow each other: one character may begin in one and end in the next.
_ENCODED_WORDS = re.compile(rf"{_WORD}(?:\s*{_WORD})*")
#: More recipients than a mail of ours has; writing each out takes time.
MAX_BLOCKS = 1000
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r")
#: What the standard library raises for mails that nobody should write; all of them mean "cannot be read".
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, MessageError)


class UnreadableMailError(ValueError):
    """The mail is not readable as MIME."""


@dataclass(frozen=True, slots=True)
class MimeMail:
    """The first text, the first HTML, and everything else as files whose `name` is their content id."""

    text: str = field(repr=False)
    html: str = field(repr=False)
    files: tuple[FormFile, ...] = field(repr=False)


def header_block(data: bytes) -> dict[str, str]:
    """The headers of a mail by lower-case name, the first of each; empty where they cannot be read."""
    headers: dict[str, str] = {}
    end = _BLANK_LINE.search(data)
    # Mail servers pass on headers in UTF-8 as they are (RFC 6532); the library would take their bytes for damage.
    block = decode(data[: end.end()] if end else data, "utf-8", "latin-1")
    try:
        for name, value in HeaderParser().parsestr(block).items():
            headers.setdefault(name.lower(), " ".join(clean(str(value)).split()))
    except _UNREADABLE:
        return headers
    return headers


def decoded_words(value: str) -> str:
    """A header's text with its encoded words (RFC 2047) read; what is no such word stays as it is."""
    return _ENCODED_WORDS.sub(_read_words, value)


def _read_words(found: re.Match[str]) -> str:
    try:
        words = decode_header(found[0])
    except _UNREADABLE:
        return found[0]
    return "".join(
        # A language may follow the charset (RFC 2231, 5).
        decode(word, (charset or "").partition("*")[0], "utf-8") if isinstance(word, bytes) else word
        for word, charset in words
    )


def read_mail(data: bytes) -> MimeMail:
    """Read a MIME mail. Raises `UnreadableMailError`."""
    try:
        return _sorted_parts(message_from_bytes(data))
    except _UNREADABLE as error:
        raise UnreadableMailError("the mail is not readable as MIME") from error


def _sorted_parts(mail: Message) -> MimeMail:
    text = html = None
    files: list[FormFile] = []
    for part in _leaves(mail):
        kind, filename = part.get_content_type(), clean(part.get_filename() or "")
        # Mail programs show a text file within the mail, as `inline`: its name says that it is one all the same. A name
        # without a disposition is no such sign; some programs give the body itself one.
        disposition = part.get_content_disposition()
        attached = disposition == "attachment" or (disposition == "inline" and bool(filename))
        data = _bytes(part)
        if kind == "text/plain" and not attached and text is None:
            text = decode(data, part.get_content_charset("utf-8"), "utf-8")
        elif kind == "text/html" and not attached and html is None:
            html = decode(data, part.get_content_charset("utf-8"), "utf-8")
        else:
            files.append(FormFile(_content_id(part), filename, kind, data))
    return MimeMail(text or "", html or "", tuple(files))


def _leaves(part: Message) -> Iterator[Message]:
    """Every part that holds no other; a mail within the mail stays whole."""
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for inner in part.get_payload():
            if isinstance(inner, Message):
                yield from _leaves(inner)
    else:
        yield part


def _bytes(part: Message) -> bytes:
    if part.is_multipart():
        # A mail within the mail is one; a delivery status has a block for the server and one for each recipient.
        blocks = islice(part.get_payload(), MAX_BLOCKS)
        return b"".join(inner.as_bytes() for inner in blocks if isinstance(inner, Message))
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _content_id(part: Message) -> str:
    return clean(str(part.get("Content-ID", ""))).strip().strip("<>")
