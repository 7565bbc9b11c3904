"""How touchpoints follow each other, where journeys end, and the most frequent ones."""

import pandas as pd

from perfnb import intervals
from perfnb.errors import BadParameter
from perfnb.journey import quick
from perfnb.journey.unit import NO_TOUCH, Counting, stops_sql

_START, _CONVERSION, _END = "(start)", "(conversion)", "(end)"
_ON, _OTHER = "(goes on)", "(other)"
_DAY = 86_400
# A direct repeat of the touch before is no transition; but where it ends the journey, its row says so, by code 0.
_RUNS = """runs AS (SELECT u, ends, q, nth, COALESCE(before, 0) AS before, closes,
  CASE WHEN code IS NULL OR code = before THEN 0 ELSE code END AS code FROM stops
  WHERE before IS NULL OR code IS NULL OR code <> before OR closes = 1)"""


def frequent(touchpoints, *, lookback=None, top=10, depth=6, **counting):
    """The most frequent journeys; with "(other)" they add up to all journeys and conversions.

    `counting` and `lookback` say which touches and conversions count; see `Counting`. A
    path longer than `depth` touchpoints ends in "…".

    Returns one row per path: path ("a > b > c"), journeys, share (0-1, of all
    journeys), cumulative_share, converted (journeys), rate (converted /
    journeys) with low and high (Wilson, 95 %), length (touches in a journey, direct repeats
    too, mean), median_days (from the first touch to the conversion, or else to the last
    touch; of journeys with a touch), conversions, value, currency.
    """
    if depth < 1 or top < 1:
        raise BadParameter(f"depth {depth!r}, top {top!r}: expected 1 or more")
    walk = quick.walk(touchpoints, lookback=lookback, **counting)
    found = quick.paths(walk, top, depth) if walk else None
    if found is None:
        found = _paths(touchpoints, top, depth, lookback=lookback, **counting)
    names = [f"label_p_{k}" for k in range(1, depth + 1)]
    walked = found[names].to_numpy(object)
    table = pd.DataFrame(
        {
            "path": [
                "(other)" if place > top else " > ".join(map(str, row[: sum(map(pd.notna, row))])) + longer or NO_TOUCH
                for place, row, longer in zip(
                    found["place"], walked, found["longer"].map({0: "", 1: " > …"}), strict=True
                )
            ]
        }
    )
    for column in ("journeys", "converted", "conversions"):
        table[column] = found[column].astype(int)
    table.insert(2, "share", table["journeys"] / table["journeys"].sum())
    table.insert(3, "cumulative_share", table["share"].cumsum())
    table["rate"] = table["converted"] / table["journeys"]
    table["low"], table["high"] = intervals.wilson(table["converted"], table["journeys"])
    table["length"] = found["touches"].astype(float) / table["journeys"]
    table["median_days"] = _seconds(found["middle"]) / _DAY
    table["value"] = found["value"].astype(float)
    table["currency"] = touchpoints.currency("value")
    order = ["path", "journeys", "share", "cumulative_share", "converted", "rate", "low", "high"]
    return table[[*order, "length", "median_days", "conversions", "value", "currency"]]


