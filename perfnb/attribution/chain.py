"""First-order Markov chain with removal effects, solved exactly."""

import numpy as np
import pandas as pd

from perfnb import journey
from perfnb.errors import BadParameter


def markov(touchpoints, *, conversion="order", events=None, touchpoint="channel", lookback="30 days", period=None):
    """Credit by removal effect in a first-order Markov chain (Anderl, Becker, von Wangenheim, Schumann 2016).

    Journeys without a conversion enter the chain as its ends, whole or, with a
    `period` (which bounds conversions), as far as they lie inside it. Solved by
    linear algebra, not simulated: the same events always give the same credit.

    Returns one row per touchpoint: model ("markov"), channel, credit
    (conversions), share (0-1), value, currency, removal_effect (0-1: the share
    of conversions that the chain loses without this touchpoint). Conversions
    without a touch keep their own row; credit and value add up to the events.
    No rows where nobody converted: there is no credit to give.
    """
    ctes = journey.journeys_sql(
        touchpoints, conversion=conversion, events=events, touchpoint=touchpoint, lookback=lookback, period=period
    )
    columns = ["model", "channel", "credit", "share", "value", "currency", "removal_effect"]
    counts = touchpoints.fetch(
        f"{ctes},\n{journey.STEPS_SQL}\n"
        'SELECT "from", "to", CAST(SUM(weight) AS DOUBLE) AS weight, CAST(SUM(value) AS DOUBLE) AS value '
        'FROM steps GROUP BY "from", "to"'
    )
    if not counts.loc[counts["to"] == "(conversion)", "weight"].sum():
        return pd.DataFrame(columns=columns)
    table = removal_effects(counts)
    table.insert(0, "model", "markov")
    table = table.round(9)
    table["share"] = table["credit"] / table["credit"].sum()
    table["currency"] = touchpoints.currency("value")
    table = table.sort_values(["credit", "channel"], ascending=[False, True], ignore_index=True)
    return table[columns]


def removal_effects(transitions):
    """Removal effects and credit from counted transitions.

    `transitions` has one row per pair: from, to ("(start)" … "(conversion)" or
    "(end)"), weight (conversions and null journeys that take it) and value (of
    the conversions reached by it; may be null).

    With Q the transition probabilities among "(start)" and the touchpoints,
    r the absorption into conversion, N = (I - Q)^-1, h = N r and n the first row
    of N, a touchpoint's removal effect is n_c h_c / (N_cc h_0): the conversion
    probability of the walks that visit it (Sherman-Morrison on one row of Q).

    Returns one row per touchpoint: channel, removal_effect (0-1), credit, value.
    """
    start, end, converted = "(start)", "(end)", "(conversion)"
    weight = transitions.pivot_table(index="from", columns="to", values="weight", aggfunc="sum", fill_value=0.0)
    value = transitions.pivot_table(index="from", columns="to", values="value", aggfunc="sum", fill_value=0.0)
    states = [start, *sorted(set(weight.index) - {start})]
    channels = states[1:]
    out = weight.sum(axis=1).reindex(states, fill_value=0.0).to_numpy()
    if set(weight.columns) - {end, converted} - set(channels):
        lost = sorted(set(weight.columns) - {end, converted} - set(channels))
        raise BadParameter(f"transitions: nothing leaves {lost[0]!r}; expected a row from it to {converted} or {end}")
    if weight.get(converted, pd.Series(dtype=float)).sum() == 0:
        raise BadParameter("transitions: no conversion, so there is no credit to give. Check the conversion's name")
    probability = weight.reindex(index=states, columns=channels, fill_value=0.0).to_numpy() / out[:, None]
    inner = np.eye(len(states))
    inner[:, 1:] -= probability
    visits = np.linalg.inv(inner)
    ending = weight[converted].reindex(states, fill_value=0.0).to_numpy()
    earning = value.reindex(index=states, columns=[converted], fill_value=0.0).to_numpy()[:, 0]
    table = pd.DataFrame({"channel": channels})
    # What converts without any touch carries no channel: it keeps its own row, and the rest is scaled to the rest.
    for name, absorbed in (("credit", ending), ("value", earning)):
        reached = visits @ (absorbed / out)
        effect = visits[0, 1:] * reached[1:] / np.diag(visits)[1:]
        if name == "credit":
            table["removal_effect"] = effect / reached[0]
        touched = absorbed[1:].sum()
        table[name] = touched * effect / effect.sum() if touched else 0.0
    if ending[0]:
        untouched = {"channel": journey.NO_TOUCH, "removal_effect": np.nan, "credit": ending[0], "value": earning[0]}
        table = pd.concat([table, pd.DataFrame([untouched])], ignore_index=True)
    if transitions["value"].isna().all():
        table["value"] = np.nan
    return table
