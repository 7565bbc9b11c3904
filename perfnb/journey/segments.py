"""Segments of persons by what they do and what they are worth, named by what sets them apart."""

import numpy as np
import pandas as pd

from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter
from perfnb.journey.satisfaction import SMALL

FEATURES = ("touches", "touchpoints", "active_days", "days_since", "orders", "value")

_DAY = 86_400_000_000
_STARTS = 10
_ROUNDS = 100
_HALVES = 10  # samples for the stability
_SAMPLE = 20_000  # persons of each at most
_LONG = 3  # mean gaps; of those who come at random, and as ever, one in twenty is quiet for longer
_CLEAR = 0.3  # effect sizes below this name nothing
_SAID = {  # of a feature that is low, and high
    "touches": ("few touches", "many touches"),
    "touchpoints": ("few touchpoints", "many touchpoints"),
    "active_days": ("few active days", "many active days"),
    "days_since": ("seen lately", "quiet for long"),
    "orders": ("few orders", "many orders"),
    "value": ("low value", "high value"),
}


def segments(touchpoints, *, orders=None, k=4, seed=0, touchpoint="channel", conversion="order"):
    """Persons in `k` groups by behaviour and value, and how each differs from all.

    Seeded k-means (Lloyd 1982, starts after Arthur & Vassilvitskii 2007) on six features:
    touches (events but the `conversion`), touchpoints (different ones), active_days (days
    with an event, UTC), days_since (days since the last event, up to the end of the data),
    orders and value (of `orders` where given, of the conversions otherwise); each as log(1 +
    x), standardised; what is alike in everybody weighs nothing. The profile says which features
    set a segment apart most. A candidate for reactivation has ordered before and been quiet
    for longer than three times the mean gap between the own active days (of those who come
    at random and go on doing so, one in twenty); who has only one such day has no gap to
    hold it against. Segments always come out: `stability` says whether others of
    the same people would give the same ones. Only counts and means leave; means of segments
    under 30 persons are withheld.

    Returns one row per segment and feature, the largest segment first and what sets it
    apart most first: segment (1 …), profile, persons, share (0-1, of all), buyers (with an
    order), orders (of the segment), value, value_share (0-1), currency, reactivate
    (persons), gap_unknown (buyers with one active day), small_n, feature, mean_here, mean_all,
    effect_size (standard deviations, of the logarithms), explained (0-1, variance between
    segments of all), stability (-1 to 1, mean adjusted Rand index of ten random samples
    against this), unassigned (events without a person or a time), definition.
    """
    if not 1 <= k <= 12:
        raise BadParameter(f"k {k!r}: expected 1 to 12 segments")
    rows, unassigned = _persons(touchpoints, orders, touchpoint, conversion)
    weight = rows["persons"].to_numpy(float)
    if not len(rows):
        return pd.DataFrame(columns=_COLUMNS)
    raw = rows[list(FEATURES)].to_numpy(float)
    logs = np.log1p(np.maximum(raw, 0))
    centre = weight @ logs / weight.sum()
    spread = np.sqrt(weight @ (logs - centre) ** 2 / weight.sum())
    used = spread > 1e-9
    points = (logs - centre) / np.where(used, spread, np.inf)
    rng = np.random.default_rng(seed)
    centres = _k_means(points, weight, k, rng, starts=_STARTS)
    centres, found = _by_size(points, weight, centres)
    total = weight @ (points**2).sum(axis=1)
    within = weight @ ((points - centres[found]) ** 2).sum(axis=1)
    facts = {
        "explained": 1 - within / total if total > 0 else np.nan,
        "stability": _stability(points, weight, found, len(centres), rng),
        "unassigned": unassigned,
        "currency": (touchpoints if orders is None or orders.absent else orders).currency("value"),
        "definition": f"k-means of {len(centres)} segments, seed {seed}, conversion event “{conversion}”",
    }
    effects = np.zeros((len(centres), len(FEATURES)))
    table, every = [], weight.sum()
    all_value = (weight * rows["value"]).sum()
    for segment in range(len(centres)):
        inside = np.where(found == segment, weight, 0.0)
        size = inside.sum()
        effects[segment] = inside @ points / size
        worth = (inside * rows["value"]).sum()
        one = {
            "segment": segment + 1,
            "persons": int(size),
            "share": size / every,
            "buyers": int(inside[rows["orders"] > 0].sum()),
            "orders": int(inside @ rows["orders"]),
            "value": worth,
            "value_share": worth / all_value if all_value else np.nan,
            "reactivate": int(inside @ rows["reactivate"]),
            "gap_unknown": int(inside @ rows["gap_unknown"]),
            "small_n": size < SMALL,
        }
        for place in np.argsort(-np.abs(effects[segment]), kind="stable"):
            feature = {
                "feature": FEATURES[place],
                "mean_here": inside @ raw[:, place] / size,
                "mean_all": weight @ raw[:, place] / every,
                "effect_size": effects[segment, place],
            }
            table.append({**one, **feature})
    table = pd.DataFrame(table).assign(**facts)
    table["profile"] = table["segment"].map(dict(enumerate(_named(effects), start=1)))
    table.loc[table["small_n"], ["mean_here", "effect_size"]] = np.nan
    return table[_COLUMNS]


