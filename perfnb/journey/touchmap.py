"""The map of the journey: what happens at each touchpoint in each stage, what it costs, and what persons feel there."""

import itertools
import math

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter, MissingColumns
from perfnb.journey.satisfaction import SMALL, scale_ends
from perfnb.journey.stages import STAGES, rank_sql
from perfnb.journey.unit import journeys_sql

CYCLE = ("awareness", "consideration", "purchase", "delivery", "use", "service", "loyalty")
OUTCOMES = ("conversion", "nps")

_HOUR = 3_600_000_000
_LEVEL = 0.05
_MOST = 12  # touchpoints whose importance is worked out: all their subsets are
_NAMES = {0: "(no stage)"} | dict(enumerate(STAGES, start=1))


def map(
    touchpoints,
    *,
    campaigns=None,
    surveys=None,
    stages=None,
    touchpoint="channel",
    conversion="order",
    scale="satisfaction",
    outcome="conversion",
    draws=200,
    seed=0,
):
    """Stage by touchpoint: who is reached, who goes on, what it costs, what they feel, what to look at first.

    Counts are of persons, as in `stages` and `contacts`. Who has an event of a later stage
    at the first contact or after it has progressed; in the last stage, who has the
    `conversion`. A loop is a contact that comes back to the same stage and touchpoint from
    another. `campaigns` costs stand once, at the earliest stage of the touchpoint, and are
    not spread over stages; cost of what nobody met has a row of its own. An answer of
    `surveys` belongs to the touchpoint that it names, in all its stages: mean per person,
    then over persons. Importance is the touchpoint's share of the variance of the `outcome`
    that the scores explain (Shapley value of R² over touchpoints: Lindeman, Merenda & Gold
    1980; the twelve with most answers; a missing score counts as the mean of its
    touchpoint). The outcome is whether a person converts after the first answer, or the
    recommendation ("nps"). Priority = share × dissatisfaction × importance, dissatisfaction
    = (best score - mean) / (best - worst score). Intervals of importance and priority are
    from `draws` samples of the persons who answered. Means, rates and what follows from them
    are withheld under 30 persons. Those who answer differ from those who do not, and later
    stages hold only those who stayed.

    Returns one row per stage and touchpoint: stage, touchpoint, units (persons), share
    (0-1, of all persons), contacts, median_hours (from the first contact to progress, of
    those who progressed), progressed, rate (progressed / units) with low and high (Wilson,
    95 %), dropped, drop_off (dropped / units) with drop_low and drop_high, loops (times),
    loop_persons, cost, cost_per_progressed, currency, small_units (units < 30), answers,
    n (persons who answered), response_rate (n / units; null where more answered than were
    seen), mean with mean_low and mean_high (t, 95 %), small_n (n < 30), importance (0-1)
    with importance_low and importance_high, explained (R², 0-1, of all scores together) with
    explained_p (F test), priority with priority_low and priority_high, rank (1 first: one
    more than there are rows whose priority lies wholly above, so equal where intervals do
    not separate; null where the scores explain nothing beyond chance, explained_p 5 % or
    more), definition.
    """
    scale_ends(scale)
    if outcome not in OUTCOMES:
        raise BadParameter(f"outcome {outcome!r}: expected {' or '.join(OUTCOMES)}")
    found = touchpoints.fetch(_stage_counts(touchpoints, stages, touchpoint, conversion))
    table = found.rename(columns={"s": "place", "label": "touchpoint"})
    for name in ("place", "units", "contacts", "progressed", "loops", "loop_persons", "persons"):
        table[name] = pd.to_numeric(table[name]).astype(int)
    persons = int(table["persons"].max()) if len(table) else 0
    table, currency = _with_cost(table, campaigns, touchpoint)
    answered = _answers(surveys, scale)
    felt = _felt(answered, scale)
    known = set(table["touchpoint"])
    # What persons speak of and no event has is named, not dropped.
    others = felt.loc[~felt["touchpoint"].isin(known), ["touchpoint"]].assign(place=0)
    table = pd.concat([table, others], ignore_index=True)
    counts = ["units", "contacts", "progressed", "loops", "loop_persons"]
    table[counts] = table[counts].fillna(0).astype(int)
    table["share"] = table["units"] / persons if persons else np.nan
    table["small_units"] = table["units"] < SMALL
    staged = table["place"] > 0
    table["dropped"] = (table["units"] - table["progressed"]).where(staged)
    units = table["units"].where(staged & ~table["small_units"])
    table["rate"] = table["progressed"] / units
    table["low"], table["high"] = intervals.wilson(table["progressed"], units)
    table["drop_off"], table["drop_low"], table["drop_high"] = 1 - table["rate"], 1 - table["high"], 1 - table["low"]
    enough = staged & (table["progressed"] >= SMALL)
    table["median_hours"] = (pd.to_numeric(table["middle"]).astype(float) / _HOUR).where(enough)
    table["cost_per_progressed"] = table["cost"] / table["progressed"].where(table["progressed"] > 0)
    table["progressed"] = table["progressed"].where(staged).astype("Int64")
    table["dropped"] = table["dropped"].astype("Int64")
    table["currency"] = currency
    table = table.merge(felt, how="left", on="touchpoint")
    table[["answers", "n"]] = table[["answers", "n"]].fillna(0).astype(int)
    table["small_n"] = table["n"] < SMALL
    table["response_rate"] = table["n"] / table["units"].where((table["units"] > 0) & (table["n"] <= table["units"]))
    outcomes = _outcomes(touchpoints, surveys, scale, outcome, conversion) if len(answered) else None
    drawn = _importance(answered, outcomes, felt, scale, draws, seed)
    table = table.merge(drawn, how="left", on="touchpoint")
    for end in ("", "_low", "_high"):
        table[f"priority{end}"] = table["share"] * table[f"weight{end}"]
    above = (table["priority_low"].to_numpy()[None, :] > table["priority_high"].to_numpy()[:, None]).sum(axis=1)
    ranked = table["priority"].notna() & (table["explained_p"] < _LEVEL)
    table["rank"] = pd.Series(above + 1, table.index, dtype="Int64").where(ranked)
    table["stage"] = table["place"].map(_NAMES)
    by = "events" if stages else "the column stage"
    table["definition"] = f"persons, stages by {by}, conversion event “{conversion}”, outcome {outcome}"
    table["later"] = table["place"].where(table["place"] > 0, len(STAGES) + 1)
    table = table.sort_values(["later", "units", "touchpoint"], ascending=[True, False, True], ignore_index=True)
    reach = ["stage", "touchpoint", "units", "share", "contacts", "median_hours", "progressed", "rate", "low", "high"]
    lost = ["dropped", "drop_off", "drop_low", "drop_high", "loops", "loop_persons"]
    money = ["cost", "cost_per_progressed", "currency", "small_units"]
    feel = ["answers", "n", "response_rate", "mean", "mean_low", "mean_high", "small_n"]
    look = [f"{name}{end}" for name in ("importance", "priority") for end in ("", "_low", "_high")]
    look[3:3] = ["explained", "explained_p"]
    return table[[*reach, *lost, *money, *feel, *look, "rank", "definition"]]


