"""What goes with a conversion later, what a better step is worth, and where most are lost."""

import itertools
import math
import random
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, book, events, moments, only, shuffled

from perfnb import funnel
from perfnb.engine import sql_of
from perfnb.errors import BadParameter, MissingColumns
from perfnb.period import Period

DAY = 86_400
LOG = ("user_id", "timestamp", "event")
ABC = ["a", "b", "c"]
VALUED = ("user_id", "timestamp", "event", "value", "currency")


# Drivers


def noise(persons, names, seed):
    """Method section 9: 30 % convert, after one day in the mean; events that mean nothing come 0.3 times a day."""
    dice = np.random.default_rng(seed)
    entry = dice.uniform(0, 30, persons)
    lag = np.where(dice.random(persons) < 0.3, dice.exponential(1.0, persons), np.inf)
    rows = [pd.DataFrame({"user_id": range(persons), "day": entry, "event": "visit"})]
    rows.append(pd.DataFrame({"user_id": range(persons), "day": entry + lag, "event": "order"})[lag < 14])
    for name in names:
        often = np.repeat(np.arange(persons), dice.poisson(0.3 * 14, persons))
        rows.append(pd.DataFrame({"user_id": often, "day": entry[often] + dice.uniform(0, 14, len(often))}))
        rows[-1]["event"] = name
    frame = pd.concat([*rows, pd.DataFrame({"user_id": [-1], "day": [60.0], "event": ["the end"]})])
    frame["user_id"] = "p" + frame["user_id"].astype(str)
    return frame.assign(timestamp=moments(frame["day"].to_numpy() * DAY).to_numpy())


def naive_odds_ratio(frame, name):
    """As products count: until the conversion for those who convert, over the whole window for the others."""
    entered = frame[frame["event"] == "visit"].set_index("user_id")["day"]
    ordered = frame[frame["event"] == "order"].set_index("user_id")["day"].reindex(entered.index)
    first = frame[frame["event"] == name].groupby("user_id")["day"].min().reindex(entered.index)
    converted, exposed = ordered.notna(), first <= ordered.fillna(np.inf)
    a, b, c, d = ((exposed == e) & (converted == k) for e in (True, False) for k in (True, False))
    return a.sum() * d.sum() / (b.sum() * c.sum())


