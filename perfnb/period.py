"""Spans of days and of time."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from perfnb.errors import BadParameter

__all__ = ["Period", "duration", "half_life_of"]

_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_DAY = r"\d{4}-\d{2}-\d{2}"


def duration(text):
    """A timedelta from "7 days", "30 minutes", "1 hour" … (a timedelta is given back as it is).

    >>> duration("7 days")
    datetime.timedelta(days=7)
    """
    if isinstance(text, timedelta):
        return text
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) (second|minute|hour|day|week)s?", str(text).strip())
    if not match:
        raise BadParameter(f"{text!r} is no duration; expected for example '7 days', '12 hours', '30 minutes'")
    try:
        return float(match[1]) * _UNITS[match[2]]
    except OverflowError:
        raise BadParameter(f"{text!r} is longer than any time there was") from None


def half_life_of(text):
    """`duration`, which must be more than nothing."""
    found = duration(text)
    if found <= timedelta(0):
        raise BadParameter(f"half_life {text!r}: expected more than nothing, as '7 days'")
    return found


@dataclass(frozen=True)
class Period:
    """The days from `since` (included) to `until` (not included).

    >>> Period.parse("2025-08").days
    31
    >>> Period.parse("last 28 days", end=date(2025, 9, 1)).previous()
    Period(since=datetime.date(2025, 7, 7), until=datetime.date(2025, 8, 4))
    """

    since: date
    until: date

    def __post_init__(self):
        for day in (self.since, self.until):
            if not isinstance(day, date) or isinstance(day, datetime):
                raise BadParameter(f"{day!r} is no day; expected a datetime.date, or Period.parse('2025-08')")
        if self.until <= self.since:
            raise BadParameter(f"the period {self.since} to {self.until} has no day")

    @classmethod
    def parse(cls, text, *, end=None):
        """A period from "2025", "2025-08", "2025-08-04..2025-08-31" (both included), "last 28 days" or "last month".

        "last n days" ends before the day `end`, which must then be given: the first day after the data. "last
        month" is the last whole month before it.
        """
        text = str(text).strip()
        try:
            if match := re.fullmatch(rf"({_DAY})\.\.({_DAY})", text):
                return cls(date.fromisoformat(match[1]), date.fromisoformat(match[2]) + timedelta(days=1))
            if match := re.fullmatch(r"(\d{4})-(\d{2})", text):
                year, month = int(match[1]), int(match[2])
                last = calendar.monthrange(year, month)[1]
                return cls(date(year, month, 1), date(year, month, last) + timedelta(days=1))
            if re.fullmatch(r"\d{4}", text):
                return cls(date(int(text), 1, 1), date(int(text) + 1, 1, 1))
        except BadParameter:
            raise
        except ValueError as error:
            raise BadParameter(f"{text!r} is no period: {error}") from None
        if (match := re.fullmatch(r"last ([0-9]{1,6}) days", text)) and end is not None and int(match[1]) > 0:
            try:
                return cls(end - timedelta(days=int(match[1])), end)
            except OverflowError:
                raise BadParameter(f"{text!r} begins before the first day there was") from None
        if text == "last month" and end is not None:
            until = end.replace(day=1)
            return cls((until - timedelta(days=1)).replace(day=1), until)
        raise BadParameter(
            f"{text!r} is no period; expected '2025', '2025-08', '2025-08-04..2025-08-31', 'last 28 days' or "
            "'last month'"
        )

    @property
    def days(self):
        return (self.until - self.since).days

    @property
    def last_day(self):
        return self.until - timedelta(days=1)

    def micros(self):
        """Its beginning and its end as microseconds since 1970 (UTC)."""
        return tuple((day - date(1970, 1, 1)).days * 86_400_000_000 for day in (self.since, self.until))

    def previous(self):
        """The period of as many days just before this one."""
        return Period(self.since - timedelta(days=self.days), self.since)

    def year_before(self):
        """The same weekdays a year before (364 days)."""
        return Period(self.since - timedelta(days=364), self.until - timedelta(days=364))

    def __str__(self):
        return f"{self.since}..{self.last_day}"