def personas(segments):
    """The segments in a line each, from the result of `segments`.

    Returns one row per segment: segment, profile, persons, share, buyers, buyer_rate (buyers /
    persons), orders, value, value_share, value_per_person, currency, reactivate,
    reactivate_rate (reactivate / buyers), gap_unknown, small_n, and the mean of every
    feature, as mean_touches, mean_days_since …, stability (of all segments), definition.
    """
    keys = ["segment", "profile", "persons", "share", "buyers", "orders", "value", "value_share", "currency"]
    keys += ["reactivate", "gap_unknown", "small_n"]
    table = segments.drop_duplicates("segment")[keys].reset_index(drop=True)
    table.insert(5, "buyer_rate", table["buyers"] / table["persons"])
    table.insert(9, "value_per_person", table["value"] / table["persons"])
    at = list(table).index("reactivate") + 1
    table.insert(at, "reactivate_rate", table["reactivate"] / table["buyers"].where(table["buyers"] > 0))
    means = segments.pivot(index="segment", columns="feature", values="mean_here")
    means = means[[name for name in FEATURES if name in means]].add_prefix("mean_")
    table = table.merge(means, how="left", left_on="segment", right_index=True)
    said = {name: segments[name].iloc[0] if len(segments) else None for name in ("stability", "definition")}
    return table.assign(**said)


_COLUMNS = ["segment", "profile", "persons", "share", "buyers", "orders", "value", "value_share", "currency"]
_COLUMNS += ["reactivate", "gap_unknown", "small_n", "feature", "mean_here", "mean_all", "effect_size"]
_COLUMNS += ["explained", "stability", "unassigned", "definition"]


def _persons(touchpoints, orders, touchpoint, conversion):
    """How many persons have the same figures, in a fixed order; and how many events belong to nobody."""
    touchpoints.require("user_id", "timestamp", "event", touchpoint)
    own = orders is None or orders.absent
    hit = f"CASE WHEN event = {literal(conversion)} THEN 1 ELSE 0 END"
    amount = touchpoints.column("value", "DECIMAL(18, 6)")
    events = (
        f"SELECT user_id AS u, {touchpoints.micros()} AS t, 1 - {hit} AS touch, {hit if own else '0'} AS orders, "
        f"CASE WHEN {hit} = 1 THEN {amount if own else 'NULL'} END AS value, {label(identifier(touchpoint))} AS label "
        "FROM {table} AS source"
    )
    if not own:
        if orders.engine is not touchpoints.engine:
            raise BadParameter("touchpoints and orders are of two engines: take both from one workspace")
        orders.require("user_id", "timestamp")
        events += (
            f" UNION ALL SELECT user_id, {orders.micros()}, 0, 1, {orders.column('value', 'DECIMAL(18, 6)')}, NULL "
            f"FROM ({orders.sql}) AS given"
        )
    found = touchpoints.fetch(
        f"WITH events AS ({events}),\n"
        "person AS (SELECT u, SUM(touch) AS touches, "
        "COUNT(DISTINCT CASE WHEN touch = 1 THEN label END) AS touchpoints, "
        f"COUNT(DISTINCT FLOOR(t / {_DAY}.0)) AS active_days, MIN(t) AS first, MAX(t) AS last, SUM(orders) AS orders, "
        "SUM(value) AS value FROM events WHERE u IS NOT NULL AND t IS NOT NULL GROUP BY u),\n"
        "dated AS (SELECT person.*, MAX(last) OVER () - last AS quiet FROM person),\n"
        f"figures AS (SELECT touches, touchpoints, active_days, CAST(FLOOR(quiet / {_DAY}.0) AS BIGINT) AS days_since, "
        "orders, CAST(COALESCE(value, 0) AS DOUBLE) AS value, "
        f"CASE WHEN orders > 0 AND active_days > 1 AND quiet * (active_days - 1) > {_LONG} * (last - first) "
        "THEN 1 ELSE 0 END AS reactivate, "
        "CASE WHEN orders > 0 AND active_days = 1 THEN 1 ELSE 0 END AS gap_unknown FROM dated)\n"
        f"SELECT {', '.join(FEATURES)}, reactivate, gap_unknown, COUNT(*) AS persons FROM figures "
        f"GROUP BY {', '.join(FEATURES)}, reactivate, gap_unknown\n"
        "UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, COUNT(*) FROM events "
        "WHERE u IS NULL OR t IS NULL"
    )
    nobody = found["touches"].isna()
    rows = found[~nobody].astype(float)
    # Sorted, so that chance in the seeded starts does not hang on the order in which the engine gives rows.
    return rows.sort_values(list(rows.columns), ignore_index=True), int(found.loc[nobody, "persons"].sum())


