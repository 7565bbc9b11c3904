"""Rule models: credit by a touch's place and time in its path."""

import math

import numpy as np
import pandas as pd

from perfnb import journey
from perfnb.attribution import noise
from perfnb.attribution.paths import GROUPS, coded, group_of
from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter
from perfnb.period import half_life_of

MODELS = ("first", "last", "last_non_direct", "linear", "time_decay", "position")
RULES = (*MODELS, "w_shaped", "own")
OF_PATHS = tuple(model for model in RULES if model not in ("time_decay", "w_shaped"))  # those that need no times
_W_SHAPED = 0.3, 0.1  # of the first, the lead and the last touch each; of all others
_DAY = 86_400_000_000  # microseconds


def rules(
    source,
    *,
    models=None,
    by=(),
    half_life="7 days",
    position=(0.4, 0.2, 0.4),
    lead="lead",
    weights=None,
    intervals=True,
    **counting,
):
    """Credit by rules, in one pass over the touches of those who converted.

    `source` is a touchpoints Table, or a table of paths, which knows no times and no
    `by`. Without `models`, the first six of these that it can tell:

    first, last         all to the first or the last touch
    last_non_direct     all to the last touch that is not `direct_channel`; to the last where all are
    linear              the same to each
    time_decay          in proportion to 2^(-time before the conversion / `half_life`)
    position            `position`: shares of the first, of all between them, and of the last (two
                        touches share as the ends do; one has all)
    w_shaped            30 % each to the first, to the last before or at the event `lead`, and to the
                        last, 10 % to the others; roles that fall together add up, and where a role
                        or the others are missing, the rest shares in proportion
    own                 `weights` from the conversion backwards, as [0.6, 0.3, 0.1]: none beyond
                        them, in proportion where a path is shorter

    Every touch inside the look-back counts, repeats too; touches at the same moment
    stand in the order of their labels. `counting` says which touches and conversions
    count: see `journey.Counting`. `by` are further columns of a touch, as ["campaign"]
    ("date": its day, UTC). Limits are 95 %, by a jack-knife over groups of
    persons, or over the journeys of a table of paths.

    Returns one row per model and touchpoint (and value of `by`): model, channel (the
    touchpoint), credit (conversions) with low and high, share (0-1) with share_low and
    share_high, value with value_low and value_high, currency, definition. Under each model credit
    and value add up to the conversions in the events.
    """
    of_paths = isinstance(source, pd.DataFrame)
    known = OF_PATHS if of_paths else RULES
    models = models or [model for model in MODELS if model in known]
    wrong = [model for model in models if model not in known]
    if wrong or isinstance(models, str):
        kept = " (a table of paths holds no times)" if of_paths else ""
        raise BadParameter(f"models {models!r}: expected a list of some of {', '.join(known)}{kept}")
    if isinstance(by, str):
        raise BadParameter(f"by {by!r}: expected a list of columns, as [{by!r}]")
    half = half_life_of(half_life).total_seconds() * 1_000_000
    if "own" in models and weights is None:
        raise BadParameter("weights: the model own needs them, from the conversion backwards, as [0.6, 0.3, 0.1]")
    if of_paths:
        if by:
            raise BadParameter(f"by {list(by)!r}: a table of paths has no such columns; count from touchpoints")
        direct = journey.Counting(**counting).direct_channel
        return noise.tables(list(_of_paths(source, models, direct, _shares(position), _own(weights), intervals)))
    shares = _weights(position, weights)
    shares = {model: shares[model] for model in models}
    sql = _sql(source, shares, by=by, half=half, lead=lead, grouped=intervals, counting=counting)
    found = source.fetch(sql)
    table = pd.concat(_tables(found, models, list(by), intervals), ignore_index=True)
    if found[[f"value_{model}" for model in models]].isna().all(axis=None):
        table[["value", "value_low", "value_high"]] = np.nan
    table["currency"], table["definition"] = source.currency("value"), journey.Counting(**counting).definition
    return table


def _of_paths(source, models, direct, position, own, intervals):
    """The result of every model, from a table of paths: only those that convert are read."""
    paths = coded(source, grouped=False, converted=True)
    row, length = paths.row, paths.length[paths.row]
    place = np.arange(paths.codes.size) - paths.starts[row] + 1
    first, middle, last = position

    def last_non_direct():
        other = paths.names.index(direct) if direct in paths.names else -1
        latest = np.zeros(paths.length.size, int)
        np.maximum.at(latest, row, np.where(paths.codes != other, place, 0))
        return place == np.where(latest > 0, latest, paths.length)[row]

    def by_position():
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(place == 1, first, last) / (first + last)
            inner = np.select([place == 1, place == length], [first, last], middle / (length - 2))
        return np.select([length == 1, length == 2], [1.0, ends], inner)

    def by_own():
        back = np.minimum(length - place, len(own))
        return np.append(own, 0.0)[back] / np.cumsum(own)[np.minimum(length, len(own)) - 1]

    shares = {
        "first": lambda: place == 1,
        "last": lambda: place == length,
        "last_non_direct": last_non_direct,
        "linear": lambda: 1 / length,
        "position": by_position,
        "own": by_own,
    }
    size, amounts = len(paths.names), (paths.conversions, paths.value)
    several = paths.cells() if intervals and set(models) & {"linear", "position", "own"} else None
    for model in models:
        share = shares[model]()
        found, spread = [np.bincount(paths.codes, share * amount[row], size) for amount in amounts], None
        if intervals and share.dtype == bool:
            name, whose, share = paths.codes[share], row[share], share[share].astype(float)
        elif intervals:
            whose, name, cell = several
            share = np.bincount(cell, share, whose.size)
        if intervals:
            spread = noise.of_shares(name, share, *(amount[whose] for amount in amounts), size)
        yield noise.columns(model, paths.names, *found, spread=spread, **paths.told)


