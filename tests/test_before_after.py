"""Before/after: a plain implementation beside it, laws, planted effects, refusals, and how often its interval holds."""

import math
import random
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, book, only

from perfnb import kpi, workspace
from perfnb.errors import BadParameter
from perfnb.kpi.before_after import before_after, log_changes, placebos, verdict, window_sums

FIRST = date(2025, 1, 6)
PAID, MAIL = {"channel": "Paid Search"}, {"channel": "Email"}
QUANTILES = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201}


def day(number):
    """The day so many days after the first."""
    return FIRST + timedelta(days=number)


def figures_of(**channels):
    """A result of `kpi.daily` by channel; each channel is {column: one figure per day}, None where it has no row."""
    rows = [
        {"date": pd.Timestamp(day(number)), "channel": channel.replace("_", " ")}
        | {name: values[number] for name, values in columns.items()}
        for channel, columns in channels.items()
        for number in range(len(next(iter(columns.values()))))
        if any(values[number] is not None for values in columns.values())
    ]
    return pd.DataFrame(rows).assign(action="orders", currency="EUR")


def noisy(seed, days, level=40):
    """Daily orders and visits that move with the weekday and by chance."""
    dice = random.Random(seed)
    orders = [dice.randint(level // 2, 2 * level) + 5 * (number % 7) for number in range(days)]
    return {"orders": orders, "visits": [10 * count + dice.randint(0, 200) for count in orders]}


def pair(seed, days=112, level=40):
    return figures_of(Paid_Search=noisy(seed, days, level), Email=noisy(seed + 1000, days, 30))


def found(figures, change, **options):
    """The one row of the result."""
    return only(before_after(figures, day=change, **({"kpi": "orders", "segment": PAID, "control": MAIL} | options)))


def plain(segment, control, change, w):
    """The method once more, in loops: effect, low, high, placebos, df. Sides are lists of (numerator, denominator)."""

    def value(side, t):
        top, bottom = (sum(one[part] for one in side[t : t + w]) for part in (0, 1))
        return top / bottom

    def k(t):
        own = math.log(value(segment, t) / value(segment, t - w))
        return own - (math.log(value(control, t) / value(control, t - w)) if control else 0.0)

    quiet = [k(t) for t in range(w, change - w + 1)]
    df = max(2, len(quiet) // w)
    half = QUANTILES[df] * math.sqrt(sum(one * one for one in quiet) / len(quiet))
    ends = (k(change), k(change) - half, k(change) + half)
    return *(math.exp(end) - 1 for end in ends), len(quiet), df


def sides(figures, name):
    """The channel's days as (numerator, denominator) of a kpi."""
    columns = {"orders": ("orders", None), "cvr_visit": ("orders", "visits")}[name]

    def of(channel):
        rows = figures[figures["channel"] == channel]
        below = rows[columns[1]] if columns[1] else None
        # A count is its mean per day: the same for every window.
        return list(zip(rows[columns[0]], below if below is not None else [1] * len(rows), strict=True))

    return of("Paid Search"), of("Email")


# The method once more


@pytest.mark.parametrize("name", ["orders", "cvr_visit"])
@pytest.mark.parametrize(("w", "days", "change"), [(14, 112, 90), (14, 200, 182), (28, 168, 140), (7, 60, 50)])
def test_result_equals_a_plain_implementation_with_and_without_a_control(name, w, days, change):
    for seed in range(5):
        figures = pair(seed, days)
        segment, control = sides(figures, name)
        for other in (MAIL, None):
            row = found(figures, day(change), kpi=name, window=w, control=other)
            *ends, count, df = plain(segment, control if other else None, change, w)
            np.testing.assert_allclose(row[["effect", "low", "high"]].to_numpy(float), ends, rtol=2e-3, atol=2e-3)
            assert row["effect"] == pytest.approx(ends[0], rel=1e-12)
            assert (row["placebos"], row["df"]) == (count, df) == (change - 2 * w + 1, df)


@pytest.mark.parametrize(("df", "quantile"), QUANTILES.items())
def test_half_width_is_students_t_as_printed_in_the_method(df, quantile):
    w = 14
    moves = np.concatenate([np.tile([0.1, -0.1], df * w // 2), np.zeros(w)])
    _, half, count, degrees = verdict(moves, w)
    assert (count, degrees) == (df * w, df)
    assert half / 0.1 == pytest.approx(quantile, abs=6e-4)


def test_a_hand_made_table_of_two_flat_channels():
    flat = figures_of(Paid_Search={"orders": [10] * 56 + [12] * 14}, Email={"orders": [5] * 56 + [6] * 7 + [4] * 7})
    row = found(flat, day(56))
    assert (row["before"], row["after"], row["control_before"], row["control_after"]) == (140, 168, 70, 70)
    assert row["effect"] == pytest.approx(0.2) and row["expected"] == pytest.approx(140)
    assert row["extra"] == pytest.approx(28) and row["status"] == "separable_up"
    assert (row["before_since"], row["before_last_day"]) == (pd.Timestamp(day(42)), pd.Timestamp(day(55)))
    assert (row["since"], row["last_day"], row["window"]) == (pd.Timestamp(day(56)), pd.Timestamp(day(69)), 14)
    assert (row["history"], row["placebos"], row["df"]) == (56, 29, 2)


def test_rounding_is_no_effect():
    flat = figures_of(Paid_Search={"orders": [3.0] * 56 + [3.3] * 14}, Email={"orders": [7.0] * 56 + [7.7] * 14})
    row = found(flat, day(56))
    assert row["usual_high"] == 0 and 0 < abs(row["effect"]) < 1e-12
    assert row["status"] == "not_separable"


# Laws


@pytest.mark.parametrize("effect", [0.2, 0.0, -0.2])
@pytest.mark.parametrize("name", ["revenue", "aov"])
def test_a_planted_effect_is_found_exactly_below_any_market_and_any_weekday(effect, name):
    dice = random.Random(3)
    market = [math.exp(dice.gauss(0, 0.3) + 0.01 * number) * (1 + number % 7) for number in range(100)]
    lift = [1 + effect * (number >= 84) for number in range(100)]
    figures = figures_of(
        Paid_Search={"revenue": [7 * m * up for m, up in zip(market, lift, strict=True)], "orders": [2] * 100},
        Email={"revenue": market, "orders": [1] * 100},
    )
    row = found(figures, day(84), kpi=name)
    assert [row[end] for end in ("effect", "low", "high")] == pytest.approx([effect] * 3, abs=1e-12)
    assert row["status"] == {0.2: "separable_up", 0.0: "not_separable", -0.2: "separable_down"}[effect]


def test_a_factor_on_one_side_changes_no_effect_and_scales_what_is_extra():
    figures = pair(1)
    larger = figures.assign(orders=figures["orders"] * np.where(figures["channel"] == "Paid Search", 7.0, 0.5))
    one, other = found(figures, day(90)), found(larger, day(90))
    for name in ("effect", "low", "high", "half_width", "usual_low", "usual_high"):
        assert other[name] == pytest.approx(one[name], rel=1e-12), name
    for name in ("before", "after", "expected", "extra", "extra_low", "extra_high"):
        assert other[name] == pytest.approx(7 * one[name], rel=1e-9), name
    assert other["control_after"] == one["control_after"] / 2


def test_segment_and_control_exchanged_turn_the_sign_of_the_log_effect():
    one = found(pair(2), day(90))
    other = found(pair(2), day(90), segment=MAIL, control=PAID)
    for end, opposite in (("effect", "effect"), ("low", "high"), ("high", "low")):
        assert math.log1p(other[end]) == pytest.approx(-math.log1p(one[opposite]), abs=1e-12)


def test_order_of_rows_and_a_finer_split_do_not_matter():
    figures = pair(3)
    parts = [
        figures.assign(campaign=name, orders=figures["orders"] * part) for name, part in (("a", 0.25), ("b", 0.75))
    ]
    finer = pd.concat(parts).sample(frac=1, random_state=1)
    stacked = pd.concat([rows.reset_index(drop=True) for _, rows in figures.groupby("channel")])
    expected = before_after(figures, kpi="orders", day=day(90), segment=PAID, control=MAIL)
    for other in (finer, stacked):
        result = before_after(other, kpi="orders", day=day(90), segment=PAID, control=MAIL)
        pd.testing.assert_frame_equal(result, expected, rtol=1e-12)


def test_what_is_given_is_not_changed():
    figures = pair(4)
    kept = figures.copy(deep=True)
    placebos(figures, kpi="orders", day=day(90), segment=PAID, control=MAIL)
    pd.testing.assert_frame_equal(figures, kept)


def test_status_interval_and_usual_variation_agree_on_random_tables():
    seen = set()
    for seed in range(60):
        figures = pair(seed, level=60)
        lift = random.Random(seed).choice([0.5, 1.0, 1.0, 1.6])
        changed = (figures["channel"] == "Paid Search") & (figures["date"] >= pd.Timestamp(day(90)))
        row = found(figures.assign(orders=figures["orders"] * np.where(changed, lift, 1.0)), day(90))
        holds_zero = row["low"] <= 0 <= row["high"]
        assert holds_zero == (row["status"] == "not_separable")
        assert holds_zero == (row["usual_low"] <= row["effect"] <= row["usual_high"])
        assert row["half_width"] == pytest.approx((row["high"] - row["low"]) / 2)
        for end, extra in (("effect", "extra"), ("low", "extra_low"), ("high", "extra_high")):
            assert row[extra] == pytest.approx(row["after"] - row["after"] / (1 + row[end]))
        assert row["expected"] == pytest.approx(row["before"] * row["control_after"] / row["control_before"])
        seen.add(row["status"])
    assert seen == {"separable_up", "separable_down", "not_separable"}


def test_interval_holds_the_truth_nineteen_times_of_twenty_where_the_market_wanders():
    dice, runs, w, history, effect = np.random.default_rng(5), 1500, 14, 182, 0.15
    market = np.cumsum(dice.normal(0, 0.038, (runs, history + w)), axis=1)
    lift = np.where(np.arange(history + w) >= history, np.log1p(effect), 0.0)
    segment, control = (dice.poisson(90 * np.exp(market + own)) for own in (lift, 0.0))
    k, half, _, _ = verdict(log_changes(window_sums(segment, w), window_sums(control, w), w), w)
    covered = (np.abs(k - np.log1p(effect)) <= half).mean()
    assert 0.93 < covered < 0.985  # a standard error is .006
    # Without the control the same estimate errs by what the market did.
    alone = log_changes(window_sums(segment, w), None, w)[:, -1] - np.log1p(effect)
    assert alone.std() > 1.7 * (k - np.log1p(effect)).std()


# Ratios


def test_a_ratio_brings_its_parts_and_is_the_count_where_the_denominator_stands_still():
    figures = pair(5).assign(visits=100.0)
    ratio, count = found(figures, day(90), kpi="cvr_visit"), found(figures, day(90))
    for name in ("effect", "low", "high"):
        assert ratio[name] == pytest.approx(count[name], rel=1e-12)
    assert (ratio["numerator_before"], ratio["denominator_before"]) == (count["before"], 1400)
    assert ratio["after"] == pytest.approx(ratio["numerator_after"] / ratio["denominator_after"])
    assert ratio["control_after"] == pytest.approx(
        ratio["control_numerator_after"] / ratio["control_denominator_after"]
    )
    assert math.isnan(count["numerator_before"]) and ratio["unit"] == "share"


def test_conversions_say_what_they_count():
    figures = pair(6).assign(conversions=lambda table: table["visits"], clicks=50.0, action="leads")
    assert found(figures, day(90), kpi="cvr", action="leads")["action"] == "leads"
    assert found(figures, day(90))["action"] is None
    with pytest.raises(BadParameter, match="action 'orders': the figures count leads"):
        found(figures, day(90), kpi="cvr")


# Placebos


def test_placebos_are_the_quiet_days_and_their_root_mean_square_makes_the_interval():
    figures, change, w = pair(7, 120), 90, 14
    table = placebos(figures, kpi="orders", day=day(change), segment=PAID, control=MAIL)
    row = found(figures, day(change))
    quiet = table[table["kind"] == "placebo"]
    assert len(quiet) == row["placebos"] == change - 2 * w + 1
    assert quiet["date"].tolist() == [pd.Timestamp(day(number)) for number in range(w, change - w + 1)]
    last = table.iloc[-1]
    assert (last["kind"], last["date"], last["effect"]) == ("measured", pd.Timestamp(day(change)), row["effect"])
    error = math.sqrt((np.log1p(quiet["effect"]) ** 2).mean())
    assert math.log1p(row["usual_high"]) == pytest.approx(QUANTILES[row["df"]] * error, rel=2e-4)
    assert set(table["usual_high"]) == {row["usual_high"]} and set(table["usual_low"]) == {row["usual_low"]}
    # A placebo is what would have been found on its day.
    for number in (70, 76):
        earlier = found(figures, day(number))
        assert only(table, date=pd.Timestamp(day(number)))["effect"] == pytest.approx(earlier["effect"], rel=1e-12)


def test_history_keeps_to_the_days_asked_for():
    figures = pair(8, 200)
    short = found(figures, day(180), history="12 weeks")
    cut = found(figures[figures["date"] >= pd.Timestamp(day(96))], day(180))
    assert short["history"] == 84 and found(figures, day(180))["history"] == 180
    for name in ("effect", "low", "high", "placebos", "df"):
        assert short[name] == cut[name], name
    assert found(figures, day(180), history=84)["low"] == short["low"]


# Engines


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_of_any_engine_gives_what_its_daily_sums_give(engine):
    frame = pair(9).drop(columns="action").assign(revenue=9.5)
    rows = pd.concat([frame.assign(campaign=name) for name in ("a", "b")], ignore_index=True)
    campaigns = book(engine, campaigns=rows.assign(date=rows["date"].dt.date)).campaigns
    frame = frame.assign(orders=2 * frame["orders"], visits=2 * frame["visits"])
    options = {"kpi": "cvr_visit", "day": "2025-04-06", "segment": PAID, "control": {"channel": ["Email"]}}
    expected = before_after(frame, **options)
    pd.testing.assert_frame_equal(before_after(campaigns, **options), expected, rtol=1e-12)
    pd.testing.assert_frame_equal(before_after(kpi.daily(campaigns, by=["channel"]), **options), expected, rtol=1e-12)
    whole = only(before_after(campaigns, kpi="orders", day=day(90)))
    assert whole["before"] == frame.loc[frame["date"].between("2025-03-23", "2025-04-05"), "orders"].sum()
    assert whole["segment"] is None and whole["control"] is None


def test_the_sample_shops_campaign_is_found_and_its_orders_are_not_told_from_chance(samples):
    campaigns = workspace.open(samples).campaigns
    options = {"day": "2025-08-04", "segment": PAID, "control": {"channel": ["Direct", "Organic Search"]}}
    clicks = only(before_after(campaigns, kpi="visits", **options))
    assert clicks["status"] == "separable_up" and clicks["low"] > 0.1
    assert only(before_after(campaigns, kpi="orders", **options))["status"] == "not_separable"


# What it says, and what it refuses


def test_a_control_that_is_missing_and_a_short_history_are_flagged():
    figures = pair(10, 120)
    assert found(figures, day(84))["flag"] is None
    assert found(figures, day(83))["flag"] == "short_history"
    alone = found(figures, day(84), control=None)
    assert alone["flag"] == "no_control" and math.isnan(alone["control_before"])
    assert alone["effect"] == pytest.approx(alone["after"] / alone["before"] - 1)
    assert found(figures, day(56), control=None)["flag"] == "no_control, short_history"
    with pytest.raises(BadParameter, match=r"55 days of history.*at least 56, better 84"):
        found(figures, day(55))
    with pytest.raises(BadParameter, match="0 days of history"):
        found(figures, day(-40), window=7)


def test_a_window_is_whole_weeks_and_over():
    figures = pair(11, 100)
    rows = [found(figures, day(86), window=window) for window in (14, "14 days", "2 weeks", timedelta(days=14))]
    assert len({row["high"] for row in rows}) == 1
    for window in (10, "30 days", 0, "12 hours", -7):
        with pytest.raises(BadParameter, match="expected whole weeks"):
            found(figures, day(86), window=window)
    with pytest.raises(BadParameter, match="the window lasts until 2025-04-16, the data until 2025-04-15"):
        found(figures, day(87))
    for change in ("2025-04-02", pd.Timestamp("2025-04-02")):
        assert found(figures, change)["since"] == pd.Timestamp("2025-04-02")
    for change in ("2. April", pd.Timestamp("2025-04-02 12:00"), None):
        with pytest.raises(BadParameter, match="is no day"):
            found(figures, change)


@pytest.mark.parametrize("zero", [range(14), range(90, 104), range(30, 44)])
def test_a_window_with_nothing_in_it_gives_no_result_and_says_so(zero):
    figures = pair(12)
    nothing = figures["date"].isin([pd.Timestamp(day(number)) for number in zero])
    figures["orders"] = figures["orders"].where(~(nothing & (figures["channel"] == "Paid Search")), 0)
    row = found(figures, day(90))
    assert (row["status"], row["flag"], row["placebos"]) == ("no_result", "empty_window", 0)
    assert row[["effect", "low", "high", "half_width", "usual_low", "expected", "extra", "extra_low"]].isna().all()
    table = placebos(figures, kpi="orders", day=day(90), segment=PAID, control=MAIL)
    lost = table[table["effect"].isna()]
    assert len(lost) and (lost["flag"] == "empty_window").all() and table["usual_high"].isna().all()
    assert table.loc[table["effect"].notna(), "flag"].isna().all()
    if zero.stop < 34:  # the way out
        assert found(figures, day(90), history=56)["status"] != "no_result"


def test_a_ratio_without_a_denominator_or_below_zero_has_no_result():
    figures = pair(13)
    empty = found(figures.assign(visits=0.0), day(90), kpi="cvr_visit")
    assert empty["status"] == "no_result" and math.isnan(empty["after"]) and empty["denominator_after"] == 0
    loss = figures.assign(contribution=1.0, cost=2.0)
    assert found(loss, day(90), kpi="profit")["status"] == "no_result"


def test_days_without_any_row_are_refused_in_the_windows_and_left_out_before():
    figures = pair(14)
    gone = figures[~figures["date"].isin([pd.Timestamp(day(number)) for number in (77, 103)])]
    with pytest.raises(BadParameter, match=r"on 2 of the 28 days .* orders of the segment .*2025-03-24, 2025-04-19"):
        found(gone, day(90))
    gone = figures[figures["date"] != pd.Timestamp(day(20))]
    row = found(gone, day(90))
    # Day 20 is in one of the two windows of the placebos at 14 … 34.
    assert (row["placebos"], row["flag"]) == (63 - 21, "missing_days")
    assert row["effect"] == found(figures, day(90))["effect"]
    table = placebos(gone, kpi="orders", day=day(90), segment=PAID, control=MAIL)
    lost = table[table["effect"].isna()]
    assert lost["date"].tolist() == [pd.Timestamp(day(number)) for number in range(14, 35)]
    assert (lost["flag"] == "missing_days").all()
    assert math.sqrt((np.log1p(table["effect"].iloc[:-1]) ** 2).mean()) * QUANTILES[3] == pytest.approx(
        math.log1p(row["usual_high"]), rel=2e-4
    )
    with pytest.raises(BadParameter, match="missing days leave 14 days of the history"):
        found(gone, day(62))


def test_a_segment_without_a_row_had_nothing_and_the_days_are_counted():
    orders = [None if number in (40, 95, 96) else 10 for number in range(112)]
    figures = figures_of(Paid_Search={"orders": orders}, Email={"orders": [5] * 112})
    row = found(figures, day(90))
    assert (row["after"], row["empty_days"], row["flag"]) == (120, 2, "empty_days")
    # One of several parts of a control that ends early is seen as well.
    figures = figures_of(Paid_Search=noisy(1, 112), Email=noisy(2, 112), Direct={"orders": [4] * 100 + [None] * 12})
    row = found(figures, day(90), control={"channel": ["Email", "Direct"]})
    assert (row["empty_days"], row["control"]) == (4, "channel = Email, Direct")


def test_a_null_is_not_zero_unless_another_column_says_so():
    figures = pair(15)
    figures["orders"] = figures["orders"].astype(float)
    unknown = (figures["date"] == pd.Timestamp(day(80))) & (figures["channel"] == "Email")
    with pytest.raises(BadParameter, match=r"orders of the control is not known .2025-03-27: no row at all, or null"):
        found(figures.assign(orders=figures["orders"].mask(unknown)), day(90))
    bought = figures.assign(orders=figures["orders"].mask(unknown, 0.0), revenue=(10 * figures["orders"]).mask(unknown))
    assert found(bought, day(90), kpi="revenue")["control_before"] == 10 * found(bought, day(90))["control_before"]
    with pytest.raises(BadParameter, match="revenue of the control is not known"):
        found(bought.assign(orders=1.0), day(90), kpi="revenue")


def test_a_channel_that_never_has_a_figure_lacks_none():
    figures = pair(16)
    silent = figures[figures["channel"] == "Email"].assign(channel="Direct", orders=np.nan)
    both = found(pd.concat([figures, silent]), day(90), control={"channel": ["Email", "Direct"]})
    assert both["effect"] == found(figures, day(90))["effect"]
    with pytest.raises(BadParameter, match=r"the control has no figure for orders.*not measurable there"):
        found(pd.concat([figures, silent]), day(90), control={"channel": "Direct"})
    with pytest.raises(BadParameter, match="figures: no column revenue"):
        found(figures, day(90), kpi="revenue")


def test_a_control_that_the_change_reaches_is_refused():
    figures = pair(17)
    with pytest.raises(BadParameter, match=r"112 of its 224 rows belong to the segment channel = Paid Search as well"):
        found(figures, day(90), control={"channel": ["Email", "Paid Search"]})
    with pytest.raises(BadParameter, match="belong to the whole, as no segment is named,"):
        found(figures, day(90), segment=None)
    with pytest.raises(BadParameter, match="control: no channel 'E-mail' in the figures; there is Email"):
        found(figures, day(90), control={"channel": "E-mail"})
    phones = pd.concat([figures.assign(device="phone"), figures.assign(device="desktop")])
    with pytest.raises(BadParameter, match="224 rows belong"):
        found(phones, day(90), control={"device": "phone"})
    apart = found(phones, day(90), control={"device": "phone", "channel": "Email"})
    assert (apart["control"], apart["after"]) == (
        "device = phone; channel = Email",
        2 * found(figures, day(90))["after"],
    )
    crossed = phones[~((phones["channel"] == "Email") & (phones["device"] == "phone"))]
    with pytest.raises(BadParameter, match="no row has all of it"):
        found(crossed, day(90), control={"device": "phone", "channel": "Email"})
    with pytest.raises(BadParameter, match="segment 'Paid Search': expected columns and values"):
        found(figures, day(90), segment="Paid Search")
    with pytest.raises(BadParameter, match="no column device; found date, channel"):
        found(figures, day(90), control={"device": "phone"})


@pytest.mark.parametrize("name", ["reach", "frequency", "nps", "visibility"])
def test_what_is_no_sum_over_days_is_refused(name):
    with pytest.raises(BadParameter, match=r"in a window is no sum over days. Take a KPI that adds up"):
        found(pair(18).assign(reach=100.0), day(90), kpi=name)


def test_amounts_in_two_currencies_are_refused_and_counts_are_not():
    figures = pair(19).assign(revenue=lambda table: table["orders"] * 20.0)
    figures["currency"] = np.where(figures["channel"] == "Email", "USD", "EUR")
    with pytest.raises(BadParameter, match="amounts in EUR, USD"):
        found(figures, day(90), kpi="revenue")
    assert found(figures, day(90))["currency"] is None