def emotion(touchpoints, *, surveys, stages=None, touchpoint="event", scale="satisfaction"):
    """The emotion curve: mean satisfaction along the journey, and where it falls.

    Touchpoints stand in the order of the journey: by the earliest stage in which they
    occur, then by how many other touchpoints persons have met when they first meet it.
    Touchpoints under 30 persons are counted, their means withheld and skipped over; the
    change is from the last one shown. Persons who answered at both are paired in its
    variance. "falls" where the change is below 0 with p, adjusted after Benjamini &
    Hochberg (1995) over all changes, under 5 %; likewise "rises". The peak (Kahneman et
    al. 1993) is the touchpoint furthest from the mean over touchpoints, where its interval
    excludes that mean; there may be none.

    Returns one row per touchpoint: position (1 …), stage, touchpoint, scale, answers, n
    (persons), mean with low and high (t, 95 %), small_n, change (mean less that of the one
    before) with change_low and change_high (95 %), p, p_adjusted, move (falls, rises,
    within noise, or null for the first), peak, journey_mean (mean of the means shown).
    """
    scale_ends(scale)
    answered = _answers(surveys, scale)
    felt = _felt(answered, scale).rename(columns={"mean_low": "low", "mean_high": "high"})
    order = touchpoints.fetch(_order(touchpoints, stages, touchpoint))
    table = felt.merge(order.rename(columns={"label": "touchpoint"}), how="left", on="touchpoint")
    table["s"] = pd.to_numeric(table["s"]).fillna(0).astype(int)
    table["later"] = table["s"].where(table["s"] > 0, len(STAGES) + 1)
    table = table.sort_values(["later", "met", "touchpoint"], ignore_index=True)
    table["stage"] = table["s"].map(_NAMES)
    table["position"] = range(1, len(table) + 1)
    table["scale"] = scale
    wide = answered.pivot(index="person", columns="touchpoint", values="score")
    changes, last = [], None
    for row in table.itertuples():
        if row.small_n:
            changes.append((np.nan,) * 4)
            continue
        changes.append((np.nan,) * 4 if last is None else _change(wide[last], wide[row.touchpoint]))
        last = row.touchpoint
    table[["change", "change_low", "change_high", "p"]] = np.array(changes, float).reshape(len(table), 4)
    table["p_adjusted"] = intervals.adjusted(table["p"])
    moves = np.where(table["p_adjusted"] >= _LEVEL, "within_noise", np.where(table["change"] < 0, "falls", "rises"))
    table["move"] = pd.Series(moves, table.index, dtype=object).where(table["p"].notna(), None)
    shown = table[~table["small_n"]]
    mean = shown["mean"].mean()
    apart = shown[(shown["low"] > mean) | (shown["high"] < mean)]
    table["peak"] = table.index == ((apart["mean"] - mean).abs().idxmax() if len(apart) else -1)
    table["journey_mean"] = mean
    columns = ["position", "stage", "touchpoint", "scale", "answers", "n", "mean", "low", "high", "small_n"]
    more = ["change", "change_low", "change_high", "p", "p_adjusted", "move", "peak", "journey_mean"]
    return table[[*columns, *more]]