def test_pure_noise_of_method_section_9_drives_nothing_though_unequal_exposure_gives_an_odds_ratio_of_0_0044():
    names = [f"noise {number:02}" for number in range(30)]
    frame = noise(3000, names, seed=1)
    assert 0.003 < np.median([naive_odds_ratio(frame, name) for name in names[:10]]) < 0.006
    table = book(touchpoints=frame[list(LOG)]).touchpoints
    found = funnel.drivers(table, ["visit", "order"], within="14 days", candidates=names)
    at = found[found["chosen"]]
    assert (at["landmark_hours"] == 14 * 24 // 10).all() and (at["tests"] == 30).all()
    assert abs(np.log(at["odds_ratio"]).mean()) < 0.08
    assert (at["odds_low"].lt(1) & at["odds_high"].gt(1)).mean() > 0.8
    from scipy.stats import kstest

    assert kstest(at["p"], "uniform").pvalue > 0.05
    assert at["p_adjusted"].min() > 0.05


def test_a_planted_driver_is_found_among_noise_with_its_true_difference():
    dice = random.Random(3)
    rows = []
    for n in range(2000):
        helped = dice.random() < 0.4
        rows += [(n, 0, "visit")] + [(n, dice.uniform(0, 0.5) * DAY, "guide")] * helped
        rows += [(n, dice.uniform(0, 0.9) * DAY, f"noise {k}") for k in range(5) if dice.random() < 0.3]
        rows += [(n, dice.uniform(3, 9) * DAY, "order")] * (dice.random() < (0.3 if helped else 0.1))
    rows.append((-1, 20 * DAY, "the end"))
    found = funnel.drivers(events(rows, LOG), ["visit", "order"], within="10 days")
    first = found[found["chosen"]].iloc[0]
    assert first["event"] == "guide" and first["stable"] and first["p_adjusted"] < 1e-6
    assert first["low"] < 0.2 < first["high"] and first["high"] - first["low"] < 0.1
    assert first["odds_low"] < 0.3 * 0.9 / (0.7 * 0.1) < first["odds_high"]
    assert (found.loc[found["chosen"] & (found["event"] != "guide"), "p_adjusted"] > 0.01).all()


def random_log(persons, seed):
    """Short logs full of ties in 40 seconds, with rare events and rows without a person, a time or a name."""
    dice = random.Random(seed)
    names = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["x"] * 3 + ["y"] * 2 + [None]
    rows = [
        (f"p{n}", dice.randrange(40), dice.choice(names)) for n in range(persons) for _ in range(dice.randint(2, 12))
    ]
    rows += [(f"p{n}", dice.randrange(40), "rare") for n in range(0, persons, 12)]
    return [*rows, (None, 3, "x"), ("p1", None, "x"), (None, 44, "c")]


def by_hand(rows, steps, within, mark):
    """{event: (exposed, of them converted, unexposed, of them converted)}, early, immature: person by person."""
    persons, end = {}, max(t for _, t, _ in rows if t is not None)
    for user, t, name in rows:
        if user is not None and t is not None:
            persons.setdefault(user, []).append((t, name))
    names = {name for user, t, name in rows if user and t is not None} - set(steps)
    counts, early, immature = {name: [0, 0, 0, 0] for name in names}, 0, 0
    for happened in persons.values():
        starts = [t for t, name in happened if name == steps[0]]
        if not starts:
            continue
        start = min(starts)
        later = [[t for t, name in happened if name == step] for step in steps[1:]]
        ends = [
            attempt[-1] - start
            for attempt in itertools.product(*later)
            if list(attempt) == sorted(attempt) and attempt[0] >= start and attempt[-1] - start <= within
        ]
        if start + within > end:
            immature += 1
        elif ends and min(ends) <= mark:
            early += 1
        else:
            for name in names:
                arm = 0 if any(n == name and start <= t <= start + mark for t, n in happened) else 2
                counts[name][arm] += 1
                counts[name][arm + 1] += bool(ends)
    return counts, early, immature


@pytest.mark.parametrize("engine", ENGINES)
def test_all_counts_equal_those_of_every_person_by_hand(engine):
    rows = random_log(500, seed=8)
    random.Random(1).shuffle(rows)
    found = funnel.drivers(events(rows, LOG, engine=engine), ABC, within="20 seconds", landmark="4 seconds")
    assert set(found["event"]) == {"x", "y", "rare", "(unknown)"} and found["small_n"].any()
    for mark, part in found.groupby("landmark_hours"):
        counts, early, immature = by_hand(rows, ABC, 20, round(mark * 3600))
        counts["(unknown)"] = counts.pop(None)
        assert (part["early"] == early).all() and (part["immature"] == immature).all()
        for row in part.itertuples():
            exposed, one, unexposed, other = counts[row.event]
            assert (row.exposed, row.unexposed, row.small_n) == (exposed, unexposed, min(exposed, unexposed) < 30)
            if not row.small_n:
                assert (row.exposed_converted, row.unexposed_converted) == (one, other), row.event
                assert math.isclose(row.difference, one / exposed - other / unexposed, abs_tol=1e-12)


def test_all_who_entered_are_in_an_arm_or_named_as_left_out_and_few_are_hidden_not_lost():
    table = events(random_log(400, seed=2), LOG)
    found = funnel.drivers(table, ABC, within="20 seconds")
    entered = funnel.steps(table, ABC, within="20 seconds", entry="first")["units"].iloc[0]
    assert (found[["exposed", "unexposed", "early", "immature"]].sum(axis=1) == entered).all()
    estimates = ["exposed_converted", "unexposed_converted", "exposed_rate", "difference", "low", "odds_ratio", "p"]
    hidden = found["small_n"]
    assert hidden[found["event"] == "rare"].all() and found.loc[hidden, estimates].isna().all(axis=None)
    assert found.loc[~hidden, [*estimates, "high", "odds_low", "odds_high", "p_adjusted"]].notna().all(axis=None)
    assert (found["tests"] == (~hidden).groupby(found["landmark_hours"]).transform("sum")).all()
    assert found.loc[found["chosen"], "tests"].iloc[0] > 0 and found["event"].iloc[-1] == "rare"
    assert sorted(found["landmark_hours"].unique() * 3600) == pytest.approx([1, 2, 4])


def test_the_order_of_rows_and_of_candidates_changes_nothing():
    rows = random_log(400, seed=5)
    one = funnel.drivers(events(rows, LOG), ABC, within="20 seconds", candidates=["x", "y", "never"])
    other = funnel.drivers(events(shuffled(rows), LOG), ABC, within="20 seconds", candidates=["never", "y", "x", "y"])
    pd.testing.assert_frame_equal(one, other)
    never = one[one["event"] == "never"]
    assert (never["exposed"] == 0).all() and never["small_n"].all() and never["stable"].isna().all()


def arms(exposed, converted, unexposed, others):
    """Exposed at the first instant or not, converted five days later or not; a landmark at one of ten days."""
    rows = [(f"e{n}", t, name) for n in range(exposed) for t, name in ((0, "visit"), (0, "x"))]
    rows += [(f"u{n}", 0, "visit") for n in range(unexposed)] + [("nobody", 20 * DAY, "x")]
    return rows + [(f"{arm}{n}", 5 * DAY, "order") for arm, k in (("e", converted), ("u", others)) for n in range(k)]


def test_difference_and_odds_ratio_of_56_in_70_and_48_in_80_as_newcombe_1998_and_gart_1966_have_them():
    found = funnel.drivers(events(arms(70, 56, 80, 48), LOG), ["visit", "order"], within="10 days")
    row = only(found, chosen=True)
    assert [round(row[name], 4) for name in ("difference", "low", "high")] == [0.2, 0.0524, 0.3339]
    ratio = 56.5 * 32.5 / (14.5 * 48.5)
    half = 1.959964 * math.sqrt(1 / 56.5 + 1 / 14.5 + 1 / 48.5 + 1 / 32.5)
    found = [row[name] for name in ("odds_ratio", "odds_low", "odds_high")]
    assert found == pytest.approx([ratio, ratio * math.exp(-half), ratio * math.exp(half)], rel=1e-6)


def test_no_arm_with_a_conversion_is_no_difference_and_no_infinity():
    row = only(funnel.drivers(events(arms(40, 0, 50, 0), LOG), ["visit", "order"], within="10 days"), chosen=True)
    assert (row["difference"], row["p"], row["stable"]) == (0, 1, False) and np.isfinite(row["odds_high"])
    row = only(funnel.drivers(events(arms(40, 40, 50, 0), LOG), ["visit", "order"], within="10 days"), chosen=True)
    assert row["difference"] == 1 and np.isfinite(row["odds_high"]) and row["stable"]


@pytest.mark.parametrize(("exposed", "unexposed"), [(29, 90), (90, 29)])
def test_fewer_than_thirty_in_either_arm_are_hidden(exposed, unexposed):
    found = funnel.drivers(events(arms(exposed, 9, unexposed, 9), LOG), ["visit", "order"], within="10 days")
    row = only(found, chosen=True)
    assert row["small_n"] and (row["exposed"], row["unexposed"], row["tests"]) == (exposed, unexposed, 0)
    assert pd.isna(row["exposed_converted"]) and pd.isna(row["unexposed_rate"]) and pd.isna(row["p_adjusted"])


def test_a_sign_that_turns_with_the_landmark_is_not_stable():
    # Early x and half of them order; late x and none orders; no x and two of five order.
    kinds = [(0.2, 25)] * 50 + [(1.8, 0)] * 100 + [(None, 20)] * 50
    rows = [("nobody", 30 * DAY, "z")]
    for n, (exposed, orders) in enumerate(kinds):
        rows += [(f"u{n}", 0, "visit")] + [(f"u{n}", exposed * DAY, "x") for _ in range(exposed is not None)]
        rows += [(f"u{n}", 5 * DAY, "order")] * (n % 50 < orders)
    found = funnel.drivers(events(rows, LOG), ["visit", "order"], within="10 days", candidates=["x"])
    assert found["landmark_hours"].tolist() == [12, 24, 48]
    assert found["difference"].tolist() == pytest.approx([25 / 50 - 20 / 150] * 2 + [25 / 150 - 20 / 50])
    assert found["stable"].tolist() == [False] * 3


def test_both_ends_of_the_landmark_and_of_the_window_count_and_units_may_be_visits():
    columns = ("user_id", "visit", "timestamp", "event")
    rows = [("end", 0, 30 * DAY, "z")]
    for n in range(60):
        rows += [("one person", n, 0, "a"), ("one person", n, DAY if n < 30 else DAY + 1, "x")]
        rows += [("one person", n, (10 * DAY) if n % 2 else 10 * DAY + 1, "b")]
    found = funnel.drivers(events(rows, columns), ["a", "b"], within="10 days", unit=["user_id", "visit"])
    row = only(found, chosen=True, event="x")
    assert found["definition"].nunique() == 1 and "landmark 1 day" in row["definition"]
    assert (row["exposed"], row["unexposed"], row["exposed_converted"], row["unexposed_converted"]) == (30, 30, 15, 15)
    assert "unit user_id + visit" in row["definition"]


def test_rows_of_a_step_are_no_candidates_and_names_like_our_own_words_stand_in_quotes():
    rows = [("end", 30 * DAY, "z", "m")]
    for n in range(80):
        rows += [(f"u{n}", 0, "a", "m"), (f"u{n}", 5 * DAY, "b" if n % 2 else "a", "m")]
        rows += [(f"u{n}", 60, "a" if n < 40 else "(end)", "d"), (f"u{n}", 90, "b", "d")]
    steps = [{"event": "a", "device": "m"}, {"event": "b", "device": "m"}]
    table = events(rows, (*LOG, "device"))
    found = funnel.drivers(table, steps, within="10 days")
    at = found[found["chosen"]].set_index("event")
    assert at["exposed"].to_dict() == {"a": 40, "b": 80, "“(end)”": 40}
    assert at["exposed_converted"].dropna().to_dict() == {"a": 20, "“(end)”": 20}
    one = funnel.drivers(table, steps, within="10 days", candidates=["(end)"])
    assert only(one, chosen=True)["exposed"] == 40 and only(one, chosen=True)["event"] == "“(end)”"


def test_a_period_bounds_the_first_entries():
    rows = [*arms(40, 20, 50, 5), ("too early", -DAY, "visit"), ("too early", DAY, "visit")]
    period = Period.parse("2025-01")
    found = funnel.drivers(events(rows, LOG), ["visit", "order"], within="10 days", period=period)
    row = only(found, chosen=True)
    assert (row["exposed"], row["unexposed"]) == (40, 50) and "entries 2025-01-01" in row["definition"]


def test_nobody_who_entered_gives_no_rows_or_hidden_ones():
    table = events([("u", 0, "x"), ("v", 1, "y")], LOG)
    empty = funnel.drivers(table, ["a", "b"], within="1 day")
    assert empty.empty and {"event", "exposed", "stable", "definition"} <= set(empty)
    one = funnel.drivers(table, ["a", "b"], within="1 day", candidates=["x"])
    assert one["exposed"].tolist() == [0, 0, 0] and one["immature"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": None}, "converted by when"),
        ({"landmark": "5 days"}, "less than half of within"),
        ({"landmark": "0 days"}, "more than nothing"),
        ({"candidates": "x"}, "list of event names"),
        ({"candidates": []}, "list of event names"),
        ({"candidates": ["x", "b"]}, "'b' is a step"),
        ({"steps": ["a"]}, "one step is no conversion"),
    ],
)
def test_a_wrong_parameter_of_drivers_is_named(options, message):
    table = events([("u", 0, "a")], LOG)
    with pytest.raises(BadParameter, match=message):
        funnel.drivers(table, **{"steps": ["a", "b"], "within": "10 days"} | options)


