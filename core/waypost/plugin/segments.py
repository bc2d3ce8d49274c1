"""How many SMS segments a text takes.

GSM-7 (3GPP TS 23.038 §6.2.1): 160 septets in one segment, 153 in each of several; a character of the extension table
takes two, and an escape pair is never split. Any other character turns the whole text into UCS-2: 70 UTF-16 units in
one segment, 67 in each of several; a surrogate pair is never split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

#: The default alphabet, without the escape character.
GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: The extension table: two septets each.
GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM = GSM_BASIC | GSM_EXTENSION
_BASIC_ONLY = re.compile(f"[{re.escape(''.join(sorted(GSM_BASIC)))}]*")

GSM_SINGLE, GSM_PART = 160, 153
UCS2_SINGLE, UCS2_PART = 70, 67


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """`units` are septets (GSM-7) or UTF-16 units (UCS-2). `culprits` are the characters that forced UCS-2."""

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    count: int
    culprits: tuple[str, ...] = ()


def count_segments(text: str) -> Segments:
    """Count the segments of a text; an empty text still takes one."""
    if _BASIC_ONLY.fullmatch(text):
        return _basic(len(text))
    characters = set(text)
    culprits = characters - _GSM
    if culprits:
        return _ucs2(text, tuple(sorted(culprits)))
    widths = [2 if character in GSM_EXTENSION else 1 for character in text]
    return _pack("GSM-7", widths, GSM_SINGLE, GSM_PART)


@lru_cache(maxsize=2048)
def _basic(units: int) -> Segments:
    return Segments(encoding="GSM-7", units=units, count=1 if units <= GSM_SINGLE else -(-units // GSM_PART))


def _ucs2(text: str, culprits: tuple[str, ...]) -> Segments:
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if units == len(text):
        count = 1 if units <= UCS2_SINGLE else -(-units // UCS2_PART)
        return Segments(encoding="UCS-2", units=units, count=count, culprits=culprits)
    widths = [2 if ord(character) > 0xFFFF else 1 for character in text]
    return _pack("UCS-2", widths, UCS2_SINGLE, UCS2_PART, culprits)


def _pack(
    encoding: Literal["GSM-7", "UCS-2"],
    widths: list[int],
    single: int,
    part: int,
    culprits: tuple[str, ...] = (),
) -> Segments:
    units = sum(widths)
    if units <= single:
        return Segments(encoding=encoding, units=units, count=1, culprits=culprits)
    count, used = 1, 0
    for width in widths:
        if used + width > part:
            count, used = count + 1, 0
        used += width
    return Segments(encoding=encoding, units=units, count=count, culprits=culprits)