def peak_end(touchpoints, *, surveys, stages=None, touchpoint="event", scale="satisfaction", **counting):
    """What is remembered: the peak and the end of the emotion curve beside its plain mean.

    Kahneman's rule of single memories (Redelmeier & Kahneman 1996), applied to a group. The
    end is the mean of the last touches of journeys, before the conversion or before they
    are over, weighted by journeys. `counting` says what a journey is; see `Counting`.

    Returns one row: peak_touchpoint (null: no peak), peak_mean, end_mean (mean of the ends),
    journeys (that end where something is known), of_journeys (all with a touch), peak_end
    ((peak_mean + end_mean) / 2), journey_mean (mean of the touchpoints' means), difference (peak_end -
    journey_mean).
    """
    curve = emotion(touchpoints, surveys=surveys, stages=stages, touchpoint=touchpoint, scale=scale)
    means = curve[~curve["small_n"]].set_index("touchpoint")["mean"]
    found = touchpoints.fetch(
        f"{journeys_sql(touchpoints, **{'lookback': None, 'touchpoint': touchpoint, **counting})},\n"
        "lasts AS (SELECT label, ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY place DESC) AS nth FROM merged)\n"
        "SELECT label, COUNT(*) AS n FROM lasts WHERE nth = 1 GROUP BY label"
    )
    mean = found["label"].map(means)
    known = found.loc[mean.notna(), "n"].sum()
    peak = curve[curve["peak"]]
    row = {
        "peak_touchpoint": peak["touchpoint"].iloc[0] if len(peak) else None,
        "peak_mean": peak["mean"].iloc[0] if len(peak) else np.nan,
        "end_mean": (mean * found["n"]).sum() / known if known else np.nan,
        "journeys": int(known),
        "of_journeys": int(found["n"].sum()),
    }
    row["peak_end"] = (row["peak_mean"] + row["end_mean"]) / 2
    row["journey_mean"] = curve["journey_mean"].iloc[0] if len(curve) else np.nan
    row["difference"] = row["peak_end"] - row["journey_mean"]
    return pd.DataFrame([row])