def _paths(touchpoints, top, depth, **counting):
    """What `quick.paths` counts, on every engine."""
    names = [f"p_{k}" for k in range(1, depth + 1)]
    keys = ", ".join([*names, "longer"])
    frame = "PARTITION BY u, ends ORDER BY nth"
    whole = f"OVER ({frame} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
    later = "".join(f", LEAD(code, {k}, 0) OVER ({frame}) AS p_{k + 1}" for k in range(1, depth))
    labels = ", ".join(f"n_{name}.label AS label_{name}" for name in names)
    joins = " ".join(f"LEFT JOIN names AS n_{name} ON counted.{name} = n_{name}.code" for name in names)
    return touchpoints.fetch(
        f"{stops_sql(touchpoints, **counting)},\n{_RUNS},\n"
        f"ahead AS (SELECT u, ends, before, code AS p_1{later}, "
        f"CASE WHEN LEAD(code, {depth}, 0) OVER ({frame}) > 0 THEN 1 ELSE 0 END AS longer, "
        # The conversion is a stop too, but no touch.
        f"MAX(nth) {whole} - nth + CASE WHEN ends IS NULL THEN 1 ELSE 0 END AS touches, MAX(q) {whole} - q AS lasted "
        "FROM runs),\n"
        f"journeys AS (SELECT {keys}, touches, lasted, 1 AS times, COALESCE(c.n, 0) AS n, c.value AS value "
        "FROM ahead LEFT JOIN converted AS c ON ahead.u = c.u AND ahead.ends = c.t * 2 + 1 WHERE before = 0\n"
        f"UNION ALL SELECT {'0, ' * depth}0, 0, 0, n, n, value FROM nowhere),\n"
        f"sized AS (SELECT journeys.*, SUM(times) OVER (PARTITION BY {keys}) AS size FROM journeys),\n"
        f"stood AS (SELECT sized.*, DENSE_RANK() OVER (ORDER BY size DESC, {keys}) AS standing FROM sized),\n"
        f"shown AS (SELECT stood.*, CASE WHEN standing <= {top} THEN standing ELSE {top + 1} END AS place, "
        "CASE WHEN p_1 > 0 THEN 1 ELSE 0 END AS met FROM stood),\n"
        "timed AS (SELECT shown.*, SUM(met) OVER (PARTITION BY place) AS known, "
        "ROW_NUMBER() OVER (PARTITION BY place ORDER BY met DESC, lasted) AS nth FROM shown),\n"
        f"counted AS (SELECT place, {', '.join(f'MAX({name}) AS {name}' for name in [*names, 'longer'])}, "
        "SUM(times) AS journeys, SUM(CASE WHEN n > 0 THEN times ELSE 0 END) AS converted, SUM(n) AS conversions, "
        "CAST(SUM(value) AS DOUBLE) AS value, SUM(touches) AS touches, "
        "MAX(CASE WHEN known > 0 AND nth = (known + 1) // 2 THEN lasted END) AS middle FROM timed GROUP BY place)\n"
        f"SELECT counted.*, {labels} FROM counted {joins}"
    ).sort_values("place", ignore_index=True)


def transitions(touchpoints, *, lookback=None, **counting):
    """How often one touchpoint directly follows another, from "(start)" to "(conversion)" or "(end)".

    `counting` and `lookback` say which touches and conversions count; see `Counting`. A
    direct repeat is no transition: the way on begins at the last of them.

    Returns one row per pair: from, to, transitions, persons (who made it at least once;
    conversions of nobody known have none), share_out (0-1, of all transitions out of
    `from`), share_in (0-1, of all into `to`), median_seconds and q95_seconds (from the one to
    the other: as long at most in half, and in 95 %, of the transitions; null from "(start)" and
    to "(end)"). Out of "(start)" leave as many as there are journeys; into every touchpoint go
    as many as leave it.
    """
    walk = quick.walk(touchpoints, lookback=lookback, **counting)
    found = quick.hops(walk) if walk else None
    if found is None:
        found = _hops(touchpoints, lookback=lookback, **counting)
    found[["transitions", "persons", "ended"]] = found[["transitions", "persons", "ended"]].astype(int)
    # One journey of a person at most is without a conversion: as many persons as ends.
    over = found.groupby("goal", as_index=False)["ended"].sum().query("ended > 0")
    over = pd.DataFrame({"from": over["goal"], "to": _END, "transitions": over["ended"], "persons": over["ended"]})
    hops = found[found["origin"].isna() | (found["origin"] != found["goal"])]
    timed = hops["origin"].notna()
    hops = pd.DataFrame(
        {
            "from": hops["origin"].fillna(_START),
            "to": hops["goal"].fillna(_CONVERSION),
            "transitions": hops["transitions"],
            "persons": hops["persons"],
            "median_seconds": _seconds(hops["middle"]).where(timed),
            "q95_seconds": _seconds(hops["late"]).where(timed),
        }
    )
    keys = ["from", "to"]
    sums = {"transitions": "sum", "persons": "sum", "median_seconds": "max", "q95_seconds": "max"}
    table = pd.concat([hops, over], ignore_index=True).groupby(keys, as_index=False).agg(sums)
    for share, key in zip(("share_out", "share_in"), keys, strict=True):
        table[share] = table["transitions"] / table.groupby(key)["transitions"].transform("sum")
    table = table.sort_values(["from", "transitions", "to"], ascending=[True, False, True], ignore_index=True)
    return table[[*keys, "transitions", "persons", "share_out", "share_in", "median_seconds", "q95_seconds"]]


