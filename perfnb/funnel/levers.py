"""What a better rate is worth at each step, and at which step most are lost: how sure that is."""

import numpy as np
import pandas as pd

from perfnb.engine import identifier
from perfnb.errors import BadParameter, MissingColumns
from perfnb.funnel.programme import keyed, moment
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import opening, statement
from perfnb.intervals import wilson

__all__ = ["largest_drop", "levers"]

_LIMITS = (0.025, 0.975)


def levers(touchpoints, steps, *, uplift=0.1, draws=2000, seed=0, semantics=None, **switches):
    """What it is worth, in orders and in money, to do better at each step by `uplift` (0 to 1: 0.1 is 10 %).

    Two readings stand side by side. The rate of the step is `uplift` higher (1.10 times
    what it is, at most 1): in a closed funnel all rates multiply, so this is the same
    number of orders at every step that has room for it, and tells no step from another.
    Or `uplift` of those lost at the step go on, and from there as those who went on before
    them: this differs by step, and is the more generous the less those lost resemble those
    who went on.

    An order is a unit at the last step, counted once; its value is that of its last-step
    event (all at that instant), the mean over orders that have one. The switches are those
    of `funnel.steps`, for funnels of units from step to step; optional steps have no row.
    Units whose window is still open count as lost: period=funnel.mature(…) leaves them out.
    Intervals (95 %): `draws` times the units' final levels are drawn as a multinomial, and
    the mean value from its t distribution (`seed`).

    Returns one row per required step from 2 on: step, name, units, from_units, rate (0-1,
    of the step before) with low and high (Wilson, 95 %), raised_rate, dropped, immature (of
    the dropped), orders (extra, of the higher rate) with orders_low and orders_high,
    saved_orders (extra, of those lost who go on; null where nobody shows how many go on
    from there) with saved_low and saved_high, value (money, of orders) with value_low and
    value_high, saved_value with saved_value_low and saved_value_high, value_per_order
    (money, mean) and valued (orders with a value that it is the mean of), currency, uplift,
    definition. Money is null without a column value or without an order that has one; its
    interval is null with only one.
    """
    if not 0 <= uplift <= 1:
        raise BadParameter(f"uplift {uplift!r}: expected a share from 0 to 1, as 0.1 for 10 %")
    _check_draws(draws)
    rule = rule_of(steps, semantics, **switches)
    if not rule.stepwise:
        raise BadParameter(f"levers are those of units that go from step to step. Found {rule.definition}")
    required = rule.required
    if len(required) < 2:
        raise BadParameter(f"steps {rule.names}: one step has no rate; expected two or more")
    currency = touchpoints.currency("value")
    found = touchpoints.fetch(_counted(touchpoints, rule)).set_index("level").astype(float)
    found = found.reindex(required, fill_value=0)
    ended = found["units"].to_numpy()
    n, mean, variance = found.loc[required[-1], ["valued", "mean", "variance"]]
    mean = mean if n > 0 else np.nan
    dice = np.random.default_rng(seed)
    drawn = _drawn(ended, draws, dice)
    means = mean + np.sqrt(variance / n) * dice.standard_t(n - 1, draws) if n > 1 else np.full(draws, np.nan)
    orders, saved, rate, raised = _extra(ended[None], uplift)
    drawn_orders, drawn_saved, _, _ = _extra(drawn, uplift)
    units = _reached(ended[None])[0]
    low, high = wilson(units[1:], units[:-1])
    table = pd.DataFrame(
        {
            "step": required[1:],
            "name": [rule.names[k - 1] for k in required[1:]],
            "units": units[1:].astype(int),
            "from_units": units[:-1].astype(int),
            "rate": rate[0],
            "low": low,
            "high": high,
            "raised_rate": raised[0],
            "dropped": ended[:-1].astype(int),
            "immature": found["immature"].to_numpy()[:-1].astype(int),
        }
    )
    for name, prefix, point, sample in (
        ("orders", "orders", orders[0], drawn_orders),
        ("saved_orders", "saved", saved[0], drawn_saved),
        ("value", "value", orders[0] * mean, drawn_orders * means[:, None]),
        ("saved_value", "saved_value", saved[0] * mean, drawn_saved * means[:, None]),
    ):
        table[name] = point
        table[f"{prefix}_low"], table[f"{prefix}_high"] = _limits(sample)
    said = f"{rule.definition}, uplift {100 * uplift:g} %"
    return table.assign(value_per_order=mean, valued=int(n), currency=currency, uplift=uplift, definition=said)


