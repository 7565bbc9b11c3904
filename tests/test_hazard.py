"""The additive hazard: credit adds up, an optimiser of its likelihood agrees, shops of its own family are recovered."""

import math
import random
from datetime import date
from hashlib import md5

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, book, events, only, shuffled

from perfnb import workspace
from perfnb.attribution import noise
from perfnb.attribution.hazard import BASELINE, HALF_LIVES, _credited, _fitted, _seen, half_lives, hazard
from perfnb.attribution.paths import GROUPS
from perfnb.errors import BadParameter
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
HOUR, DAY = 3_600, 86_400


def random_log(persons, seed, span=40):
    """Visits and orders by the hour, with ties, nulls, orders without a value and two orders at one instant."""
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 6)):
            user = None if dice.random() < 0.03 else f"p{person}"
            at = dice.randrange(span * 24) * HOUR
            if dice.random() < 0.2:
                rows += [(user, at, "order", "x", dice.choice([None, 10.5, 99.25]))] * dice.choice([1, 1, 2])
            else:
                rows.append((user, at, "visit", dice.choice(["A", "B", "C", None]), None))
                if dice.random() < 0.3:
                    later = at + dice.choice([0, 1, 30]) * HOUR
                    rows.append((user, later, "order", "x", dice.choice([None, 5.25, 20])))
    return rows


LOG = random_log(200, seed=5)


def credit(table, column="credit"):
    return table.set_index("channel")[column].to_dict()


def shares(table):
    column = table if isinstance(table, pd.Series) else table.set_index("channel")["credit"]
    return column / column.sum()


def misallocated(one, other):
    return shares(one).sub(shares(other), fill_value=0).abs().sum() / 2


# Conservation


COUNTINGS = [
    {},
    {"lookback": None},
    {"lookback": "36 hours"},
    {"count": "first"},
    {"repeats": "overlap"},
    {"repeats": "overlap", "count": "first"},
    {"direct": "drop", "direct_channel": "A"},
    {"direct": "drop_last", "direct_channel": "A"},
    {"nulls": "persons"},
    {"events": ["visit"]},
]