def compare_cycle(map, *, plan, cycle=CYCLE):
    """Touchpoints as planned against touchpoints as met, along the seven steps of the customer-experience cycle.

    `map` is a result of `map`. `plan` has a row (a frame, or a list of dictionaries) per
    planned touchpoint: phase (of the `cycle`), touchpoint, and, where there is one, target
    (the score that it should reach) and target_rate (0-1, of persons who should go on).
    What is met but not planned stands in "(no phase)"; a phase for which nothing is planned
    has a row without a touchpoint: the gap shows.

    Returns one row per phase and touchpoint: phase, touchpoint, planned, met (persons were
    there), units, target, actual (mean) with actual_low and actual_high, gap (actual -
    target), status, target_rate, rate with low and high (of the stage where most persons
    met it), gap_rate, rate_status. A status is "met" (the whole interval reaches the target),
    "missed" (none of it does), "not_separable", "not_seen" (planned, nobody was there),
    "no_data" (withheld or not asked), "no_target" or "not_planned".
    """
    plan = pd.DataFrame(plan)
    for name in ("phase", "touchpoint"):
        if name not in plan:
            raise MissingColumns(f"plan: missing column {name}; found {', '.join(plan.columns) or 'none'}. Add it")
    strange = sorted(set(plan["phase"]) - set(cycle))
    if strange:
        raise BadParameter(f"plan: {strange[0]!r} is no phase; expected {', '.join(cycle)}")
    if plan.duplicated(["phase", "touchpoint"]).any():
        raise BadParameter("plan: a touchpoint stands twice in a phase. Keep one row of each")
    plan = plan.reindex(columns=["phase", "touchpoint", "target", "target_rate"])
    plan[["target", "target_rate"]] = plan[["target", "target_rate"]].astype(float)
    seen = map.sort_values("units", ascending=False, kind="stable").drop_duplicates("touchpoint")
    seen = seen[["touchpoint", "units", "mean", "mean_low", "mean_high", "rate", "low", "high"]]
    seen = seen.rename(columns={"mean": "actual", "mean_low": "actual_low", "mean_high": "actual_high"})
    table = plan.merge(seen, how="outer", on="touchpoint")
    table["planned"] = table["phase"].notna()
    table["phase"] = table["phase"].fillna("(no phase)")
    empty = pd.DataFrame({"phase": [phase for phase in cycle if phase not in set(plan["phase"])], "planned": False})
    table = pd.concat([table, empty], ignore_index=True)
    table["touchpoint"] = table["touchpoint"].astype(object).where(table["touchpoint"].notna(), None)
    table["units"] = table["units"].fillna(0).astype(int)
    table["met"], table["planned"] = table["units"] > 0, table["planned"].astype(bool)
    table["gap"] = table["actual"] - table["target"]
    table["gap_rate"] = table["rate"] - table["target_rate"]
    table["status"] = _status(table, "target", "actual_low", "actual_high")
    table["rate_status"] = _status(table, "target_rate", "low", "high")
    table["at"] = table["phase"].map({phase: place for place, phase in enumerate(cycle)}).fillna(len(cycle))
    table = table.sort_values(["at", "units", "touchpoint"], ascending=[True, False, True], ignore_index=True)
    columns = ["phase", "touchpoint", "planned", "met", "units", "target", "actual", "actual_low", "actual_high"]
    rates = ["target_rate", "rate", "low", "high", "gap_rate", "rate_status"]
    return table[[*columns, "gap", "status", *rates]]


def _status(table, target, low, high):
    """Whether an interval reaches its target."""
    choices = [
        (~table["planned"], "not_planned"),
        (~table["met"], "not_seen"),
        (table[target].isna(), "no_target"),
        (table[low].isna(), "no_data"),
        (table[low] >= table[target], "met"),
        (table[high] < table[target], "missed"),
    ]
    return np.select([found for found, _ in choices], [name for _, name in choices], "not_separable")