def largest_drop(funnel, *, draws=2000, seed=0):
    """At which step most units are lost, and how sure that is, from the table of `funnel.steps` (closed, no groups).

    How far each unit got is a draw from a multinomial with the shares seen: `draws` funnels
    of as many units are drawn (`seed`), and the steps ranked in each. Steps that tie in a
    draw share it, so probabilities add up to 1.

    Returns one row per required step from 2 on: step, name, from_units, dropped (units),
    drop_rate (0-1, of from_units) with drop_low and drop_high (Wilson, 95 %), rank (by units
    lost, 1 the most) with rank_low and rank_high (95 % of the draws), p_largest (0-1:
    probability that most units are lost here), p_lowest_rate (0-1: probability that the
    smallest share goes on here), definition. Ranks and probabilities are null where nobody entered.
    """
    _check_draws(draws)
    _check_funnel(funnel)
    required = funnel[funnel["from_units"].isna() | funnel["dropped"].notna()].sort_values("step")
    units = required["units"].to_numpy(float)
    ended = units - np.append(units[1:], 0)
    drawn = _drawn(ended, draws, np.random.default_rng(seed))
    lost, base = drawn[:, :-1], _reached(drawn)[:, :-1]
    rate = np.divide(lost, base, out=np.full(lost.shape, -1.0), where=base > 0)  # where nobody is, no rate is lowest
    ranks = _ranks(lost)
    rank_low, rank_high = np.quantile(ranks, _LIMITS, axis=0, method="inverted_cdf")
    known = np.full(len(units) - 1, units[0] > 0)
    low, high = wilson(ended[:-1], units[:-1])
    table = pd.DataFrame(
        {
            "step": required["step"].to_numpy()[1:],
            "name": required["name"].to_numpy()[1:],
            "from_units": units[:-1].astype(int),
            "dropped": ended[:-1].astype(int),
            "drop_rate": np.divide(ended[:-1], units[:-1], out=np.full(len(known), np.nan), where=units[:-1] > 0),
            "drop_low": low,
            "drop_high": high,
        }
    )
    for name, values in (("rank", _ranks(ended[None, :-1])[0]), ("rank_low", rank_low), ("rank_high", rank_high)):
        table[name] = pd.Series(values).astype("Int64").where(known)
    for name, values in (("p_largest", lost), ("p_lowest_rate", rate)):
        first = values == values.max(axis=1, keepdims=True)
        table[name] = np.where(known, (first / first.sum(axis=1, keepdims=True)).mean(axis=0), np.nan)
    return table.assign(definition=funnel["definition"].iloc[0])


def _check_draws(draws):
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise BadParameter(f"draws {draws!r}: expected how many funnels are drawn, as 2000")


def _check_funnel(funnel):
    needed = ("step", "name", "units", "from_units", "dropped", "definition")
    missing = [name for name in needed if name not in funnel]
    if missing:
        raise MissingColumns(
            f"funnel: missing column {', '.join(missing)}; found {', '.join(map(str, funnel))}. "
            "Give the table of funnel.steps"
        )
    way_out = "Give the table of funnel.steps of one closed funnel of units"
    if funnel["step"].duplicated().any():
        raise BadParameter(f"funnel: step {funnel['step'][funnel['step'].duplicated()].iloc[0]} twice. {way_out}")
    said = funnel["definition"].iloc[0] if len(funnel) else ""
    if "continued" in funnel or {"each entry", "sequential entries"} & set(said.split(", ")):
        raise BadParameter(f"funnel: no final levels of units. Found {said}. {way_out}")
    if funnel["dropped"].notna().sum() == 0:
        raise BadParameter(f"funnel: {len(funnel)} steps, none of which loses anybody; expected two or more. {way_out}")