@pytest.mark.parametrize("counting", COUNTINGS, ids=str)
def test_credit_and_value_add_up_to_the_events(counting):
    found = hazard(events(LOG, COLUMNS), **counting)
    counted = [row for row in LOG if row[2] == "order"]
    if counting.get("count") == "first":
        first = {user: at for user, at, *_ in sorted(counted, key=lambda row: -row[1])}
        counted = [row for row in counted if row[0] is None or row[1] == first[row[0]]]
    assert found["credit"].sum() == pytest.approx(len(counted), abs=1e-6)
    assert found["value"].sum() == pytest.approx(sum(value for *_, value in counted if value), abs=1e-6)
    assert found["share"].sum() == pytest.approx(1)
    assert (found[["credit", "value"]] >= 0).all(axis=None)
    assert (found["low"] <= found["credit"]).all() and (found["credit"] <= found["high"]).all()
    assert found["channel"].is_unique and {BASELINE, "(no touch)"} <= set(found["channel"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_period_counts_its_conversions_alone(engine):
    table = events(LOG, COLUMNS, engine=engine)
    period = Period(date(2025, 1, 11), date(2025, 1, 31))
    begins, ends = 10 * DAY, 30 * DAY
    inside = [row for row in LOG if row[2] == "order" and begins <= row[1] < ends]
    found = hazard(table, period=period, repeats="overlap")
    assert found["credit"].sum() == pytest.approx(len(inside))
    assert found["value"].sum() == pytest.approx(sum(value for *_, value in inside if value))
    if engine != "duckdb":
        there = hazard(events(LOG, COLUMNS), period=period, repeats="overlap")
        pd.testing.assert_frame_equal(found, there, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_another_engine_finds_the_same(engine):
    there, here = (half_lives(events(LOG, COLUMNS, engine=name)) for name in (engine, "duckdb"))
    pd.testing.assert_frame_equal(there, here, atol=1e-6)
    there, here = (hazard(events(LOG, COLUMNS, engine=name), lookback="10 days") for name in (engine, "duckdb"))
    pd.testing.assert_frame_equal(there, here, atol=1e-6)


def test_the_order_of_rows_decides_nothing():
    pd.testing.assert_frame_equal(hazard(events(LOG, COLUMNS)), hazard(events(shuffled(LOG), COLUMNS)))


def test_twice_the_persons_have_twice_the_credit():
    twice = LOG + [(None if user is None else f"again {user}", *rest) for user, *rest in LOG]
    one, two = hazard(events(LOG, COLUMNS)), hazard(events(twice, COLUMNS))
    assert credit(two) == pytest.approx({name: 2 * amount for name, amount in credit(one).items()}, abs=1e-4)
    assert set(two["half_life"].dropna()) == set(one["half_life"].dropna())


# Against the likelihood written out, person by person and day by day


def written_out(rows, half_life, *, lookback=30, since=-math.inf, until=math.inf, repeats="reset", count="every"):
    """Rows of a design matrix of conversions, their weights, and exposures, the baseline's last."""
    rows = [row for row in rows if row[0] is not None and row[1] < until]
    last = max(row[1] for row in rows)
    names = sorted({row[3] or "(unknown)" for row in rows if row[2] != "order"})
    exposure, design, weights = dict.fromkeys([*names, BASELINE], 0.0), [], []

    def kernel(days):
        return 2.0 ** (-min(days, lookback - 1) / half_life)

    for user in sorted({row[0] for row in rows}):
        orders = sorted(row[1] for row in rows if row[0] == user and row[2] == "order")
        if count == "first":
            orders = orders[:1] * orders.count(orders[0]) if orders else []
        touches = sorted((row[1], row[3] or "(unknown)") for row in rows if row[0] == user and row[2] != "order")
        spans = []
        for at, label in touches:
            after = [order for order in orders if order >= at]
            if count == "first" and orders and not after:
                continue
            led = after[:1] if repeats == "reset" or count == "first" else []
            spans.append((at, label, min([*led, at + lookback * DAY, last])))
        for at, label, stop in spans:
            if stop >= since:
                begun = min(int((stop - at) // DAY), lookback - 1)
                passed = int((since - at) // DAY) if since > at else 0
                exposure[label] += sum(kernel(day) for day in range(passed, begun + 1))
        for (at, _, stop), following in zip(spans, [*spans, (math.inf,)][1:], strict=True):
            if stop >= since:
                days = max(min(stop, following[0]) - max(at, since), 0) / DAY
                exposure[BASELINE] += min(days // 1 + 1, lookback) if following[0] > stop else days
        for order in sorted(set(orders)):
            earlier = max((before for before in orders if before < order), default=-math.inf)
            reach = earlier if repeats == "reset" else -math.inf
            led = [(at, label) for at, label in touches if reach < at <= order and order - at <= lookback * DAY]
            if led and order >= since:
                line = dict.fromkeys([*names, BASELINE], 0.0) | {BASELINE: 1.0}
                for at, label in led:
                    line[label] += kernel((order - at) // DAY)
                design.append(list(line.values()))
                weights.append(orders.count(order))
    return [*names, BASELINE], np.array(design), np.array(weights, float), np.array(list(exposure.values()))


def optimised(names, design, weights, exposure):
    """Credit and log-likelihood by a general optimiser, in the logarithms of the coefficients."""
    from scipy.optimize import minimize

    def lost(logs):
        rates = np.exp(logs)
        hazards = design @ rates
        slope = design.T @ (weights / hazards) - exposure
        return exposure @ rates - weights @ np.log(hazards), -slope * rates

    start = np.log(weights.sum() / len(names) / exposure)
    best = minimize(lost, start, jac=True, method="L-BFGS-B", options={"maxiter": 20_000, "ftol": 1e-15, "gtol": 1e-9})
    rates = np.exp(best.x)
    parts = design * rates
    return dict(zip(names, (parts / parts.sum(axis=1, keepdims=True)).T @ weights, strict=True)), -best.fun


@pytest.mark.parametrize("half_life", [1.0, 7.0])
@pytest.mark.parametrize(
    "counting",
    [
        {},
        {"lookback": 10},
        {"count": "first"},
        {"repeats": "overlap"},
        {"since": 10 * DAY, "until": 30 * DAY},
        {"since": 10 * DAY, "until": 30 * DAY, "repeats": "overlap"},
    ],
    ids=str,
)
def test_an_optimiser_of_the_likelihood_written_out_agrees(counting, half_life):
    options = {name: counting[name] for name in ("count", "repeats") if name in counting}
    if "since" in counting:
        options["period"] = Period(date(2025, 1, 11), date(2025, 1, 31))
    options["lookback"] = f"{counting.get('lookback', 30)} days"
    expected, likelihood = optimised(*written_out(LOG, half_life, **counting))
    table = events(LOG, COLUMNS)
    found = credit(hazard(table, half_life=f"{half_life:g} days", **options))
    found.pop("(no touch)")
    assert found == pytest.approx(expected, abs=0.02)
    grid = half_lives(table, **options)
    assert only(grid, half_life=half_life)["log_likelihood"] == pytest.approx(likelihood, abs=1e-4)
    assert grid.loc[grid["chosen"], "log_likelihood"].tolist() == [grid["log_likelihood"].max()]


# By hand


def test_two_channels_by_hand():
    """On the first day, of 4 touches of A and 4 of B, 3 and 1 convert; nobody is watched longer. Then the hazard of
    A is 3/4 and of B 1/4 a day, and a person with both shares a conversion as 3 to 1.
    """
    rows = [(f"a{k}", 0, "visit", "A", None) for k in range(4)] + [(f"b{k}", 0, "visit", "B", None) for k in range(4)]
    rows += [(f"a{k}", HOUR, "order", "x", 10) for k in range(3)] + [("b0", HOUR, "order", "x", 20)]
    found = hazard(events(rows, COLUMNS))
    assert credit(found) == pytest.approx({"A": 3, "B": 1, BASELINE: 0}, abs=1e-5)
    assert credit(found, "value") == pytest.approx({"A": 30, "B": 20, BASELINE: 0}, abs=1e-3)


def test_those_who_do_not_convert_take_credit_from_a_channel():
    """Both channels are in every path that converts; only B is also in many that do not."""
    rows = [(f"p{k}", at, "visit", label, None) for k in range(20) for at, label in ((0, "A"), (1, "B"))]
    rows += [(f"p{k}", HOUR, "order", "x", 1) for k in range(20)]
    rows += [(f"q{k}", 0, "visit", "B", None) for k in range(200)]
    rows += [("end", 40 * DAY, "visit", "B", None)]
    found = credit(hazard(events(rows, COLUMNS)))
    assert found["A"] == pytest.approx(20, abs=1e-4)


# Cases at the edge


def test_without_a_conversion_there_is_no_row_but_the_columns():
    found = hazard(events([("u", 0, "visit", "A", None)], COLUMNS))
    assert found.empty and {"model", "channel", "credit", "low", "value_high", "half_life"} <= set(found)
    assert half_lives(events([("u", 0, "visit", "A", None)], COLUMNS)).empty


def test_conversions_none_of_which_has_a_touch_in_the_look_back_keep_their_row():
    rows = [("u", 0, "visit", "A", None), ("u", 40 * DAY, "order", "x", 10), (None, DAY, "order", "x", 5)]
    found = hazard(events(rows, COLUMNS))
    assert credit(found) == {"(no touch)": 2} and credit(found, "value") == {"(no touch)": 15}
    assert half_lives(events(rows, COLUMNS)).empty
    whole = credit(hazard(events(rows, COLUMNS), lookback=None))
    assert whole["(no touch)"] == 1 and sum(whole.values()) == pytest.approx(2)


def test_a_channel_that_precedes_no_conversion_has_credit_0():
    rows = [("u", 0, "visit", "A", None), ("u", HOUR, "order", "x", 1), ("v", 0, "visit", "B", None)]
    found = only(hazard(events(rows, COLUMNS)), channel="B")
    assert found[["credit", "low", "value", "value_low"]].tolist() == [0, 0, 0, 0]
    assert found["high"] <= 1 and found["value_high"] <= 1


def test_a_touch_at_the_very_moment_of_its_conversion_has_been_watched_for_a_day():
    rows = [("u", 0, "visit", "A", None), ("u", 0, "visit", "B", None), ("u", 0, "order", "x", 1)]
    rows += [("v", 0, "visit", "A", None)]
    found = hazard(events(rows, COLUMNS))
    assert credit(found) == pytest.approx({"A": 0, "B": 1, BASELINE: 0}, abs=1e-5)


def test_what_touches_explain_as_well_as_the_baseline_is_the_touches():
    """One touch each, and everybody converts on the first day."""
    rows = [(f"p{k}", 0, "visit", "A", None) for k in range(5)]
    rows += [(f"p{k}", HOUR, "order", "x", 1) for k in range(5)]
    found = credit(hazard(events(rows, COLUMNS)))
    assert found == pytest.approx({"A": 5, BASELINE: 0}, abs=1e-4)


def test_channels_that_are_always_met_together_share_alike():
    rows = [(f"p{k}", 0, "visit", label, None) for k in range(30) for label in "AB"]
    rows += [(f"p{k}", HOUR, "order", "x", 1) for k in range(10)]
    found = hazard(events(rows, COLUMNS))
    assert credit(found) == pytest.approx({"A": 5, "B": 5, BASELINE: 0}, abs=1e-4)
    assert np.isfinite(found[["low", "high"]].to_numpy()).all()


def test_two_orders_at_one_instant_weigh_twice():
    rows = [("u", 0, "visit", "A", None), ("u", 1, "order", "x", 10), ("u", 1, "order", "x", 20)]
    rows += [("v", 0, "visit", "B", None), ("v", 1, "order", "x", 1)]
    assert credit(hazard(events(rows, COLUMNS))) == pytest.approx({"A": 2, "B": 1, BASELINE: 0}, abs=1e-4)


def test_ages_beyond_every_kernel_do_no_harm():
    rows = [("u", 0, "visit", "A", None), ("u", 9000 * DAY, "order", "x", 9), ("v", 0, "visit", "B", None)]
    found = credit(hazard(events(rows, COLUMNS), lookback=None, half_life="1 day"))
    assert found == pytest.approx({"A": 0, "B": 0, BASELINE: 1}, abs=1e-6)


def test_without_values_credit_alone_is_given():
    rows = [("u", 0, "visit", "A"), ("u", 1, "order", "x")]
    found = hazard(events(rows))
    assert found[["value", "value_low", "value_high"]].isna().all(axis=None) and found["credit"].sum() == 1


@pytest.mark.parametrize("half_life", ["0 days", "a while"])
def test_a_half_life_of_nothing_is_refused(half_life):
    with pytest.raises(BadParameter, match=half_life):
        hazard(events(LOG, COLUMNS), half_life=half_life)


def test_a_table_of_paths_is_refused():
    with pytest.raises(BadParameter, match="does not say when"):
        hazard(pd.DataFrame({"path": ["A"], "conversions": [1]}))


def test_without_those_who_do_not_convert_nothing_can_be_learnt():
    with pytest.raises(BadParameter, match="nulls 'none'"):
        hazard(events(LOG, COLUMNS), nulls="none")


# Shops of the model's own family, whose parameters are known

BETA = {"Search": 0.006, "Social": 0.002, "Display": 0.0004, "Email": 0.004, "Video": 0.001, "Brand": 0.012}
VISITS = {"Search": 0.8, "Social": 1.2, "Display": 3.0, "Email": 0.8, "Video": 1.0, "Brand": 0.4}


def own_family(persons, seed, half_life, *, mu=0.0005, days=90, lookback=30):
    """Events of persons whose hazard is mu + the sum of beta × 2^(-age / half_life), and the expected credit.

    Visits come at random. Each sets off conversions of its own (as does the baseline), and
    the first of them ends the work of all visits before it.
    """
    dice = np.random.default_rng(seed)
    names, beta = list(BETA), np.array(list(BETA.values()))
    counts = dice.poisson(np.array(list(VISITS.values())) * dice.gamma(2, 0.5, (persons, 1)))
    user, channel = (np.repeat(index, counts.ravel()) for index in map(np.ravel, np.indices(counts.shape)))
    at = dice.uniform(0, days, user.size)
    reach = 1 - 2 ** (-lookback / half_life)
    parent = np.repeat(np.arange(user.size), dice.poisson(beta[channel] * half_life / math.log(2) * reach))
    age = -half_life * np.log2(1 - reach * dice.random(parent.size))
    alone = np.repeat(np.arange(persons), dice.poisson(mu * days, persons))
    frame = pd.DataFrame(
        {
            "user": np.concatenate([user[parent], alone]),
            "ends": np.concatenate([at[parent] + age, dice.uniform(0, days, alone.size)]),
            "born": np.concatenate([at[parent], np.full(alone.size, np.inf)]),
        }
    )
    frame = frame[frame["ends"] < days].sort_values(["user", "ends"])
    kept, before = [], {}
    for person, ends, born in frame.itertuples(index=False):
        if born > before.get(person, -math.inf):
            kept.append((person, ends))
            before[person] = ends
    orders = pd.DataFrame(kept, columns=["user", "ends"]).sort_values("ends")
    touches = pd.DataFrame({"user": user, "at": at, "channel": np.array(names)[channel], "beta": beta[channel]})
    led = pd.merge_asof(
        touches.sort_values("at"), orders, left_on="at", right_on="ends", by="user", direction="forward"
    )
    led = led[led["ends"] - led["at"] <= lookback]
    led["part"] = led["beta"] * 2 ** (-(led["ends"] - led["at"]) / half_life)
    led["whole"] = led.groupby(["user", "ends"])["part"].transform("sum") + mu
    truth = (led["part"] / led["whole"]).groupby(led["channel"]).sum()
    touched = led.groupby(["user", "ends"]).ngroups
    truth[BASELINE], truth["(no touch)"] = touched - truth.sum(), len(orders) - touched
    log = pd.concat(
        [
            touches.rename(columns={"user": "user_id", "at": "day"}).assign(event="visit")[
                ["user_id", "day", "event", "channel"]
            ],
            orders.rename(columns={"user": "user_id", "ends": "day"}).assign(
                event="order", channel=None, value=dice.gamma(2, 40, len(orders)).round(2)
            ),
        ]
    )
    log["timestamp"] = pd.Timestamp("2025-01-01") + pd.to_timedelta((log.pop("day") * DAY).round(), unit="s")
    return book(touchpoints=log.astype({"user_id": "string", "channel": "string"})).touchpoints, truth


@pytest.mark.parametrize("half_life", [2.0, 7.0, 14.0])
def test_a_shop_of_the_models_own_family_is_recovered(half_life):
    touchpoints, truth = own_family(30_000, 1, half_life)
    found = hazard(touchpoints)
    assert set(found["half_life"].dropna()) == {half_life}
    assert misallocated(found, truth) < 0.03
    inside = found.set_index("channel").loc[truth.index]
    assert ((inside["low"] <= truth) & (truth <= inside["high"])).all()


def at_the_door():
    """The sample: all orders come in a visit, the baseline explains none of them and one channel next to none."""
    if not SAMPLES.exists():
        pytest.skip("no data_samples")
    return workspace.open(SAMPLES).touchpoints


@pytest.mark.parametrize(
    "shop, options",
    [(lambda: own_family(2_000, 4, 7.0)[0], {"half_life": "7 days"}), (at_the_door, {"events": ["visit"]})],
    ids=["own family", "at the door"],
)
def test_intervals_are_those_of_the_jack_knife_with_every_group_fitted_again(shop, options):
    touchpoints = shop()
    options = {"half_life": "1 day"} | options
    found = hazard(touchpoints, **options).set_index("channel")
    log = touchpoints.rows()
    digits = log["user_id"].map(lambda user: md5(user.encode()).hexdigest()[:2], na_action="ignore")
    group = digits.map(lambda text: int(text, 16) % GROUPS, na_action="ignore").fillna(0)
    # The data end where they did, whoever is left out.
    end = log.loc[[log["timestamp"].idxmax()]].assign(user_id=pd.NA, event="visit")
    out = []
    for left in range(GROUPS):
        rest = book(touchpoints=pd.concat([log[group != left], end])).touchpoints
        out.append(hazard(rest, **options).set_index("channel")[["credit", "value"]])
    total = found["credit"].sum()
    for column, prefix, one in (("credit", "", 1), ("value", "value_", found["value"].sum() / total)):
        left_out = pd.concat([table[column] for table in out], axis=1).reindex(found.index).fillna(0)
        limits = noise.limits(
            found[column].to_numpy(), noise.variance(left_out.to_numpy() * GROUPS / (GROUPS - 1)), one
        )
        for name, limit in zip(("low", "high"), limits, strict=True):
            assert found[prefix + name].to_numpy() == pytest.approx(limit, rel=1e-3, abs=1e-2 * one)


def test_no_limit_is_above_all_conversions():
    """Past bug: of 896 conversions one channel had up to 7,419, the baseline up to 23,655."""
    found = hazard(at_the_door(), events=["visit"])
    assert (found["high"] <= 896).all() and (found["value_high"] <= found["value"].sum()).all()
    assert only(found, channel=BASELINE)["high"] < 9
    alone = hazard(events([("u", 0, "visit", "A", None), ("u", 1, "order", "x", 5)], COLUMNS))
    assert alone["high"].tolist() == [1, 1] and alone["value_high"].tolist() == [5, 5]


def test_what_is_left_without_a_group_adds_up():
    touchpoints = at_the_door()
    seen = _seen(touchpoints, {"events": ["visit"]})
    _, _, *outs = _credited(seen, _fitted(seen, 1.0))
    for amount, out in zip((seen.conversions, seen.value), outs, strict=True):
        by_group = np.bincount(seen.group, amount, GROUPS)
        assert out.sum(axis=0) == pytest.approx(noise.leave_out(by_group), rel=1e-9) and (out >= 0).all()


def test_intervals_cover_what_is_expected_of_shops_of_the_models_own_family():
    """Of 24 shops' 95 % intervals some 95 % hold the mean credit of all shops."""
    shops = [own_family(3_000, seed, 7.0) for seed in range(24)]
    expected = pd.DataFrame([truth for _, truth in shops]).mean()
    held = []
    for touchpoints, _ in shops:
        found = hazard(touchpoints, half_life="7 days").set_index("channel").reindex(expected.index)
        held.append((found["low"] <= expected) & (expected <= found["high"]))
    assert 0.9 <= np.mean(held) <= 0.98


def test_the_grid_is_shown_with_its_likelihoods():
    touchpoints, _ = own_family(5_000, 3, 4.0)
    found = half_lives(touchpoints)
    assert found["half_life"].tolist() == list(HALF_LIVES) and found.loc[found["chosen"], "half_life"].tolist() == [4]
