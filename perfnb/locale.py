"""Numbers, money, days and words in English and German: the edge where figures are rounded."""

import functools
import math
import re
import tomllib
from datetime import date
from importlib import resources

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from perfnb.errors import BadParameter

__all__ = ["LANGUAGES", "WAITS", "day", "money", "number", "path", "points", "share", "state", "text", "wait", "word"]

LANGUAGES = ("en", "de")
WAITS = ((2.0, 1, "days"), (1 / 12, 24, "hours"), (0.0, 1440, "minutes"))  # from so many days on, the unit of time
MISSING = "–"


@functools.cache
def _words(language):
    if language not in LANGUAGES:
        raise BadParameter(f"language {language!r}: expected {' or '.join(LANGUAGES)}")
    with resources.files("perfnb.words").joinpath(f"{language}.toml").open("rb") as file:
        return tomllib.load(file)


def text(key, language="en", **facts):
    """The text `key` ("checks.no_person.says") with the facts put in."""
    found = _words(language)
    for part in key.split("."):
        found = found[part]
    return found.format(**facts)


def word(value, language="en"):
    """A word of ours (a stage, a model, an event, "(no touch)") in the language; anything else as it is."""
    return _words(language)["values"].get(value, value) if isinstance(value, str) else value


def state(value, language="en"):
    """What became of something (a status, a note) in the language: words that names in the data may be, too."""
    return _words(language)["states"].get(value) or word(value, language)


def path(value, language="en"):
    """A path ("a > b > c") with each of its words in the language."""
    return " > ".join(word(part, language) for part in str(value).split(" > "))


def points(value, language="en"):
    """A difference of two shares in percentage points: 1.20 percentage points or 1,20 Prozentpunkte."""
    return f"{number(100 * value, language, 2)}\N{NO-BREAK SPACE}{text('headline.points', language)}"


def number(value, language="en", decimals=0):
    """1,234.5 or 1.234,5; a dash where there is no number.

    >>> number(1234.5, "de", 1)
    '1.234,5'
    """
    if _missing(value):
        return MISSING
    pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
    return _minus(format_decimal(_no_negative_zero(value, decimals), format=pattern, locale=language))


def share(value, language="en", decimals=1):
    """A share of 0 to 1 as per cent: 12.3 % or 12,3 %."""
    if _missing(value):
        return MISSING
    return number(100 * value, language, decimals) + "\N{NO-BREAK SPACE}%"


def money(value, currency, language="en", decimals=2):
    """An amount with its currency: €1,234.50 or 1.234,50 €; the bare number where the currency is not known."""
    if _missing(value):
        return MISSING
    if _missing(currency) or not currency:
        return number(value, language, decimals)
    value = _no_negative_zero(value, decimals)
    pattern = None if decimals else {"en": "¤#,##0", "de": "#,##0 ¤"}[language].replace(" ", "\N{NO-BREAK SPACE}")
    return _minus(format_currency(value, currency, format=pattern, locale=language, currency_digits=bool(decimals)))


def wait(days, language="en"):
    """A time with the unit that suits it: 2.1 days, 3.4 h, 12.0 minutes."""
    if _missing(days):
        return MISSING
    unit, times = next((name, factor) for least, factor, name in WAITS if abs(days) >= least)
    return f"{number(days * times, language, 1)}\N{NO-BREAK SPACE}{text(f'plot.{unit}', language)}"


def day(value, language="en"):
    """A day: 31 Aug 2025 or 31.08.2025."""
    if _missing(value):
        return MISSING
    return format_date(value, format="d MMM y" if language == "en" else "dd.MM.y", locale=language)


def signed(formatted, value):
    """The formatted value with a plus sign where it is positive."""
    return f"+{formatted}" if not _missing(value) and value > 0 else formatted


def definition(said, language="en"):
    """A definition line ("closed, ordered, best entry, 7 days inclusive") with its terms in the language."""

    def days(found):
        first, last = (day(date.fromisoformat(found[end]), language) for end in (1, 2))
        return text("show.days", language, first=first, last=last)

    said = re.sub(r"(\d{4}-\d\d-\d\d)\.\.(\d{4}-\d\d-\d\d)", days, said)
    terms = _words(language).get("definition", {})
    # What stands in quotes is a name from the data.
    parts = re.split("(“[^”]*”)", said)
    for term, translated in terms.items():
        parts[::2] = [re.sub(rf"\b{term}\b", translated, part) for part in parts[::2]]
    return "".join(parts)


def _minus(formatted):
    return formatted.replace("-", "\N{MINUS SIGN}")


def _missing(value):
    if value is None or str(value) == "<NA>":  # pandas.NA, which equals nothing and is no truth value
        return True
    return value != value or (isinstance(value, float) and math.isinf(value))


def _no_negative_zero(value, decimals):
    return 0.0 if round(float(value), decimals) == 0 else float(value)
