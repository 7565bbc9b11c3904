"""How touchpoints follow each other, where journeys end, and the most frequent ones."""

import pandas as pd

from perfnb import intervals
from perfnb.engine import literal
from perfnb.errors import BadParameter
from perfnb.journey.unit import NO_TOUCH, STEPS_SQL, journeys_sql


def frequent(touchpoints, *, lookback=None, top=10, depth=6, **counting):
    """The most frequent journeys; with "(other)" they add up to all journeys and conversions.

    `counting` and `lookback` say which touches and conversions count; see `Counting`. A
    path longer than `depth` touchpoints ends in "…".

    Returns one row per path: path ("a > b > c"), journeys, share (0-1, of all
    journeys), cumulative_share, converted (journeys), rate (converted /
    journeys) with low and high (Wilson, 95 %), conversions, value, currency.
    """
    if depth < 1 or top < 1:
        raise BadParameter(f"depth {depth!r}, top {top!r}: expected 1 or more")
    ctes = journeys_sql(touchpoints, lookback=lookback, **counting)
    alone = "SUM(CASE WHEN u IS NULL THEN n ELSE 1 END)"
    names = [f"p_{k}" for k in range(1, depth + 1)]
    pivot = ", ".join(f"MAX(CASE WHEN place = {k} THEN label END) AS p_{k}" for k in range(1, depth + 1))
    found = touchpoints.fetch(
        f"{ctes},\nwhole AS (SELECT u, ends, MAX(place) AS places, {pivot} FROM merged GROUP BY u, ends),\n"
        "journeys AS (SELECT whole.*, COALESCE(c.n, 0) AS n, c.value AS value FROM whole "
        "LEFT JOIN converted AS c ON whole.u = c.u AND whole.ends = c.t)\n"
        f"SELECT {', '.join(names)}, CASE WHEN places > {depth} THEN 1 ELSE 0 END AS longer, COUNT(*) AS journeys, "
        "SUM(CASE WHEN n > 0 THEN 1 ELSE 0 END) AS converted, SUM(n) AS conversions, "
        f"CAST(SUM(value) AS DOUBLE) AS value FROM journeys GROUP BY {', '.join(names)}, "
        f"CASE WHEN places > {depth} THEN 1 ELSE 0 END\n"
        f"UNION ALL SELECT {literal(NO_TOUCH)}, {'NULL, ' * (depth - 1)}0, {alone}, {alone}, SUM(n), "
        "CAST(SUM(value) AS DOUBLE) FROM untouched HAVING COUNT(*) > 0"
    )
    labels = found[names].to_numpy(object)
    found["path"] = [
        " > ".join(label for label in row if isinstance(label, str)) + (" > …" if longer else "")
        for row, longer in zip(labels, found["longer"], strict=True)
    ]
    found = found.sort_values(["journeys", "path"], ascending=[False, True], ignore_index=True)
    head, rest = found.iloc[:top], found.iloc[top:]
    columns = ["path", "journeys", "converted", "conversions", "value"]
    table = head[columns]
    if len(rest):
        sums = rest[columns[1:]].sum(min_count=1)
        table = pd.concat([table, pd.DataFrame([{"path": "(other)", **sums}])], ignore_index=True)
    for column in ("journeys", "converted", "conversions"):
        table[column] = table[column].astype(int)
    total = table["journeys"].sum()
    table.insert(2, "share", table["journeys"] / total)
    table.insert(3, "cumulative_share", table["share"].cumsum())
    table["rate"] = table["converted"] / table["journeys"]
    table["low"], table["high"] = intervals.wilson(table["converted"], table["journeys"])
    table["currency"] = touchpoints.currency("value")
    order = ["path", "journeys", "share", "cumulative_share", "converted", "rate", "low", "high"]
    return table[[*order, "conversions", "value", "currency"]]


def transitions(touchpoints, *, lookback=None, **counting):
    """How often one touchpoint directly follows another, from "(start)" to "(conversion)" or "(end)".

    `counting` and `lookback` say which touches and conversions count; see `Counting`.

    Returns one row per pair: from, to, transitions, share_out (0-1, of all
    transitions out of `from`). Out of "(start)" leave as many as there are
    journeys; into every touchpoint go as many as leave it.
    """
    ctes = journeys_sql(touchpoints, lookback=lookback, **counting)
    found = touchpoints.fetch(
        f'{ctes},\n{STEPS_SQL}\nSELECT "from", "to", SUM(journeys) AS transitions FROM steps GROUP BY "from", "to"'
    )
    found["transitions"] = found["transitions"].astype(int)
    found["share_out"] = found["transitions"] / found.groupby("from")["transitions"].transform("sum")
    return found.sort_values(["from", "transitions", "to"], ascending=[True, False, True], ignore_index=True)


def ends(transitions):
    """Where journeys end, from the result of `transitions`.

    Returns one row per touchpoint: touchpoint, passed (how often journeys came
    by, direct repeats once), ended (journeys that ended here without a
    conversion), rate (ended / passed) with low and high (Wilson, 95 %), converted (journeys that
    converted right after it), share (0-1, of all journeys that ended).
    """
    passed = transitions.groupby("from")["transitions"].sum()
    ended = transitions[transitions["to"] == "(end)"].set_index("from")["transitions"]
    converted = transitions[transitions["to"] == "(conversion)"].set_index("from")["transitions"]
    table = pd.DataFrame({"passed": passed, "ended": ended, "converted": converted}).drop("(start)", errors="ignore")
    table = table.fillna(0).astype(int).rename_axis("touchpoint").reset_index()
    table["rate"] = table["ended"] / table["passed"]
    table["low"], table["high"] = intervals.wilson(table["ended"], table["passed"])
    table["share"] = table["ended"] / max(table["ended"].sum(), 1)
    table = table.sort_values(["ended", "touchpoint"], ascending=[False, True], ignore_index=True)
    return table[["touchpoint", "passed", "ended", "rate", "low", "high", "converted", "share"]]
