"""Inbound Parse's form: its fields, each in a charset of its own, and its files as bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from waypost.plugin.received import read_json
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

#: More parts than a mail of 30 MB has attachments.
MAX_PARTS = 1000
#: A piece of a form that is read in one go goes on to the first part that begins after so many bytes.
PIECE = 64 * 1024
#: What Inbound Parse calls its files.
_FILE_PART = re.compile(r"attachment\d{1,4}")
_CHARSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")
#: Codecs that Python counts as text encodings and no mail is written in; some take quadratic time.
_NO_CHARSETS = frozenset({"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})

#: What mail programs write under an older charset's name, some letters more (WHATWG, Encoding, "Names and labels").
_SUPERSETS = {
    "big5": "big5hkscs", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252",
    "iso8859-9": "cp1254", "shift_jis": "cp932", "tis-620": "cp874",
}  # fmt: skip

#: Codecs that write everything in ASCII, by escapes: such text is UTF-8 too, and yet means something else.
_SEVEN_BITS = frozenset({"hz", "utf-7"})


class UnreadableFormError(ValueError):
    """The delivery is not a readable form."""


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file of the form."""

    name: str
    filename: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class ParseForm:
    """The fields by name, as bytes, and the files in their order."""

    fields: Mapping[str, bytes]
    files: tuple[FormFile, ...]

    def text(self, name: str, *, utf8_first: bool = False) -> str:
        """A field in the charset that `charsets` names for it; empty where there is none.

        `utf8_first` is for `to`, `from` and `subject`, which come in UTF-8 whatever `charsets` says; but where a
        charset of seven bits is named, what came in it cannot be told from UTF-8 by trying.
        """
        data = self.fields.get(name, b"")
        named = self._charsets.get(name)
        charset = named if isinstance(named, str) else "utf-8"
        if utf8_first and not _is_escaped(data, _codec(charset)):
            return decode(data, "utf-8", charset)
        return decode(data, charset, "utf-8")

    def object(self, name: str) -> dict[str, Any]:
        """A field that holds a JSON object; an empty one where it holds anything else."""
        value = read_json(self.fields.get(name, b""))
        return value if isinstance(value, dict) else {}

    @cached_property
    def _charsets(self) -> dict[str, Any]:
        return self.object("charsets")


def decode(data: bytes, *charsets: str) -> str:
    """Text in the first of these charsets that fits, else in the first known one with replacements, without NUL."""
    known = [codec for codec in map(_codec, charsets) if codec] or ["utf-8"]
    for codec in known:
        try:
            return clean(data.decode(codec))
        except ValueError:
            continue
    try:
        return clean(data.decode(known[0], "replace"))
    except ValueError:
        return clean(data.decode("latin-1"))


def _is_escaped(data: bytes, codec: str | None) -> bool:
    """Whether ASCII stands for other characters, in this codec."""
    if codec is None or not data.isascii() or (codec == "utf-7" and b"@" in data):
        # UTF-7 escapes by `+`, which addresses hold as well: what has been made UTF-8 must not be taken for it.
        return False
    return codec in _SEVEN_BITS or codec.startswith("iso2022_")


def clean(text: str) -> str:
    """Text that every database and JSON writer takes: no NUL, no half of a surrogate pair."""
    if text.isascii():
        return text.replace("\x00", "�")
    return text.encode("utf-8", "replace").decode().replace("\x00", "�")


@lru_cache(maxsize=128)
def _codec(charset: str) -> str | None:
    if not _CHARSET.fullmatch(charset):
        return None
    try:
        name = codecs.lookup(charset).name
        # Refuses codecs that are no text encodings (hex, zlib); an empty text would pass every one.
        b"text".decode(name, "replace")
    except (LookupError, ValueError):
        return None
    return None if name in _NO_CHARSETS else _SUPERSETS.get(name, name)


def read_form(content_type: str, body: bytes) -> ParseForm:
    """Read a `multipart/form-data` body. Raises `UnreadableFormError`."""
    boundary = parse_options_header(content_type)[1].get("boundary", "").encode("utf-8", "replace")
    if not 0 < len(boundary) <= 200:
        raise UnreadableFormError("the form names no boundary")
    try:
        return _decoded(boundary, body)
    except UnicodeDecodeError:
        # A file's name that is not UTF-8; senders choose those.
        body = _with_readable_headers(boundary, body)
    except (ValueError, RequestEntityTooLarge) as error:
        raise UnreadableFormError("the form is broken") from error
    try:
        return _decoded(boundary, body)
    except (ValueError, RequestEntityTooLarge) as error:
        raise UnreadableFormError("the form is broken") from error


def _with_readable_headers(boundary: bytes, body: bytes) -> bytes:
    part_headers = re.compile(rb"--" + re.escape(boundary) + rb"\r?\n(.*?)\r?\n\r?\n", re.DOTALL)

    def rewrite(match: re.Match[bytes]) -> bytes:
        return match[0].replace(match[1], match[1].decode("utf-8", "replace").encode())

    return part_headers.sub(rewrite, body)


def _decoded(boundary: bytes, body: bytes) -> ParseForm:
    fields: dict[str, bytes] = {}
    files: list[FormFile] = []
    part: Field | File | None = None
    data = bytearray()
    for event in _events(boundary, body):
        if isinstance(event, Field | File):
            part, data = event, bytearray()
        elif isinstance(event, Data) and part is not None:
            data += event.data
            if not event.more_data:
                _keep(part, bytes(data), fields, files)
    return ParseForm(fields, tuple(files))


def _events(boundary: bytes, body: bytes) -> Iterator[Event]:
    """What the form holds, of a form of any size in a time that grows with it."""
    decoder = MultipartDecoder(boundary, max_parts=MAX_PARTS)
    for piece in _pieces(b"--" + boundary, body):
        decoder.receive_data(piece)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            yield event
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), Epilogue):
        yield event


def _pieces(delimiter: bytes, body: bytes) -> Iterator[bytes]:
    """The body, cut only in front of delimiters.

    Werkzeug searches all it was given for the end of a part by a slow expression, unless no delimiter is in it; and
    where a cut goes through a delimiter's line, it leaves a carriage return in the part before.
    """
    start = 0
    while start < len(body):
        found = body.find(delimiter, start + PIECE)
        end = found - len(b"\r\n") if found >= 0 else len(body)
        yield body[start:end]
        start = end


def _keep(part: Field | File, data: bytes, fields: dict[str, bytes], files: list[FormFile]) -> None:
    name = clean(part.name or "")
    # A file that its sender gave no name comes without one, and a form's parts without a file name are fields.
    if isinstance(part, File) or _FILE_PART.fullmatch(name):
        filename = clean(part.filename) if isinstance(part, File) else ""
        files.append(FormFile(name, filename, clean(part.headers.get("content-type", "")), data))
    else:
        fields.setdefault(name, data)