def _hops(touchpoints, **counting):
    """What `quick.hops` counts, on every engine."""
    pair = "PARTITION BY origin, goal"
    return touchpoints.fetch(
        f"{stops_sql(touchpoints, **counting)},\n"
        "hops AS (SELECT u, closes, COALESCE(before, 0) AS origin, COALESCE(code, 0) AS goal, "
        "COALESCE(q - before_q, 0) AS lag FROM stops),\n"
        f"timed AS (SELECT hops.*, ROW_NUMBER() OVER ({pair} ORDER BY lag) AS nth, "
        f"COUNT(*) OVER ({pair}) AS n FROM hops),\n"
        "counted AS (SELECT origin, goal, COUNT(*) AS transitions, COUNT(DISTINCT u) AS persons, "
        "SUM(closes) AS ended, MAX(CASE WHEN nth = (n + 1) // 2 THEN lag END) AS middle, "
        "MAX(CASE WHEN nth = (19 * n + 19) // 20 THEN lag END) AS late FROM timed GROUP BY origin, goal)\n"
        "SELECT a.label AS origin, b.label AS goal, transitions, persons, ended, middle, late FROM counted "
        "LEFT JOIN names AS a ON counted.origin = a.code LEFT JOIN names AS b ON counted.goal = b.code\n"
        "UNION ALL SELECT NULL, NULL, SUM(n), 0, 0, NULL, NULL FROM nowhere HAVING COUNT(*) > 0"
    )


def flows(touchpoints, *, steps=5, top=8, lookback=None, **counting):
    """Where journeys go from each of their first `steps` positions: the table behind a Sankey diagram.

    Direct repeats are one position, as in `transitions`. Touchpoints besides the `top` most
    met there are "(other)"; what walks on after the last position goes to "(goes on)".
    `counting` and `lookback` say which touches and conversions count; see `Counting`.

    Returns one row per position and pair: position (0: from "(start)"), from, to, journeys,
    coverage (0-1: how many of all transitions in the table neither leave nor reach "(other)"), definition.
    Out of "(start)" go all journeys; at each position as many leave a touchpoint as came to it.
    """
    if steps < 1 or top < 1:
        raise BadParameter(f"steps {steps!r}, top {top!r}: expected 1 or more")
    rule = Counting(lookback=lookback, **counting)
    converts = "CASE WHEN MOD(q, 2) <> 0 THEN 1 ELSE 0 END"
    found = touchpoints.fetch(
        f"{stops_sql(touchpoints, lookback=lookback, **counting)},\n{_RUNS},\n"
        f"positions AS (SELECT before, code, {converts} AS converts, closes, "
        "ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY nth) - 1 AS place FROM runs),\n"
        "counted AS (SELECT place, before, code, converts, COUNT(*) AS journeys, SUM(closes) AS ended FROM positions "
        f"WHERE place <= {steps} GROUP BY place, before, code, converts)\n"
        "SELECT place, a.label AS origin, b.label AS goal, converts, journeys, ended FROM counted "
        "LEFT JOIN names AS a ON counted.before = a.code LEFT JOIN names AS b ON counted.code = b.code\n"
        "UNION ALL SELECT 0, NULL, NULL, 1, SUM(n), 0 FROM nowhere HAVING COUNT(*) > 0"
    )
    counts = ["journeys", "ended", "place", "converts"]
    found[counts] = found[counts].astype(int)
    # A journey over without a conversion ends at its last touch, which may come to a touchpoint anew or be a repeat.
    last = found[(found["ended"] > 0) & found["goal"].notna() & (found["place"] < steps)]
    last = pd.DataFrame({"position": last["place"] + 1, "from": last["goal"], "to": _END, "journeys": last["ended"]})
    to = found["goal"].mask(found["goal"].notna() & (found["place"] == steps), _ON)
    hops = pd.DataFrame(
        {
            "position": found["place"],
            "from": found["origin"].fillna(_START),
            "to": to.fillna(found["converts"].map({0: _END, 1: _CONVERSION})),
            "journeys": found["journeys"],
        }
    )
    table = pd.concat([hops, last], ignore_index=True)
    met = table[~table["to"].isin([_CONVERSION, _END, _ON])].groupby("to")["journeys"].sum()
    kept = met.sort_index().sort_values(ascending=False, kind="stable").index[:top]
    kept = {*kept, _START, _CONVERSION, _END, _ON}
    for side in ("from", "to"):
        table[side] = table[side].where(table[side].isin(kept), _OTHER)
    table = table.groupby(["position", "from", "to"], as_index=False)["journeys"].sum()
    table = table.sort_values(["position", "journeys", "from", "to"], ascending=[True, False, True, True])
    named = (table["from"] != _OTHER) & (table["to"] != _OTHER)
    coverage = table.loc[named, "journeys"].sum() / max(table["journeys"].sum(), 1)
    return table.assign(coverage=coverage, definition=rule.definition).reset_index(drop=True)


def _seconds(ticks):
    return pd.to_numeric(ticks).astype(float) // 2 / 1_000_000


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