def _stage_counts(touchpoints, stages, touchpoint, conversion):
    """The statement of the counts by stage and touchpoint."""
    touchpoints.require("user_id", "timestamp", "event", touchpoint)
    # Later stages at the same instant count: below them in the first order, conversions below all in the second.
    later = ", ".join(
        f"MIN(CASE WHEN {found} THEN t END) OVER (PARTITION BY u ORDER BY t, {order}, label "
        f"ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_{k}"
        for k, found, order in ((1, "s >= 2", "s, hit"), (2, "s >= 3", "s, hit"), (3, "hit = 1", "hit, s"))
    )
    goes_on = "CASE s WHEN 1 THEN next_1 WHEN 2 THEN next_2 WHEN 3 THEN next_3 END"
    return (
        f"WITH staged AS (SELECT user_id AS u, {touchpoints.micros()} AS t, {rank_sql(touchpoints, stages)} AS s, "
        f"CASE WHEN event = {literal(conversion)} THEN 1 ELSE 0 END AS hit, "
        f"{label(identifier(touchpoint))} AS label FROM {{table}} AS source WHERE user_id IS NOT NULL),\n"
        # Events without a time are contacts too; they stand at the end and lead to nothing.
        f"timed AS (SELECT u, COALESCE(t, {2**62}) AS t, CASE WHEN t IS NULL THEN 0 ELSE 1 END AS known, s, hit, label "
        "FROM staged),\n"
        f"placed AS (SELECT timed.*, {later}, ROW_NUMBER() OVER (PARTITION BY u ORDER BY t, s, hit, label) AS place "
        "FROM timed),\n"
        "ahead AS (SELECT placed.*, LAG(s) OVER (PARTITION BY u ORDER BY place) AS last_s, "
        "LAG(label) OVER (PARTITION BY u ORDER BY place) AS last_label, "
        "ROW_NUMBER() OVER (PARTITION BY u, s, label ORDER BY place) AS nth FROM placed),\n"
        f"cells AS (SELECT u, s, label, COUNT(*) AS contacts, "
        f"MAX(CASE WHEN nth = 1 AND known = 1 AND {goes_on} < {2**62} THEN {goes_on} - t END) AS wait, "
        "SUM(CASE WHEN nth > 1 AND known = 1 AND (last_s <> s OR last_label <> label) THEN 1 ELSE 0 END) AS loops "
        "FROM ahead GROUP BY u, s, label),\n"
        "ranked AS (SELECT cells.*, ROW_NUMBER() OVER (PARTITION BY s, label, CASE WHEN wait IS NULL THEN 1 ELSE 0 END "
        "ORDER BY wait) AS by_wait, COUNT(wait) OVER (PARTITION BY s, label) AS waits, "
        "ROW_NUMBER() OVER (PARTITION BY u ORDER BY s, label) AS of_person FROM cells),\n"
        "counted AS (SELECT s, label, COUNT(*) AS units, SUM(contacts) AS contacts, COUNT(wait) AS progressed, "
        "MAX(CASE WHEN by_wait = (waits + 1) // 2 THEN wait END) AS middle, SUM(loops) AS loops, "
        "SUM(CASE WHEN loops > 0 THEN 1 ELSE 0 END) AS loop_persons, "
        "SUM(CASE WHEN of_person = 1 THEN 1 ELSE 0 END) AS firsts FROM ranked GROUP BY s, label)\n"
        "SELECT s, label, units, contacts, progressed, middle, loops, loop_persons, SUM(firsts) OVER () AS persons "
        "FROM counted"
    )


def _with_cost(table, campaigns, touchpoint):
    """The table with the cost of each touchpoint at its earliest stage, and the currency."""
    if campaigns is None or campaigns.absent or not campaigns.has("cost"):
        return table.assign(cost=np.nan), None
    campaigns.require(touchpoint)
    spent = campaigns.fetch(
        f"WITH spent AS (SELECT {label(identifier(touchpoint))} AS touchpoint, cost FROM {{table}} AS source "
        "WHERE cost IS NOT NULL)\n"
        "SELECT touchpoint, CAST(SUM(cost) AS DOUBLE) AS cost FROM spent GROUP BY touchpoint"
    )
    staged = table[table["place"] > 0].groupby("touchpoint")["place"].min()
    spent["place"] = spent["touchpoint"].map(staged).fillna(1).astype(int)
    return table.merge(spent, how="outer", on=["place", "touchpoint"]), campaigns.currency("cost")


def _answers(surveys, scale):
    """One row per person (a number of no meaning) and touchpoint: person, touchpoint, score (mean), answers."""
    if surveys is None or surveys.absent:
        return pd.DataFrame(columns=["person", "touchpoint", "score", "answers"])
    surveys.require("user_id", "touchpoint", "score", "scale")
    found = surveys.fetch(
        f"WITH answered AS (SELECT user_id AS u, {label('touchpoint')} AS touchpoint, score FROM {{table}} AS source "
        f"WHERE scale = {literal(scale)} AND score IS NOT NULL AND user_id IS NOT NULL)\n"
        "SELECT DENSE_RANK() OVER (ORDER BY u) AS person, touchpoint, CAST(SUM(score) AS DOUBLE) AS total, "
        "COUNT(*) AS answers FROM answered GROUP BY u, touchpoint"
    )
    found["score"] = found["total"] / found["answers"]
    return found.sort_values(["person", "touchpoint"], ignore_index=True)[["person", "touchpoint", "score", "answers"]]


