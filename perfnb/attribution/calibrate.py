"""A model held against experiments: what was measured replaces what was credited, the rest must go somewhere."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from perfnb.attribution.compare import OWN_ROWS
from perfnb.attribution.noise import BASELINE
from perfnb.errors import BadParameter, MissingColumns

COLUMNS = (
    *("channel", "evidence", "credit", "calibrated", "calibrated_low", "calibrated_high", "multiplier"),
    *("cost", "cost_per_order_before", "cost_per_order_after", "currency"),
)


def calibrate(comparison, *, experiments, model="markov"):
    """One model's credit, where channels were measured by an experiment replaced by what that found.

    `comparison` is a result of `compare`. `experiments` is a DataFrame with one row
    per measured channel: channel, incremental_orders, low, high (95 %), or the same
    as {channel: [incremental_orders, low, high]}, all for the conversions that the
    comparison is of (a hold-out of a share of the persons is to be scaled to all of
    them first).

    An experiment says what its channel caused, and that the difference to its
    credit is not its own; it does not say whose it is. Either it belongs to nobody
    (those orders would have come anyway) and the other channels keep their credit,
    or it is the other channels', in proportion to their credit, or something
    between. `calibrated` is the first, as nothing speaks for more; the bounds span
    both, and all experiments at their lower end to all at their upper. Where
    a channel caused more than it was credited with, the rows of nobody give first,
    then the others; at the other bound the others give all.

    Whichever it is, credit adds up to the same conversions: the measured channels',
    the others' and that of nobody, whose new row is "(baseline)".

    Returns one row per channel: channel, evidence ("measured", "others", "nobody"),
    credit, calibrated, calibrated_low, calibrated_high, multiplier (calibrated /
    credit), cost, cost_per_order_before, cost_per_order_after, currency. No rows
    without an experiment.
    """
    if isinstance(experiments, Mapping):
        experiments = _rows(experiments)
    if comparison.empty or experiments.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    mine = comparison[comparison["model"] == model]
    if mine.empty:
        raise BadParameter(
            f"model {model!r}: not in the comparison; there are {', '.join(comparison['model'].unique())}"
        )
    if mine["channel"].duplicated().any():
        raise BadParameter(
            "comparison: several rows per channel; experiments measure whole channels. Compare without by"
        )
    credit = mine.set_index("channel")["credit"].fillna(0.0)
    if BASELINE not in credit:
        credit[BASELINE] = 0.0
    measured = _measured(experiments, credit)
    kind = pd.Series("others", credit.index)
    kind[[name for name in OWN_ROWS if name in credit]] = "nobody"
    kind[measured.index] = "measured"

    results = {name: _results(credit, kind, measured[name]) for name in ("incremental_orders", "low", "high")}
    spread = np.array([one for pair in results.values() for one in pair])
    found = pd.DataFrame({"channel": credit.index, "evidence": kind.to_numpy(), "credit": credit.to_numpy()})
    found["calibrated"] = results["incremental_orders"][0]
    found["calibrated_low"], found["calibrated_high"] = spread.min(axis=0), spread.max(axis=0)
    found["multiplier"] = _ratio(found["calibrated"], found["credit"])
    found["cost"] = found["channel"].map(mine.set_index("channel")["cost"]).astype(float)
    found["cost_per_order_before"] = _ratio(found["cost"], found["credit"])
    found["cost_per_order_after"] = _ratio(found["cost"], found["calibrated"])
    found["currency"] = mine["currency"].iloc[0]
    place = found["evidence"].map({"measured": 0, "others": 1, "nobody": 2})
    order = found.assign(place=place).sort_values(["place", "credit", "channel"], ascending=[True, False, True]).index
    return found.loc[order, list(COLUMNS)].reset_index(drop=True)


def _results(credit, kind, measured):
    """Everyone's credit if the difference belongs to nobody, and if it belongs to the other channels."""
    rest = max(credit.sum() - measured.sum(), 0.0)
    others, nobody = (credit[kind == name].sum() for name in ("others", "nobody"))
    both = []
    for kept in (min(others, rest), max(rest - nobody, 0.0) if others else 0.0):
        table = credit.copy()
        table[measured.index] = measured
        table[kind == "others"] *= kept / others if others else 0.0
        left = rest - kept
        if left >= nobody:
            table[BASELINE] += left - nobody
        else:
            table[kind == "nobody"] *= left / nobody
        both.append(table.to_numpy())
    return both


def _rows(experiments):
    for channel, found in experiments.items():
        if len(found) != 3:
            raise BadParameter(
                f"experiments: {channel!r} has {list(found)!r}; "
                "expected [orders found, at least, at most], as [120, 60, 180]"
            )
    rows = [(channel, *found) for channel, found in experiments.items()]
    return pd.DataFrame(rows, columns=["channel", "incremental_orders", "low", "high"])


def _measured(experiments, credit):
    wanted = ("channel", "incremental_orders", "low", "high")
    missing = [name for name in wanted if name not in experiments]
    if missing:
        raise MissingColumns(
            f"experiments: missing column {', '.join(missing)}; found {', '.join(map(str, experiments.columns))}. "
            f"Expected {', '.join(wanted)}, one row per measured channel"
        )
    table = experiments.set_index("channel")[list(wanted[1:])].astype(float)
    strange = [name for name in table.index if name not in credit or name in OWN_ROWS]
    if strange:
        raise BadParameter(
            f"experiments: {strange[0]!r} is no channel of the comparison; there are {', '.join(credit.index)}"
        )
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise BadParameter(f"experiments: channel {twice!r} stands there twice; expected one row per channel")
    wrong = ~(table["low"].le(table["incremental_orders"]) & table["incremental_orders"].le(table["high"]))
    if wrong.any():
        row = table[wrong].iloc[0]
        raise BadParameter(
            f"experiments: {wrong.idxmax()}: expected low <= incremental_orders <= high, "
            f"found {row['low']:g}, {row['incremental_orders']:g}, {row['high']:g}"
        )
    if table["incremental_orders"].sum() > credit.sum():
        raise BadParameter(
            f"experiments: {table['incremental_orders'].sum():g} incremental orders measured, "
            f"but the comparison is of {credit.sum():g} conversions. Scale both to the same persons and days"
        )
    return table


def _ratio(part, whole):
    return np.where(whole > 0, part / whole.where(whole > 0), np.nan)
