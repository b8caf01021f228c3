"""Times of expiry as they are written on a command line and shown to people."""

from __future__ import annotations

import argparse
import datetime
import re

__all__ = ["length_words", "moment_of", "moment_or_length", "moment_words", "time_to_live"]

_LENGTH = re.compile(r"([1-9][0-9]{0,9})([smhdw])")
_LENGTH_MAX = datetime.timedelta(days=36_500)
_UNITS = {
    "s": datetime.timedelta(seconds=1),
    "m": datetime.timedelta(minutes=1),
    "h": datetime.timedelta(hours=1),
    "d": datetime.timedelta(days=1),
    "w": datetime.timedelta(weeks=1),
}
_LENGTH_HELP = "a number with s, m, h, d or w, such as 30d"


def _length(text: str) -> datetime.timedelta | None:
    match = _LENGTH.fullmatch(text)
    if match is None:
        return None
    number, unit = int(match[1]), _UNITS[match[2]]
    if number > _LENGTH_MAX // unit:
        raise argparse.ArgumentTypeError(f"{text} is longer than {_LENGTH_MAX.days} days")
    return number * unit


def time_to_live(text: str) -> datetime.timedelta:
    """An argument that is a length of time, or `never`: zero, which the contract reads as for ever."""
    if text == "never":
        return datetime.timedelta(0)
    length = _length(text)
    if length is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; give {_LENGTH_HELP}, or never")
    return length


def moment_or_length(text: str) -> datetime.datetime | datetime.timedelta:
    """An argument that is a length of time from now, or a date or time, of UTC where it names no zone."""
    length = _length(text)
    if length is not None:
        return length
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a length of time ({_LENGTH_HELP}) nor a date (2027-01-01, 2027-01-01T12:00+01:00)"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


def moment_of(expires: datetime.datetime | datetime.timedelta) -> datetime.datetime:
    """The time itself; a length is counted from now."""
    return expires if isinstance(expires, datetime.datetime) else datetime.datetime.now(datetime.UTC) + expires


def moment_words(moment: datetime.datetime | None) -> str:
    """A time to the second; nothing for none."""
    return moment.isoformat(" ", "seconds") if moment else ""


def length_words(length: datetime.timedelta) -> str:
    """A length of time in the largest unit that counts it, as `--ttl` takes it."""
    for name in "dhm":
        if not length % _UNITS[name]:
            return f"{length // _UNITS[name]}{name}"
    return f"{length.total_seconds():g}s"
