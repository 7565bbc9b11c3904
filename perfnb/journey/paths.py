"""Paths: the touches before a conversion in their order, counted."""

import pandas as pd

from perfnb.engine import literal
from perfnb.errors import BadParameter
from perfnb.journey.unit import NO_TOUCH, Counting, journeys_sql, part_sql

TRANSFORMS = ("unique", "exposure", "first", "recent", "frequency")
SEPARATOR = " > "
BETWEEN = "\x1f"  # what stands between the labels of a path inside a statement: no name holds it

_ORDERED = "ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY t, label)"
_SAME = "PARTITION BY u, ends, label ORDER BY"
_TRANSFORMED = {
    "unique": f"SELECT u, ends, label, {_ORDERED} AS place FROM touched",
    "exposure": "SELECT u, ends, label, place FROM merged",
    "first": f"SELECT u, ends, label, {_ORDERED} AS place FROM (SELECT touched.*, "
    f"ROW_NUMBER() OVER ({_SAME} t) AS nth FROM touched) AS numbered WHERE nth = 1",
    "recent": f"SELECT u, ends, label, {_ORDERED} AS place FROM (SELECT touched.*, "
    f"ROW_NUMBER() OVER ({_SAME} t DESC) AS nth FROM touched) AS numbered WHERE nth = 1",
    "frequency": "SELECT u, ends, CONCAT(label, '(', CAST(times AS VARCHAR), ')') AS label, "
    f"{_ORDERED} AS place FROM (SELECT u, ends, label, MIN(t) AS t, COUNT(*) AS times "
    "FROM touched GROUP BY u, ends, label) AS numbered",
}


def paths(touchpoints, *, transform="unique", **counting):
    """Every path with its conversions: what attribution models that look at paths need of the events.

    `transform` makes paths shorter, as Google's fractribution names it: "unique" (every
    touch stands), "exposure" (direct repeats once), "first" (each touchpoint where it
    came first), "recent" (where it came last), "frequency" (as first, with the number
    of times: "a(2) > b(1)"). `counting` says which touches and conversions count; see
    `Counting`.

    Returns one row per path: path ("a > b > c"; "(no touch)" for conversions without
    one), persons, conversions, value, nulls (journeys of that path without a
    conversion), currency. Conversions and value add up to the events.
    """
    found = path_counts(touchpoints, transform=transform, grouped=False, **counting)
    # A name that holds the separator must not become two touches when the path is read again.
    labels = found["path"].fillna(NO_TOUCH).str.replace(r"(?<![^ \x1f])>(?![^ \x1f])", "›", regex=True)
    found["path"] = labels.str.replace(BETWEEN, SEPARATOR, regex=False)
    found["currency"] = touchpoints.currency("value")
    found = found.sort_values(["conversions", "nulls", "path"], ascending=[False, False, True], ignore_index=True)
    return found[["path", "persons", "conversions", "value", "nulls", "currency"]]


def path_counts(touchpoints, *, transform="unique", grouped=True, **counting):
    """The counts behind `paths`, labels parted by a character that no name holds; null for "(no touch)".

    Returns one row per path and, with `grouped`, group of persons: path, part (two
    hexadecimal digits), persons, conversions, value, nulls.
    """
    if transform not in TRANSFORMS:
        raise BadParameter(f"transform {transform!r}: expected one of {', '.join(map(repr, TRANSFORMS))}")
    Counting(**counting)
    group = part_sql("j.u") if grouped else "''"
    alone = part_sql("u", "t") if grouped else "''"
    found = touchpoints.fetch(
        f"{journeys_sql(touchpoints, **counting)},\n"
        f"walked AS ({_TRANSFORMED[transform]}),\n"
        f"whole AS (SELECT u, ends, STRING_AGG(label, {literal(BETWEEN)} ORDER BY place) AS path "
        "FROM walked GROUP BY u, ends),\n"
        f"journeys AS (SELECT j.u, j.path, {group} AS part, COALESCE(c.n, 0) AS n, c.value AS value, "
        "CASE WHEN j.ends IS NULL THEN 1 ELSE 0 END AS unfinished FROM whole AS j "
        "LEFT JOIN converted AS c ON j.u = c.u AND j.ends = c.t)\n"
        "SELECT path, part, COUNT(DISTINCT u) AS persons, SUM(n) AS conversions, CAST(SUM(value) AS DOUBLE) AS value, "
        "SUM(unfinished) AS nulls FROM journeys GROUP BY path, part\n"
        f"UNION ALL SELECT NULL, {alone}, COUNT(DISTINCT u), SUM(n), CAST(SUM(value) AS DOUBLE), 0 "
        f"FROM untouched GROUP BY {alone}"
    )
    found["path"] = found["path"].astype(object).where(found["path"].notna(), None)
    for column in ("persons", "conversions", "nulls"):
        found[column] = found[column].astype("int64")
    found["value"] = pd.to_numeric(found["value"]).astype(float)
    return found if grouped else found.drop(columns="part")
