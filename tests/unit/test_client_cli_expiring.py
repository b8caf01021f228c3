"""Times of expiry on the command line: what is read, what is refused, what people see."""

from __future__ import annotations

import argparse
import datetime

import pytest

from mien_client.cli.expiring import length_words, moment_of, moment_or_length, moment_words, time_to_live

DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", datetime.timedelta(seconds=90)),
        ("5m", datetime.timedelta(minutes=5)),
        ("12h", DAY / 2),
        ("30d", 30 * DAY),
        ("2w", 14 * DAY),
        ("36500d", 36_500 * DAY),
        ("never", datetime.timedelta(0)),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text: str, expected: datetime.timedelta) -> None:
    """Lengths are read in seconds, minutes, hours, days and weeks."""
    assert time_to_live(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "36501d", "9999999999w", "2027-01-01"])
def test_another_length_is_refused(text: str) -> None:
    """What is no length, or longer than a hundred years, is refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        time_to_live(text)


def test_a_moment_without_a_zone_is_in_utc() -> None:
    """Dates and times are read as ISO 8601; a zone that is named is kept."""
    assert moment_or_length("2027-01-01") == datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    noon = moment_or_length("2027-01-01T12:00+01:00")
    assert noon == datetime.datetime(2027, 1, 1, 11, tzinfo=datetime.UTC)
    for text in ("soon", "2027-13-01", "never"):
        with pytest.raises(argparse.ArgumentTypeError):
            moment_or_length(text)


def test_a_length_counts_from_now() -> None:
    """What is given as a length becomes a time, and a time stays what it is."""
    before = datetime.datetime.now(datetime.UTC)
    assert before + DAY <= moment_of(DAY) <= datetime.datetime.now(datetime.UTC) + DAY
    assert moment_of(before) is before


def test_lengths_are_shown_as_they_are_given() -> None:
    """A length is shown in the largest unit that counts it, a missing time as nothing."""
    lengths = [30 * DAY, DAY / 2, datetime.timedelta(minutes=90), datetime.timedelta(seconds=61.5)]
    assert [length_words(length) for length in lengths] == ["30d", "12h", "90m", "61.5s"]
    assert moment_words(None) == ""
    assert moment_words(datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)) == "2027-01-01 00:00:00+00:00"