def _k_means(points, weight, k, rng, *, starts):
    """The centres with the least squared distance to the points, of several starts."""
    best, least = None, np.inf
    for _ in range(starts):
        centres = _spread_out(points, weight, k, rng)
        before = None
        for _ in range(_ROUNDS):
            found = _nearest(points, centres)
            if before is not None and (found == before).all():
                break
            before = found
            inside = np.bincount(found, weight, minlength=len(centres))
            sums = np.stack([np.bincount(found, weight * column, minlength=len(centres)) for column in points.T], 1)
            centres = np.where(inside[:, None] > 0, sums / np.maximum(inside, 1)[:, None], centres)
        distance = weight @ ((points - centres[found]) ** 2).sum(axis=1)
        if distance < least - 1e-9:
            best, least = centres, distance
    return best


def _spread_out(points, weight, k, rng):
    """Points to start from: each next one with a chance that grows with its distance to those chosen."""
    centres = points[[_drawn(weight, rng)]]
    distance = ((points - centres[0]) ** 2).sum(axis=1)
    while len(centres) < k and (weight @ distance) > 0:
        centres = np.vstack([centres, points[_drawn(weight * distance, rng)]])
        distance = np.minimum(distance, ((points - centres[-1]) ** 2).sum(axis=1))
    return centres


def _drawn(weight, rng):
    return int(min(np.searchsorted(np.cumsum(weight), rng.random() * weight.sum(), side="right"), len(weight) - 1))


def _nearest(points, centres):
    return (-2 * points @ centres.T + (centres**2).sum(axis=1)).argmin(axis=1)


def _by_size(points, weight, centres):
    """The centres that anyone is near, the largest segment first, and each point's."""
    size = np.bincount(_nearest(points, centres), weight, minlength=len(centres))
    order = [one for one in np.argsort(-size, kind="stable") if size[one] > 0]
    return centres[order], _nearest(points, centres[order])


def _stability(points, weight, found, k, rng):
    """Mean adjusted Rand index (Hubert & Arabie 1985) of the segments of random samples against these."""
    if k < 2:
        return np.nan
    share = weight / weight.sum()
    size = int(min(weight.sum() // 2, _SAMPLE))
    if size < k:
        return np.nan
    agreement = []
    for _ in range(_HALVES):
        drawn = rng.multinomial(size, share).astype(float)
        there = drawn > 0
        centres = _k_means(points[there], drawn[there], k, rng, starts=3)
        agreement.append(_rand(found, _nearest(points, centres), weight))
    return float(np.mean(agreement))


def _rand(one, other, weight):
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), weight)

    def pairs(counts):
        return (counts * (counts - 1) / 2).sum()

    rows, columns, both = pairs(table.sum(axis=1)), pairs(table.sum(axis=0)), pairs(table)
    chance = rows * columns / pairs(np.array([weight.sum()]))
    most = (rows + columns) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _named(effects):
    """What sets each segment apart most, in words: two features, more where segments would be called the same."""
    said = []
    for effect in effects:
        most = np.argsort(-np.abs(effect), kind="stable")
        clear = [one for one in most if abs(effect[one]) >= _CLEAR]
        said.append([_SAID[FEATURES[one]][int(effect[one] > 0)] for one in clear] or ["average"])
    counts = [2] * len(said)
    for _ in FEATURES:
        names = [", ".join(words[:count]) for words, count in zip(said, counts, strict=True)]
        counts = [count + (names.count(name) > 1) for name, count in zip(names, counts, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]