def _weights(position, weights):
    """The share of its conversion that a touch gets, as SQL, by model."""
    first, middle, last = _shares(position)
    own = _own(weights)
    backwards = "(length - place + 1)"
    roles = "place IN (1, length) OR place = COALESCE(lead_place, 0)"
    others = (
        "(length - CASE WHEN length = 1 THEN 1 ELSE 2 END "
        "- CASE WHEN lead_place > 1 AND lead_place < length THEN 1 ELSE 0 END)"
    )
    end, rest = _W_SHAPED
    anchors = " + ".join(
        f"CASE WHEN place = {place} THEN {end} ELSE 0.0 END" for place in ("1", "COALESCE(lead_place, 0)", "length")
    )
    whole = (
        f"({2 * end} + CASE WHEN lead_place > 0 THEN {end} ELSE 0.0 END "
        f"+ CASE WHEN {others} > 0 THEN {rest} ELSE 0.0 END)"
    )
    return {
        "first": "CASE WHEN place = 1 THEN 1.0 ELSE 0.0 END",
        "last": "CASE WHEN place = length THEN 1.0 ELSE 0.0 END",
        "last_non_direct": "CASE WHEN place = COALESCE(last_other, length) THEN 1.0 ELSE 0.0 END",
        "linear": "1.0 / length",
        "time_decay": "decay / total_decay",
        "position": f"CASE WHEN length = 1 THEN 1.0 WHEN length = 2 AND place = 1 THEN {first / (first + last)} "
        f"WHEN length = 2 THEN {last / (first + last)} WHEN place = 1 THEN {first} WHEN place = length THEN {last} "
        f"ELSE {middle} / (length - 2) END",
        "w_shaped": f"({anchors} + CASE WHEN {roles} THEN 0.0 ELSE {rest} / {others} END) / {whole}",
        "own": f"CASE {' '.join(f'WHEN {backwards} = {k} THEN {w}' for k, w in enumerate(own, start=1))} ELSE 0.0 END "
        f"/ CASE {' '.join(f'WHEN length = {k} THEN {sum(own[:k])}' for k in range(1, len(own)))} ELSE {sum(own)} END",
    }


def _shares(position):
    if len(position) != 3 or min(position) < 0 or not math.isclose(sum(position), 1) or position[0] + position[2] <= 0:
        raise BadParameter(f"position {position!r}: expected three shares that add up to 1, as (0.4, 0.2, 0.4)")
    return tuple(float(share) for share in position)


def _own(weights):
    if weights is None:
        return [1.0]
    own = [float(weight) for weight in weights]
    if not own or min(own) < 0 or own[0] <= 0:
        raise BadParameter(
            f"weights {weights!r}: expected weights from the conversion backwards, none negative and the first "
            "above 0, as [0.6, 0.3, 0.1]"
        )
    return own


# What the weights of a rule need to know of a touch, beyond its place and the length of its path: (column, SQL).
_PATH = "OVER (PARTITION BY u, ends)"
_NEEDS = {
    "time_decay": ("total_decay", f"SUM(decay) {_PATH}"),
    "last_non_direct": ("last_other", f"MAX(CASE WHEN label <> {{direct}} THEN place END) {_PATH}"),
    "w_shaped": ("lead_place", f"MAX(CASE WHEN t <= lead_t THEN place END) {_PATH}"),
}


def _sql(touchpoints, shares, *, by, half, lead, grouped, counting):
    direct = literal(journey.Counting(**counting).direct_channel)
    needs = [_NEEDS[model] for model in shares if model in _NEEDS]
    path = {column: sql.format(direct=direct) for column, sql in needs}
    touch = {}
    if "time_decay" in shares:
        # Ages are counted from the last touch: a path far from its conversion must not underflow to no weight.
        touch["decay"] = f"POWER(CAST(2 AS DOUBLE), (t - MAX(t) {_PATH}) / CAST({half} AS DOUBLE))"
    leads = None
    if "w_shaped" in shares:
        rule = journey.Counting(**counting)
        asked = f"e.event = {literal(lead)}"
        if rule.repeats == "overlap":
            leads = (
                "SELECT c.u, c.t AS ends, MIN(e.t) AS lead_t FROM events AS e JOIN closing AS c "
                f"ON e.u = c.u AND e.t <= c.t{'' if rule.window is None else f' AND c.t - e.t <= {rule.window}'} "
                f"WHERE {asked} GROUP BY c.u, c.t"
            )
        else:
            leads = (
                "SELECT l.u, l.ends, MIN(l.t) AS lead_t FROM (SELECT e.u, e.t, MIN(c.t) AS ends FROM events AS e "
                f"JOIN closing AS c ON e.u = c.u AND e.t <= c.t WHERE {asked} GROUP BY e.u, e.t) AS l "
                "GROUP BY l.u, l.ends"
            )
    return credited_sql(
        touchpoints, shares, by=by, counting=counting, touch=touch, path=path, leads=leads, grouped=grouped
    )