def _felt(answered, scale):
    """Mean over persons by touchpoint, with what follows from it."""
    found = answered.groupby("touchpoint").agg(
        answers=("answers", "sum"), n=("score", "size"), mean=("score", "mean"), variance=("score", "var")
    )
    found = found.reset_index().astype({"answers": int, "n": int, "mean": float, "variance": float})
    found["mean_low"], found["mean_high"] = intervals.mean(found["mean"], found["variance"], found["n"])
    found["small_n"] = found["n"] < SMALL
    found.loc[found["small_n"], ["mean", "mean_low", "mean_high"]] = np.nan
    return found[["touchpoint", "answers", "n", "mean", "mean_low", "mean_high", "small_n"]]


def _outcomes(touchpoints, surveys, scale, outcome, conversion):
    """The outcome of each person of `_answers`: person, outcome."""
    if surveys.engine is not touchpoints.engine:
        raise BadParameter("touchpoints and surveys are of two engines: take both from one workspace")
    surveys.require(*(["timestamp"] if outcome == "conversion" else []))
    asked = f"scale = {literal(scale)} AND score IS NOT NULL AND user_id IS NOT NULL"
    then = surveys.micros() if outcome == "conversion" else "0"
    said = f"({surveys.sql}) AS given"
    if outcome == "conversion":
        known = (
            f"SELECT user_id AS who, MAX({touchpoints.micros()}) AS last FROM {{table}} AS source "
            f"WHERE event = {literal(conversion)} GROUP BY user_id"
        )
        found = "CASE WHEN k.last > a.first THEN 1.0 ELSE 0.0 END"
    else:
        known = (
            f"SELECT user_id AS who, CAST(SUM(score) AS DOUBLE) / COUNT(*) AS last FROM {said} "
            "WHERE scale = 'nps' AND score IS NOT NULL GROUP BY user_id"
        )
        found = "k.last"
    return touchpoints.fetch(
        f"WITH answered AS (SELECT user_id AS u, MIN({then}) AS first FROM {said} WHERE {asked} GROUP BY user_id),\n"
        "persons AS (SELECT u, first, ROW_NUMBER() OVER (ORDER BY u) AS person FROM answered),\n"
        f"known AS ({known})\n"
        f"SELECT a.person, CAST({found} AS DOUBLE) AS outcome FROM persons AS a LEFT JOIN known AS k ON a.u = k.who"
    )


def _importance(answered, outcomes, felt, scale, draws, seed):
    """Each touchpoint's share of what the scores explain of the outcome, and times dissatisfaction, by resampling."""
    columns = [f"{name}{end}" for name in ("importance", "weight") for end in ("", "_low", "_high")]
    columns = ["touchpoint", *columns, "explained", "explained_p"]
    chosen = felt[~felt["small_n"]].sort_values(["n", "touchpoint"], ascending=[False, True])["touchpoint"][:_MOST]
    nothing = pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[1:], float))
    if not len(chosen):
        return nothing
    wide = answered[answered["touchpoint"].isin(set(chosen))].pivot(
        index="person", columns="touchpoint", values="score"
    )
    y = outcomes.set_index("person")["outcome"].reindex(wide.index).to_numpy(float)
    names, size, known = list(wide.columns), len(wide), int(np.isfinite(y).sum())
    if known < SMALL:
        return nothing
    scores = wide.to_numpy(float)
    rng = np.random.default_rng(seed)
    weights = [np.ones(size), *(np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(draws))]
    answers, moments = zip(*(_moments(scores, y, weight) for weight in weights), strict=True)
    values, whole = _shapley_of_r2(*(np.stack(part) for part in zip(*moments, strict=True)))
    worst, best = scale_ends(scale)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(whole[:, None] > 0, values / whole[:, None], np.nan)
    found = {"touchpoint": names}
    for name, drawn in (("importance", share), ("weight", share * (best - np.stack(answers)) / (best - worst))):
        found[name] = drawn[0]
        limits = np.full((2, len(names)), np.nan)
        if np.isfinite(drawn[1:]).any(axis=0).all():
            limits = np.nanquantile(drawn[1:], [0.025, 0.975], axis=0)
        found[f"{name}_low"], found[f"{name}_high"] = limits
    return pd.DataFrame(found).assign(explained=whole[0], explained_p=_p_of_r2(whole[0], len(names), known))[columns]


