"""Money, time and ids: the three things that everything else is counted, ordered and named by."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from held_clock import HeldClock
from hypothesis import given
from hypothesis import strategies as st
from waypost.clock import DAY, HOUR, LEAP, MINUTE, SECOND, SystemClock, from_datetime, iso, to_datetime
from waypost.ids import is_id, new_id
from waypost.money import MAX_MICROS, InvalidAmountError, format_amount, parse_amount


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_amounts_survive_being_written_and_read(micros: int) -> None:
    assert parse_amount(format_amount(micros)) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [("12.50", 12_500_000), ("0.000001", 1), ("-3", -3_000_000), ("1e2", 100_000_000), (" 7 ", 7_000_000)],
)
def test_amounts_as_people_write_them(text: str, micros: int) -> None:
    assert parse_amount(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", "x", "1,5", "0.0000001", "NaN", "Infinity", "-inf", "1e10", "1e999999999", "١٫٥", "1_000", "٣", "+-1", "."],
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(InvalidAmountError):
        parse_amount(text)


@pytest.mark.parametrize("text", ["0.0" + "0" * 40 + "1", "1." + "0" * 40 + "1", "999999999." + "9" * 40])
def test_a_seventh_place_is_not_rounded_away_however_late_it_comes(text: str) -> None:
    with pytest.raises(InvalidAmountError):
        parse_amount(text)


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0"), (120_000, "0.12"), (10_000_000, "10"), (-1, "-0.000001"), (100 * 10**6, "100")]
)
def test_amounts_are_written_shortest(micros: int, text: str) -> None:
    assert format_amount(micros) == text


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_moments_survive_being_counted(moment: datetime) -> None:
    assert to_datetime(from_datetime(moment)) == moment
    assert abs(datetime.fromisoformat(iso(from_datetime(moment))) - moment) < timedelta(milliseconds=1)


def test_iso_is_in_utc_to_the_millisecond() -> None:
    assert iso(1_234_567) == "1970-01-01T00:00:01.234Z"


def test_the_system_clock_follows_another_and_never_stands_still() -> None:
    clock = SystemClock()
    clock.set_now(5 * DAY)
    first = clock.now()
    assert 5 * DAY <= first < 5 * DAY + SECOND
    assert clock.now() >= first


def test_the_system_clock_knows_how_long_ago_it_was_set_forward() -> None:
    clock = SystemClock()
    clock.set_now(clock.now() + DAY)
    assert clock.since_leap() == math.inf, "it was only set"
    clock.set_now(clock.now() + LEAP - SECOND)
    clock.set_now(clock.now() - DAY)
    assert clock.since_leap() == math.inf
    clock.set_now(clock.now() + LEAP + SECOND)
    since = clock.since_leap()
    assert 0 <= since < 1
    assert clock.since_leap() >= since


def test_a_manual_clock_stands_still() -> None:
    clock = HeldClock(7)
    clock.advance(3)
    assert (clock.now(), clock.now()) == (10, 10)


def test_ids_sort_by_birth_and_have_a_shape() -> None:
    made = [new_id("msg") for _ in range(5000)]
    assert made == sorted(set(made))
    assert all(is_id("msg", item) for item in made)


@pytest.mark.parametrize(
    "rest", ["", "xyz", "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n", "٠" * 32], ids=lambda rest: ascii(rest)[:12]
)
def test_what_is_no_id(rest: str) -> None:
    assert not is_id("msg", f"msg_{rest}")
    assert not is_id("msg", "org_" + "0" * 32)


def test_the_latest_time_is_not_set_back() -> None:
    clock = SystemClock()
    now = clock.now()
    clock.set_now(now)
    clock.set_now(now - HOUR)
    assert now - HOUR <= clock.now() < now
    assert now <= clock.latest() < now + MINUTE
    clock.set_now(now - 2 * HOUR)
    assert now <= clock.latest() < now + MINUTE
    clock.set_now(now + HOUR)
    assert now + HOUR <= clock.latest() < now + HOUR + MINUTE, "it is as late as that by its own account"
    clock.set_now(clock.now() - SECOND)
    assert clock.latest() == pytest.approx(clock.now(), abs=SECOND), "that is how answers differ"