def credited_sql(touchpoints, shares, *, by, counting, touch=None, path=None, leads=None, grouped=False):
    """The statement that credits touches: `shares` is the SQL of a touch's share of its conversion, by name.

    `touch` and `path` are window columns that the shares use, by name: those of
    `touched`, and those that also see `touch`, place and length. `leads` is a SELECT of
    u, ends, lead_t. The rows: channel, `by` ("date" in microseconds since 1970), part
    (group of persons), credit_ and value_ of each name; "(no touch)" among them.
    """
    kept = [name for name in by if name != "date"]
    ctes = journey.journeys_sql(touchpoints, keep=kept, **counting | {"nulls": "none"})
    tie = ", ".join(["t", "label", *map(identifier, kept)])
    touch, path = (
        "".join(f", {sql} AS {column}" for column, sql in (columns or {}).items()) for columns in (touch, path)
    )
    source = "touched AS k"
    if leads:
        ctes += f",\nleads AS ({leads})"
        source = "(SELECT q.*, lead_t FROM touched AS q LEFT JOIN leads AS l ON q.u = l.u AND q.ends = l.ends) AS k"
    part, alone = "''", "''"
    if grouped:
        part = journey.part_sql("c.u")
        alone = journey.part_sql("u", "t")
    columns = {name: label(f"k.{identifier(name)}") for name in kept}
    if "date" in by:
        columns["date"] = f"k.t - ((k.t % {_DAY}) + {_DAY}) % {_DAY}"
    named = "".join(f", {columns[name]} AS {identifier(name)}" for name in by)
    names = "".join(f", {identifier(name)}" for name in by)
    nulls = "".join(f", CAST(NULL AS {'BIGINT' if name == 'date' else 'VARCHAR'})" for name in by)
    weights = ", ".join(f"CAST({share} AS DOUBLE) AS {name}" for name, share in shares.items())
    value = "CAST(value AS DOUBLE)"
    sums = ", ".join(f"SUM(n * {name}) AS credit_{name}, SUM({value} * {name}) AS value_{name}" for name in shares)
    untouched = ", ".join("CAST(SUM(n) AS DOUBLE), CAST(SUM(value) AS DOUBLE)" for _ in shares)
    return (
        f"{ctes},\n"
        f"numbered AS (SELECT k.*, ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY {tie}) AS place, "
        f"COUNT(*) {_PATH} AS length{touch} FROM {source}),\n"
        f"marked AS (SELECT numbered.*{path} FROM numbered),\n"
        f"credited AS (SELECT k.label{named}, {part} AS part, c.n, c.value, {weights} "
        "FROM marked AS k JOIN converted AS c ON k.u = c.u AND k.ends = c.t)\n"
        f"SELECT label AS channel{names}, part, {sums} FROM credited GROUP BY label{names}, part\n"
        f"UNION ALL SELECT {literal(journey.NO_TOUCH)}{nulls}, {alone}, {untouched} FROM untouched "
        f"GROUP BY {alone} HAVING COUNT(*) > 0"
    )


def _tables(found, models, by, intervals):
    """The result of every model, from its credit by touchpoint and group of persons."""
    keys = ["channel", *by]
    place = found.groupby(keys, dropna=False, sort=False).ngroup().to_numpy()
    first = segments(found, keys)
    cell = place * GROUPS + found["part"].map(group_of).to_numpy(int)
    none = (np.zeros(GROUPS), np.zeros(GROUPS))
    for model in models:
        parts = [
            np.bincount(cell, found[f"{name}_{model}"].fillna(0.0).astype(float), len(first) * GROUPS)
            for name in ("credit", "value")
        ]
        parts = [part.reshape(len(first), GROUPS) for part in parts]
        outs = [noise.leave_out(part) if intervals else None for part in parts]
        more = {name: first[name] for name in by}
        table = noise.table(
            model, first["channel"], *(part.sum(axis=1) for part in parts),
            credit_out=outs[0], value_out=outs[1], untouched=none, **more,
        )  # fmt: skip
        table = table.sort_values(["credit", *keys], ascending=[False, *[True] * len(keys)], ignore_index=True)
        yield table[["model", *keys, *(name for name in noise.COLUMNS if name not in ("model", "channel"))]]


def segments(found, keys):
    """The segments of the rows of `credited_sql` in the order in which they come first, days as days."""
    first = found[keys].drop_duplicates(ignore_index=True)
    if "date" in keys:
        first["date"] = pd.to_datetime(first["date"].astype("Int64"), unit="us")
    return first