def _counted(touchpoints, rule):
    """The statement that counts units per level, and what the orders of the last were worth."""
    last = rule.required[-1]
    valued = touchpoints.has("value")
    ctes = [*statement(touchpoints, rule, times=valued)]
    if valued:
        keys = keyed(rule).split(", ")
        named = ", ".join(f"{identifier(name)} AS {key}" for name, key in zip(rule.keys, keys, strict=True))
        mine = ", ".join(f"units.{key}" for key in keys)
        same = " AND ".join(f"bought.{key} = units.{key}" for key in keys)
        ctes += [
            f"bought AS (SELECT {named}, {moment(touchpoints, rule)} AS t, CAST(value AS DOUBLE) AS paid "
            f"FROM {{table}} AS source WHERE {rule.steps[last - 1].sql()} AND value IS NOT NULL)",
            f"worth AS (SELECT {mine}, units.level, units.closes, SUM(bought.paid) AS value FROM units "
            f"LEFT JOIN bought ON {same} AND bought.t = units.time_{last} GROUP BY {mine}, units.level, units.closes)",
        ]
    else:
        ctes.append("worth AS (SELECT level, closes, CAST(NULL AS DOUBLE) AS value FROM units)")
    ctes.append(f"data AS (SELECT MAX({touchpoints.micros()}) AS ends FROM {{table}} AS source)")
    return (
        opening(rule)
        + ",\n".join(ctes)
        + "\nSELECT level, COUNT(*) AS units, COUNT(value) AS valued, AVG(value) AS mean, VAR_SAMP(value) AS variance, "
        "SUM(CASE WHEN closes IS NULL OR closes > ends THEN 1 ELSE 0 END) AS immature "
        "FROM worth CROSS JOIN data WHERE level > 0 GROUP BY level"
    )


def _drawn(ended, draws, dice):
    """Funnels of as many units: at each level, how many ended there (draws, levels)."""
    whole = ended.sum()
    if whole == 0:
        return np.zeros((draws, len(ended)))
    return dice.multinomial(int(whole), ended / whole, size=draws).astype(float)


def _reached(ended):
    """Units at each level or deeper, from those that ended there."""
    return ended[:, ::-1].cumsum(axis=1)[:, ::-1]


def _extra(ended, uplift):
    """(orders of the rate raised, orders of those lost who go on, rate, raised rate) per funnel and hop."""
    units = _reached(ended)
    orders = units[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = units[:, 1:] / units[:, :-1]
        raised = np.minimum(rate * (1 + uplift), 1)
        # A rate of 0, times anything, stays 0.
        extra = np.where(units[:, :-1] > 0, np.where(rate > 0, orders * (raised / rate - 1), 0.0), np.nan)
        # The product of all later rates; at the last step there is none.
        onward = np.where(units[:, 1:] > 0, orders / units[:, 1:], np.nan)
    onward[:, -1] = 1.0
    saved = np.where(units[:, :-1] > 0, ended[:, :-1] * uplift * onward, np.nan)
    return extra, saved, rate, raised


def _limits(sample):
    """The middle 95 % of each column, over what is known of it."""
    low, high = np.full((2, sample.shape[1]), np.nan)
    known = ~np.isnan(sample).all(axis=0)
    if known.any():
        low[known], high[known] = np.nanquantile(sample[:, known], _LIMITS, axis=0)
    return low, high


def _ranks(lost):
    """1 for the most lost; steps that tie have the same."""
    return 1 + (lost[:, None, :] > lost[:, :, None]).sum(axis=2)
