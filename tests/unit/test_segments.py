"""SMS segments, against tables made by hand and against what must hold for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waypost.plugin.segments import GSM_BASIC, GSM_EXTENSION, count_segments


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count"),
    [
        ("", "GSM-7", 0, 1),
        ("Hello", "GSM-7", 5, 1),
        ("x" * 160, "GSM-7", 160, 1),
        ("x" * 161, "GSM-7", 161, 2),
        ("x" * 306, "GSM-7", 306, 2),
        ("x" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("€" * 76 + "x" * 10, "GSM-7", 162, 2),
        # 153 is odd: a pair that would straddle the border moves to the next part.
        ("€" * 153, "GSM-7", 306, 3),
        ("x" * 152 + "€" + "x" * 152, "GSM-7", 306, 3),
        ("x" * 151 + "€" + "x" * 153, "GSM-7", 306, 2),
        ("ç", "UCS-2", 1, 1),
        ("Ç", "GSM-7", 1, 1),
        ("`", "UCS-2", 1, 1),
        ("[]{}\\^~|\f", "GSM-7", 18, 1),
        ("я" * 70, "UCS-2", 70, 1),
        ("я" * 71, "UCS-2", 71, 2),
        ("я" * 134, "UCS-2", 134, 2),
        ("я" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
        # 67 is odd: a surrogate pair is never split.
        ("😀" * 67, "UCS-2", 134, 3),
        ("x" * 69 + "’", "UCS-2", 70, 1),
        ("x" * 70 + "’", "UCS-2", 71, 2),
    ],
)
def test_by_hand(text: str, encoding: str, units: int, count: int) -> None:
    found = count_segments(text)
    assert (found.encoding, found.units, found.count) == (encoding, units, count)


def test_the_alphabet_has_its_size() -> None:
    assert (len(GSM_BASIC), len(GSM_EXTENSION), GSM_BASIC & GSM_EXTENSION) == (127, 10, frozenset())


def test_the_culprits_are_named() -> None:
    assert count_segments("naïve – “quoted”").culprits == ("ï", "–", "“", "”")
    assert count_segments("plain").culprits == ()


def parts(text: str) -> int:
    """Cut the text greedily, as a handset would have to put it together."""
    gsm = all(character in GSM_BASIC | GSM_EXTENSION for character in text)
    single, part = (160, 153) if gsm else (70, 67)
    widths = [
        (2 if character in GSM_EXTENSION else 1) if gsm else len(character.encode("utf-16-le")) // 2
        for character in text
    ]
    if sum(widths) <= single:
        return 1
    count, used = 1, 0
    for width in widths:
        used += width
        if used > part:
            count, used = count + 1, width
    return count


gsm_text = st.text(st.sampled_from(sorted(GSM_BASIC | GSM_EXTENSION)), max_size=700)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(gsm_text | any_text)
@settings(max_examples=300)
def test_any_text_takes_as_many_as_it_can_be_cut_into(text: str) -> None:
    assert count_segments(text).count == parts(text)


@given(gsm_text | any_text, any_text)
def test_more_text_never_takes_fewer(text: str, more: str) -> None:
    assert count_segments(text + more).count >= count_segments(text).count