def _moments(scores, y, weight):
    """The mean score of each touchpoint; sums of squares and products of scores and outcome around their means."""
    there = np.isfinite(scores)
    filled = np.where(there, scores, 0.0)
    answers = weight @ filled, weight @ there
    mean = np.divide(*answers, out=np.full(scores.shape[1], np.nan), where=answers[1] > 0)
    # A missing score stands at the mean of its touchpoint: it says nothing.
    weight = np.where(np.isfinite(y), weight, 0.0)
    of = weight @ there
    own = np.divide(weight @ filled, of, out=np.zeros(len(of)), where=of > 0)
    centred = np.where(there, filled - own, 0.0)
    outcome = np.nan_to_num(y)
    outcome = outcome - (weight @ outcome) / weight.sum()
    weighed = centred * weight[:, None]
    return mean, (weighed.T @ centred, weighed.T @ outcome, weight @ outcome**2)


def _shapley_of_r2(squares, products, total):
    """Shapley values of R² for each draw and touchpoint, and R² of all: from all subsets of touchpoints."""
    draws, k = products.shape
    diagonal = np.einsum("dii->di", squares).copy()
    squares = squares.copy()
    # Touchpoints that say the same, or the same of everybody, must not make it insoluble.
    np.einsum("dii->di", squares)[...] = np.where(diagonal > 0, diagonal * (1 + 1e-9), 1.0)
    r2 = np.zeros((draws, 2**k))
    for size in range(1, k + 1):
        subsets = np.array(list(itertools.combinations(range(k), size)))
        part = products[:, subsets]
        inner = squares[:, subsets[:, :, None], subsets[:, None, :]]
        r2[:, (1 << subsets).sum(axis=1)] = (np.linalg.solve(inner, part[..., None])[..., 0] * part).sum(axis=-1)
    r2 = np.divide(r2, total[:, None], out=np.zeros_like(r2), where=total[:, None] > 0)
    masks = np.arange(2**k)
    sizes = np.array([mask.bit_count() for mask in masks.tolist()])
    shares = np.array([1 / (k * math.comb(k - 1, size)) for size in range(k)])
    values = np.empty((draws, k))
    for one in range(k):
        without = masks[(masks >> one) & 1 == 0]
        values[:, one] = (r2[:, without | (1 << one)] - r2[:, without]) @ shares[sizes[without]]
    return values, r2[:, -1]


def _p_of_r2(r2, k, n):
    from scipy.stats import f

    if n <= k + 1 or not r2 < 1:
        return np.nan if n <= k + 1 else 0.0
    return float(f.sf(r2 / k / ((1 - r2) / (n - k - 1)), k, n - k - 1))


def _order(touchpoints, stages, touchpoint):
    """The statement of where touchpoints stand in the journey: label, s (earliest stage), met (mean place)."""
    touchpoints.require("user_id", "timestamp", "event", touchpoint)
    return (
        f"WITH staged AS (SELECT user_id AS u, {touchpoints.micros()} AS t, {rank_sql(touchpoints, stages)} AS s, "
        f"{label(identifier(touchpoint))} AS label FROM {{table}} AS source "
        'WHERE user_id IS NOT NULL AND "timestamp" IS NOT NULL),\n'
        "firsts AS (SELECT u, label, MIN(t) AS t, MIN(CASE WHEN s > 0 THEN s ELSE 4 END) AS s FROM staged "
        "GROUP BY u, label),\n"
        "ranked AS (SELECT firsts.*, ROW_NUMBER() OVER (PARTITION BY u ORDER BY t, s, label) AS nth FROM firsts)\n"
        "SELECT label, CASE WHEN MIN(s) < 4 THEN MIN(s) ELSE 0 END AS s, "
        "CAST(SUM(nth) AS DOUBLE) / COUNT(*) AS met FROM ranked GROUP BY label"
    )


def _change(before, after):
    """Difference of two means over persons with its limits and p, those who answered at both paired."""
    from scipy.stats import t

    both = before.notna() & after.notna()
    shared = int(both.sum())
    covariance = np.cov(before[both], after[both])[0, 1] if shared > 1 else 0.0
    counts = before.count(), after.count()
    variance = sum(part.var() / n for part, n in zip((before, after), counts, strict=True))
    error = np.sqrt(max(variance - 2 * covariance * shared / (counts[0] * counts[1]), 0.0))
    change, degrees = after.mean() - before.mean(), min(counts) - 1
    half = intervals.t(degrees) * error
    p = 2 * t.sf(abs(change) / error, degrees) if error > 0 else float(change == 0)
    return change, change - half, change + half, p