@pytest.mark.parametrize("dialect", ["bigquery", "snowflake", "clickhouse", "spark"])
def test_statements_translate_and_keep_to_the_portable_subset(dialect):
    sqlglot = pytest.importorskip("sqlglot")
    table = table_without_currency()
    candidates = ["Größe", "x'"]
    for sql in (
        sql_of(funnel.drivers, table, ["a", "b'; --"], within="10 days", candidates=candidates, dialect=dialect),
        sql_of(funnel.levers, table, ["a", "b'; --"], within="10 days", dialect=dialect),
    ):
        assert sqlglot.parse_one(sql, read=dialect)
        assert not any(word in sql.upper() for word in ("ASOF", "QUALIFY", "MEDIAN", "ARRAY_AGG"))


# Levers


def table_without_currency(rows=(("u", 0, "a", 1.0),), engine="duckdb"):
    return events(list(rows), VALUED[:4], engine=engine)


def bought(engine="duckdb"):
    """Ten visit, five put into the cart, two order (10 and 30); orders before the cart and later ones do not count."""
    rows = [(f"u{n}", 0, "visit", None, None) for n in range(10)]
    rows += [(f"u{n}", 10, "cart", 99.0, "EUR") for n in range(5)]
    rows += [("u0", 20, "order", 10.0, "EUR"), ("u1", 20, "order", 12.0, "EUR"), ("u1", 20, "order", 18.0, "EUR")]
    rows += [("u0", 5, "order", 300.0, "EUR"), ("u0", 30, "order", 500.0, "EUR"), ("z", 5 * DAY, "order", 7.0, "EUR")]
    return events(rows, VALUED, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_funnel_of_ten_persons_by_hand(engine):
    found = funnel.levers(bought(engine), ["visit", "cart", "order"], within="1 day")
    assert found["name"].tolist() == ["cart", "order"]
    assert found[["from_units", "units", "dropped", "immature"]].to_numpy().tolist() == [[10, 5, 5, 0], [5, 2, 3, 0]]
    assert found["raised_rate"].tolist() == pytest.approx([0.55, 0.44])
    # 10 × 0.55 × 0.4 and 5 × 0.44, less 2: the same; of five lost half a person comes, and 40 % of it orders.
    assert found["orders"].tolist() == pytest.approx([0.2, 0.2])
    assert found["saved_orders"].tolist() == pytest.approx([0.5 * 0.4, 0.3])
    # 10, and 12 + 18 at one instant: 20 in the mean.
    assert found["value_per_order"].tolist() == [20, 20] and found["valued"].tolist() == [2, 2]
    assert found["value"].tolist() == pytest.approx([4, 4]) and found["saved_value"].tolist() == pytest.approx([4, 6])
    assert set(found["currency"]) == {"EUR"} and found["definition"].iloc[0].endswith("uplift 10 %")


def chain(*units, values=None):
    """A funnel with as many units at its steps a, b, c …; the last has these values."""
    rows = [(f"u{n}", k, "abcdefg"[k], None) for k, many in enumerate(units) for n in range(many)]
    last = len(units) - 1
    values = [20.0] * units[-1] if values is None else values
    rows = [row for row in rows if row[1] != last]
    rows += [(f"u{n}", last, "abcdefg"[last], value) for n, value in enumerate(values)]
    return table_without_currency([*rows, ("end", 9 * DAY, "z", None)]), list("abcdefg"[: len(units)])


def test_a_rate_is_raised_to_one_at_most_and_what_nobody_shows_is_null():
    table, steps = chain(20, 19, 19, 4)
    found = funnel.levers(table, steps, within="1 day")
    assert found["raised_rate"].tolist() == pytest.approx([1, 1, 4 / 19 * 1.1])
    assert found["orders"].tolist() == pytest.approx([4 * (20 / 19 - 1), 0, 0.4])
    assert found["saved_orders"].tolist() == pytest.approx([0.1 * 4 / 19, 0, 1.5])
    table, steps = chain(8, 3, 0, 0)
    found = funnel.levers(table, steps, within="1 day")
    assert found["orders"].tolist()[:2] == [0, 0] and pd.isna(found["orders"].iloc[2])
    assert found["saved_orders"].isna().tolist() == [False, True, True]  # nobody came to c, so who goes on from there?
    assert found[["value", "value_low", "saved_value", "value_per_order"]].isna().all(axis=None)
    table, steps = chain(8, 3, 0)
    assert funnel.levers(table, steps, within="1 day")["saved_orders"].tolist()[1] == pytest.approx(0.3)
    empty = funnel.levers(table, ["never", "z"], within="1 day")
    assert empty["units"].tolist() == [0] and empty[["rate", "orders", "saved_orders", "value"]].isna().all(axis=None)


@pytest.mark.parametrize("uplift", [0, 0.05, 0.3, 1])
def test_laws_of_levers(uplift):
    table, steps = chain(400, 180, 90, 30)
    found = funnel.levers(table, steps, within="1 day", uplift=uplift, draws=200)
    whole = funnel.steps(table, steps, within="1 day")
    for name in ("name", "units", "from_units", "rate", "low", "high", "dropped", "immature"):
        assert found[name].tolist() == whole[name].tolist()[1:], name
    room = found["raised_rate"] < 1
    assert found.loc[room, "orders"].tolist() == pytest.approx([30 * uplift] * room.sum())
    later = [90 / 180 * 30 / 90, 30 / 90, 1]
    saved = [lost * uplift * rates for lost, rates in zip(found["dropped"], later, strict=True)]
    assert found["saved_orders"].tolist() == pytest.approx(saved)
    for name, limits in (("orders", "orders"), ("saved_orders", "saved"), ("value", "value"), ("saved_value",) * 2):
        assert (found[f"{limits}_low"] <= found[name]).all() and (found[name] <= found[f"{limits}_high"]).all(), name
        assert uplift or (found[[name, f"{limits}_low", f"{limits}_high"]] == 0).all(axis=None)


def test_intervals_are_those_of_a_binomial_and_of_a_mean():
    dice = np.random.default_rng(4)
    values = dice.gamma(2, 30, 200)
    table, steps = chain(1000, 500, 200, values=values.tolist())
    found = funnel.levers(table, steps, within="1 day", draws=20_000)
    # A tenth of a binomial of 1000 with 0.2; and of the lost at the last step, with 0.3.
    row = found.iloc[1]
    assert row["orders_high"] - row["orders_low"] == pytest.approx(2 * 1.96 * 0.1 * math.sqrt(160), rel=0.03)
    assert row["saved_high"] - row["saved_low"] == pytest.approx(2 * 1.96 * 0.1 * math.sqrt(210), rel=0.03)
    relative = math.sqrt(160 / 200**2 + values.var(ddof=1) / 200 / values.mean() ** 2)
    assert row["value"] == pytest.approx(20 * values.mean())
    assert row["value_high"] - row["value_low"] == pytest.approx(2 * 1.96 * relative * row["value"], rel=0.04)


def test_values_that_are_missing_are_counted_and_one_value_has_no_spread():
    table, steps = chain(10, 4, values=[5.0, None, 15.0, None])
    row = funnel.levers(table, steps, within="1 day").iloc[0]
    assert (row["units"], row["valued"], row["value_per_order"]) == (4, 2, 10)
    table, steps = chain(10, 4, values=[5.0, None, None, None])
    row = funnel.levers(table, steps, within="1 day").iloc[0]
    assert row["valued"] == 1 and row["value"] == pytest.approx(2)
    assert pd.isna(row["value_low"]) and pd.isna(row["saved_value_high"])
    no_column = funnel.levers(events([("u", 0, "a"), ("u", 1, "b")], LOG), ["a", "b"], within="1 day").iloc[0]
    assert no_column["valued"] == 0 and pd.isna(no_column["value"]) and no_column["currency"] is None


@pytest.mark.parametrize(
    "switches",
    [
        {"entry": "first"},
        {"ties": "sequence"},
        {"order": "strict"},
        {"optional": 2},
        {"step_within": "5 seconds"},
        {"exclude": "x"},
        {"exclude": {"event": "x", "effect": "remove"}},
        {"unit": ["user_id", "sequence"]},
        {"resolution": "4 seconds"},
        {"period": Period.parse("2025-01")},
    ],
    ids=str,
)
def test_levers_stand_on_the_funnel_of_the_same_switches_and_values_are_those_of_its_last_step(switches):
    dice = random.Random(str(switches))
    rows = [(u, t, e, dice.randrange(3), float(dice.randrange(100))) for u, t, e in random_log(150, 3)]
    table = events([row for row in rows if row[2]], ("user_id", "timestamp", "event", "sequence", "value"))
    found = funnel.levers(table, ABC, within="20 seconds", draws=50, **switches)
    whole = funnel.steps(table, ABC, within="20 seconds", **switches)
    whole = whole[whole["dropped"].notna()]
    for name in ("step", "units", "from_units", "rate", "dropped", "immature"):
        assert found[name].tolist() == whole[name].tolist(), name
    assert (found["valued"] == found["units"].iloc[-1]).all() and found["valued"].iloc[0] > 3


def test_rows_of_levers_do_not_depend_on_the_order_of_events_and_the_seed_decides_the_rest():
    rows = [(u, t, e, float(k % 7)) for k, (u, t, e) in enumerate(random_log(200, 4))]
    one, same, other = (
        funnel.levers(table_without_currency(some), ABC, within="20 seconds", seed=seed)
        for some, seed in ((rows, 1), (shuffled(rows), 1), (rows, 2))
    )
    pd.testing.assert_frame_equal(one, same)
    assert not one["orders_low"].equals(other["orders_low"]) or not one["value_low"].equals(other["value_low"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uplift": 1.5}, "0 to 1"),
        ({"uplift": -0.1}, "0 to 1"),
        ({"draws": 0}, "draws 0"),
        ({"entry": "each"}, "from step to step"),
        ({"open": "union"}, "from step to step"),
        ({"order": "any"}, "from step to step"),
        ({"steps": ["a"]}, "one step has no rate"),
    ],
)
def test_a_wrong_parameter_of_levers_is_named(options, message):
    with pytest.raises(BadParameter, match=message):
        funnel.levers(table_without_currency(), **{"steps": ["a", "b"], "within": "1 day"} | options)


def test_two_currencies_are_no_sum():
    table = events([("u", 0, "a", 1.0, "EUR"), ("u", 1, "b", 1.0, "USD")], VALUED)
    with pytest.raises(BadParameter, match="two currencies"):
        funnel.levers(table, ["a", "b"], within="1 day")


# The largest drop


def stepped(*units, definition="closed, ordered"):
    """The table of `funnel.steps` with these units."""
    base = pd.array([None, *units[:-1]], "Int64")
    return pd.DataFrame(
        {"step": range(1, len(units) + 1), "name": list("abcdefg")[: len(units)], "units": units}
    ).assign(from_units=base, dropped=base - pd.array(units, "Int64"), definition=definition)


def test_a_clear_case_is_certain_and_the_lowest_rate_may_be_elsewhere():
    found = funnel.largest_drop(stepped(1000, 400, 100, 95))
    assert found[["step", "dropped", "rank"]].to_numpy().tolist() == [[2, 600, 1], [3, 300, 2], [4, 5, 3]]
    assert found["p_largest"].tolist() == [1, 0, 0] and found["p_lowest_rate"].tolist() == [0, 1, 0]
    assert found["rank_low"].tolist() == found["rank_high"].tolist() == [1, 2, 3]
    assert found["drop_rate"].tolist() == [0.6, 0.75, 0.05] and (found["drop_low"] < found["drop_rate"]).all()


def test_two_equal_drops_are_a_coin():
    found = funnel.largest_drop(stepped(900, 500, 100, 100), draws=4000)
    assert found["p_largest"].tolist() == pytest.approx([0.5, 0.5, 0], abs=0.03)
    assert found["rank"].tolist() == [1, 1, 3]
    assert found["rank_low"].tolist() == [1, 1, 3] and found["rank_high"].tolist() == [2, 2, 3]


def test_the_probability_is_that_of_all_multinomials_counted_out():
    levels = [6, 4, 10]
    total = sum(levels)
    exact = 0.0
    for one in range(total + 1):
        for two in range(total - one + 1):
            ways = math.comb(total, one) * math.comb(total - one, two)
            chance = ways * 0.3**one * 0.2**two * 0.5 ** (total - one - two)
            exact += chance * (1 if one > two else 0.5 if one == two else 0)
    found = funnel.largest_drop(stepped(20, 14, 10), draws=40_000)
    assert found["p_largest"].iloc[0] == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_add_up_to_one_and_ranks_are_ranks(seed):
    dice = random.Random(seed)
    units = sorted((dice.randrange(1, 60) for _ in range(5)), reverse=True)
    found = funnel.largest_drop(stepped(*units), draws=300, seed=seed)
    assert found["p_largest"].sum() == pytest.approx(1) and found["p_lowest_rate"].sum() == pytest.approx(1)
    assert found["dropped"].sum() == units[0] - units[-1]
    assert found["rank"].tolist() == [1 + sum(other > lost for other in found["dropped"]) for lost in found["dropped"]]
    assert found["rank_low"].ge(1).all() and found["rank_high"].le(4).all()
    assert (found["rank_low"] <= found["rank_high"]).all()
    pd.testing.assert_frame_equal(found, funnel.largest_drop(stepped(*units), draws=300, seed=seed))


def test_nobody_has_no_largest_drop_and_optional_steps_no_row():
    nobody = funnel.largest_drop(stepped(0, 0, 0))
    assert nobody["dropped"].tolist() == [0, 0]
    assert nobody[["rank", "rank_low", "p_largest", "p_lowest_rate", "drop_rate"]].isna().all(axis=None)
    table = events(random_log(200, 6), LOG)
    found = funnel.largest_drop(funnel.steps(table, [*ABC, "x"], within="20 seconds", optional=[3]))
    without = funnel.steps(table, ["a", "b", "x"], within="20 seconds")
    assert found["step"].tolist() == [2, 4]
    assert found["dropped"].tolist() == without["dropped"].tolist()[1:]


def test_what_is_no_closed_funnel_of_units_is_refused():
    table = events(random_log(50, 6), LOG)
    week = {"within": timedelta(days=7)}
    for said, message in (
        (funnel.steps(table, ABC, by="user_id", **week), "twice"),
        (funnel.steps(table, ABC, entry="each", **week), "no final levels"),
        (funnel.steps(table, ABC, open="first_touch", **week), "no final levels"),
        (funnel.steps(table, ["a"], **week), "two or more"),
    ):
        with pytest.raises(BadParameter, match=message):
            funnel.largest_drop(said)
    with pytest.raises(MissingColumns, match="dropped"):
        funnel.largest_drop(stepped(3, 2).drop(columns="dropped"))
    with pytest.raises(BadParameter, match="draws"):
        funnel.largest_drop(stepped(3, 2), draws=0)
