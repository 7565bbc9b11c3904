"""Charts of funnels and journeys: marks stand where the numbers are, nothing hides anything, what is lost is grey."""

import io
from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from _tables import apart
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch, Rectangle

from perfnb import intervals, locale, plot
from perfnb.errors import BadParameter
from perfnb.plot import style

LONG = [
    "Startseite besucht",
    "Produktlistenseite | Sommeraktion",
    "Produktdetailseite angesehen",
    "Größenberatung geöffnet",
    "In den Warenkorb gelegt",
    "Warenkorb angesehen",
    "Gutscheincode eingegeben",
    "Zur Kasse gegangen",
    "Lieferadresse vollständig angegeben",
    "Zahlungsart ausgewählt",
    "Bestellübersicht geprüft",
    "Bestellung abgeschlossen",
]
DEFINITION = "closed, ordered, best entry, 7 days inclusive, ties distinct"
GROUPS = ["Mobiltelefon (Android)", "Mobiltelefon (iOS)", "Schreibtischrechner"]


def rated(table, units="units", whole="from_units", names=("rate", "low", "high")):
    n = table[whole].astype(float)
    table[names[0]] = table[units] / n
    table[names[1]], table[names[2]] = intervals.wilson(table[units].to_numpy(float), n.to_numpy())
    return table


def steps_of(names=LONG, first=48_210, rate=0.78):
    units = [int(first * rate**k) for k in range(len(names))]
    table = pd.DataFrame({"step": range(1, len(names) + 1), "name": names, "units": units})
    table["from_units"] = pd.array([None, *units[:-1]], dtype="Int64")
    table = rated(table.assign(from_units=table["from_units"].astype("Float64").fillna(np.nan)))
    table["from_units"] = pd.array([None, *units[:-1]], dtype="Int64")
    table["dropped"] = table["from_units"] - table["units"]
    return table.assign(definition=DEFINITION)


def drops_of():
    table = steps_of()[["step", "name", "dropped", "definition"]].iloc[1:]
    return table.assign(p_largest=np.r_[0.93, 0.07, np.zeros(len(table) - 2)])


def by_group(groups=GROUPS):
    parts = [steps_of(rate=0.7 + 0.06 * k).assign(device=group) for k, group in enumerate(groups)]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(p_adjusted=np.where(table["step"] % 2, 0.001, 0.4))


def trend_of(groups=GROUPS, weeks=12, step="W-MON"):
    rng = np.random.default_rng(4)
    rows = []
    for place, group in enumerate(groups):
        for number, day in enumerate(pd.date_range("2025-05-26", periods=weeks, freq=step)):
            for k, name in ((1, "visit"), (2, "Bestellung abgeschlossen")):
                n = int(rng.integers(200, 900))
                units = n if k == 1 else int(rng.binomial(n, 0.1 + 0.05 * place))
                rows.append((day, group, k, name, units, n, number < weeks - 2))
    columns = ["entered", "device", "step", "name", "units", "from_units", "mature"]
    return rated(pd.DataFrame(rows, columns=columns)).assign(definition=DEFINITION)


def curve_of(groups=GROUPS, events=40, reach=0.25, days=7.0):
    parts = []
    for place, group in enumerate(groups):
        at = np.r_[0, np.sort(np.random.default_rng(place).exponential(days / 4, events)).clip(0, days)]
        share = (reach + 0.08 * place) * np.linspace(0, 1, events + 1)
        table = pd.DataFrame({"device": group, "days": at, "share": share, "at_risk": 1000 - np.arange(events + 1)})
        parts.append(table.assign(low=(share - 0.03).clip(0), high=(share + 0.03).clip(0, 1), converted=1, censored=0))
    return pd.concat(parts, ignore_index=True).assign(definition=DEFINITION)


def waiting_of(groups=GROUPS):
    table = pd.DataFrame({"device": groups, "units": 1000, "converted": 240, "censored": 120})
    return table.assign(
        median_days_converters=[0.02, 0.9, 2.4], median_days=[np.nan, np.nan, 5.2], definition=DEFINITION
    )


def next_of(steps=LONG, events=14):
    rng = np.random.default_rng(8)
    names = [*LONG, "Kundendienst angerufen", "Newsletter abbestellt"][:events]
    rows = []
    for k, name in enumerate(steps[:-1], start=1):
        counts = rng.multinomial(4000 // k, rng.dirichlet(np.full(events + 2, 0.4)))
        rows += [(k, name, to, n, 4000 // k) for to, n in zip([*names, "(other)", "(nothing)"], counts, strict=True)]
    table = pd.DataFrame(rows, columns=["step", "name", "next", "units", "stopped"])
    return rated(table, whole="stopped", names=("share", "low", "high")).assign(definition=DEFINITION)


def drivers_of(events=LONG):
    rows = []
    for place, event in enumerate(events):
        for hours in (8.4, 16.8, 33.6):
            difference = 0.12 - 0.02 * place
            rows.append((event, hours, hours == 16.8, 400 + place, 5200, 0.2 + difference, 0.2, difference))
    names = [
        "event",
        "landmark_hours",
        "chosen",
        "exposed",
        "unexposed",
        "exposed_rate",
        "unexposed_rate",
        "difference",
    ]
    table = pd.DataFrame(rows, columns=names)
    table["low"], table["high"] = table["difference"] - 0.035, table["difference"] + 0.035
    table["p_adjusted"] = np.where(table["difference"].abs() > 0.035, 0.001, 0.6)
    table["stable"] = pd.array(table["event"] != LONG[1], dtype="boolean")
    table["tests"] = len(events) + 1
    hidden = pd.DataFrame(
        {"event": ["selten"], "landmark_hours": 16.8, "chosen": True, "exposed": 4, "unexposed": 5600}
    )
    return pd.concat([table, hidden], ignore_index=True).assign(definition=DEFINITION)


def levers_of(money=True, names=LONG):
    table = steps_of(names).iloc[1:][["step", "name", "rate"]].reset_index(drop=True)
    table["orders"], table["saved_orders"] = 310.0, np.linspace(300, 900, len(table))
    for name, prefix in (("orders", "orders"), ("saved_orders", "saved")):
        table[f"{prefix}_low"], table[f"{prefix}_high"] = table[name] * 0.9, table[name] * 1.1
    table[["value", "saved_value"]] = table[["orders", "saved_orders"]] * 82.5 if money else np.nan
    for name in ("value", "saved_value"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] * 0.85, table[name] * 1.15
    return table.assign(currency="EUR" if money else None, definition=f"{DEFINITION}, uplift 10 %")


def matrix_of(steps=range(1, 13), names=LONG, seed=3):
    rng = np.random.default_rng(seed)
    alive, rows = 6447, []
    for step in steps:
        counts = rng.multinomial(alive, rng.dirichlet(np.arange(len(names), 0, -1.0)))
        over = 6447 - alive
        rows += [(step, name, int(n)) for name, n in zip(names, counts, strict=True)]
        rows += [(step, "(conversion)", over // 5), (step, "(end)", over - over // 5)]
        alive = int(alive * 0.6)
    table = pd.DataFrame(rows, columns=["step", "touchpoint", "journeys"]).assign(aligned=6447, aligned_share=1.0)
    table = rated(table, "journeys", "aligned", ("share", "low", "high"))
    return table.assign(definition="aligned at (start), conversion event “order”")


def difference_of():
    one, other = matrix_of(), matrix_of(seed=4)
    table = one[["step", "touchpoint"]].copy()
    for end, part in (("one", one), ("other", other)):
        table[[f"journeys_{end}", f"aligned_{end}", f"share_{end}"]] = part[["journeys", "aligned", "share"]].to_numpy()
    table["difference"] = table["share_one"] - table["share_other"]
    table["p_adjusted"] = np.where(table["difference"].abs() > 0.01, 0.001, 0.7)
    return table.assign(tests=140)


def flows_of(steps=5, names=(*LONG[:8], "(other)"), journeys=6447, seed=6):
    """A table like that of `journey.flows`: what arrives at a touchpoint leaves it."""
    rng = np.random.default_rng(seed)
    rows, here = [], {"(start)": journeys}
    for position in range(steps + 1):
        coming = {}
        for name, count in here.items():
            if position == 0:
                ends, weights = list(names), rng.dirichlet(np.arange(len(names), 0, -1.0))
            elif position < steps:
                others = [one for one in names if one != name]
                ends = [*others, "(conversion)", "(end)"]
                weights = np.r_[0.25 * rng.dirichlet(np.ones(len(others))), 0.08, 0.67]
            else:
                ends, weights = ["(goes on)", "(conversion)", "(end)"], [0.2, 0.1, 0.7]
            for end, found in zip(ends, rng.multinomial(count, weights), strict=True):
                rows.append((position, name, end, int(found)))
                coming[end] = coming.get(end, 0) + int(found)
        here = {name: n for name, n in coming.items() if name not in ("(conversion)", "(end)", "(goes on)") and n}
    table = pd.DataFrame(rows, columns=["position", "from", "to", "journeys"])
    return table[table["journeys"] > 0].reset_index(drop=True).assign(coverage=0.92, definition=DEFINITION)


def map_of(names=LONG):
    units = [int(40_000 * 0.8**k) for k in range(len(names))]
    table = pd.DataFrame({"touchpoint": names, "units": units})
    table["stage"] = np.repeat(["reach", "interaction", "transaction"], -(-len(names) // 3))[: len(names)]
    table["dropped"] = pd.array([int(0.3 * n) for n in units], dtype="Int64")
    table = rated(table, "dropped", "units", ("drop_off", "drop_low", "drop_high"))
    table["rank"] = pd.array([1, 1, *[None] * (len(names) - 2)][: len(names)], dtype="Int64")
    return table.assign(definition="persons, stages by events, conversion event “order”, outcome conversion")


def emotion_of(map, scale="satisfaction"):
    table = map[["stage", "touchpoint"]].assign(position=range(1, len(map) + 1), scale=scale)
    table["n"] = [400 - 30 * k for k in range(len(map))]
    table["mean"] = 4 - 1.5 * np.sin(np.arange(len(map))) ** 2
    table["small_n"] = table["n"] < 100
    table.loc[table["small_n"], "mean"] = np.nan
    table["low"], table["high"] = table["mean"] - 0.2, table["mean"] + 0.2
    table["change"] = table["mean"].diff()
    moved = np.where(table["change"] < -0.3, "falls", np.where(table["change"] > 0.3, "rises", "within_noise"))
    table["move"] = pd.Series(moved, dtype=object).where(table["change"].notna(), None)
    table["peak"] = table["mean"] == table["mean"].min()
    return table.assign(journey_mean=table["mean"].mean())


def loops_of(names=LONG):
    table = pd.DataFrame(
        [(name, kind) for name in names for kind in ("repeat", "return")], columns=["touchpoint", "kind"]
    )
    table["of_persons"] = np.repeat([5000 - 300 * k for k in range(len(names))], 2)
    table["persons"] = (table["of_persons"] * np.tile([0.2, 0.11], len(names))).astype(int)
    table = rated(table, "persons", "of_persons", ("share", "low", "high"))
    table["loops"], table["median_hours"] = table["persons"] + 40, np.tile([3.2, 411.0], len(names))
    return table.assign(definition="conversion event “order”, touches “visit”")


def drawn_map(table, **options):
    return plot.journey_map(table, emotion=emotion_of(map_of()) if len(table) else None, **options)


def drawn_funnel(table, **options):
    return plot.funnel(table, drops=drops_of(), **options)


def drawn_by(table, **options):
    return plot.funnel_by(table, "device", **options)


def drawn_trend(table, **options):
    return plot.trend(table, by="device", **options)


def drawn_curve(table, **options):
    return plot.time_to_convert(table, by="device", waiting=waiting_of(), **options)


def drawn_difference(table, **options):
    return plot.matrix_difference(table, one=GROUPS[0], other=GROUPS[2], **options)


CHARTS = {
    "funnel": (drawn_funnel, steps_of),
    "funnel_by": (drawn_by, by_group),
    "trend": (drawn_trend, trend_of),
    "time_to_convert": (drawn_curve, curve_of),
    "next_action": (plot.next_action, next_of),
    "drivers": (plot.drivers, drivers_of),
    "levers": (plot.levers, levers_of),
    "step_matrix": (plot.step_matrix, matrix_of),
    "matrix_difference": (drawn_difference, difference_of),
    "sankey": (plot.sankey, flows_of),
    "sankey of 12": (plot.sankey, lambda: flows_of(12)),
    "journey_map": (drawn_map, map_of),
    "loops": (plot.loops, loops_of),
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def said_on(ax):
    """All texts that are seen: of the chart, its legend and its axes."""
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_texts() if ax.get_legend() else []
    across, up = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    ticks = [] if not ax.axison else [t for t in ax.get_xticklabels() if across[0] <= t.get_position()[0] <= across[1]]
    ticks += [] if not ax.axison else [t for t in ax.get_yticklabels() if up[0] <= t.get_position()[1] <= up[1]]
    labels = [ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title] if ax.axison else []
    return [text for text in (*ax.texts, *legend, *ticks, *labels) if text.get_text() and text.get_visible()]


def written(ax):
    return " ".join(text.get_text().replace("\n", " ") for text in said_on(ax))


def bars(ax, color):
    """The widths of the bars of a colour, from the top."""
    found = [bar for bar in ax.patches if bar.get_facecolor() == to_rgba(color)]
    return [bar.get_width() for bar in sorted(found, key=lambda bar: (bar.get_y(), bar.get_x()))]


# All charts


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_no_text_lies_on_another_or_leaves_the_page(name, language):
    """At 12 steps with long German names."""
    draw, table = CHARTS[name]
    ax = draw(table(), language=language)
    found = [(text.get_text(), text.get_window_extent()) for text in said_on(ax)]
    assert [(one[0], other[0]) for one, other in combinations(found, 2) if not apart(one[1], other[1])] == []
    page = ax.figure.bbox
    off = [name for name, box in found if box.x0 < -3 or box.y0 < -3 or box.x1 > page.x1 + 3 or box.y1 > page.y1 + 3]
    assert off == []


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_chart_is_a_small_file(name, form):
    draw, table = CHARTS[name]
    file = io.BytesIO()
    draw(table(), language="de").figure.savefig(file, format=form, bbox_inches="tight")
    assert file.tell() <= 200_000


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_leaves_its_table_alone_and_says_where_it_is_empty(name):
    draw, table = CHARTS[name]
    given = table()
    before = given.copy()
    draw(given)
    pd.testing.assert_frame_equal(given, before)
    assert [text.get_text() for text in draw(given.iloc[:0], language="de").texts] == ["keine Daten"]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_draws_into_the_axes_that_it_gets(name):
    draw, table = CHARTS[name]
    _, mine = plt.subplots()
    assert draw(table(), ax=mine) is mine and len(plt.get_fignums()) == 1


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_of_one_row_draws(name):
    draw, table = CHARTS[name]
    draw(table().head(1)).figure.canvas.draw()


@pytest.mark.parametrize("name", CHARTS)
def test_the_definition_stands_below_in_the_language(name):
    draw, table = CHARTS[name]
    if "definition" in table():
        said = locale.definition(table()["definition"].iloc[0], "de").split(", ")[-1]
        below = " ".join(text.get_text().replace("\n", " ") for text in draw(table(), language="de").texts)
        assert said in below


@pytest.mark.parametrize("name", CHARTS)
def test_names_from_the_data_are_text_and_never_maths(name):
    draw, table = CHARTS[name]
    ax = draw(table().replace(dict.fromkeys((LONG[4], GROUPS[0]), "$a$ <b>")))
    assert r"\$a\$ <b>" in written(ax) or name == "matrix_difference"


# Funnels


def test_bars_of_a_funnel_are_persons_and_the_lost_are_grey_beside_the_rate_and_its_interval():
    table = steps_of(["visit", "order"], first=1000, rate=0.3)
    ax = plot.funnel(table)
    assert bars(ax, style.BLUE) == [1000, 300] and bars(ax, style.GREY) == [0, 700]
    assert "30.0\N{NO-BREAK SPACE}% (27.2 – 32.9\N{NO-BREAK SPACE}%)" in written(ax), "Wilson of 300 in 1,000"
    assert {"1,000", "300", "700"} <= {text.get_text() for text in ax.texts}


def test_where_units_begin_at_a_later_step_lost_is_what_did_not_go_on():
    """Open at the first touch: 40 of 100 went on, 25 more began at step 2."""
    table = steps_of(["a", "b"], first=100, rate=0.4)
    table.loc[1, "units"] = 65
    ax = plot.funnel(table)
    assert bars(ax, style.BLUE) == [100, 65] and bars(ax, style.GREY) == [0, 60]
    assert ax.get_xlim()[1] == 125


def test_the_probability_of_the_largest_loss_stands_beside_its_step():
    said = written(plot.funnel(steps_of(), drops=drops_of()))
    assert "93\N{NO-BREAK SPACE}%" in said and "largest loss" in said


def test_groups_that_do_not_differ_are_hollow():
    table = by_group(GROUPS[:1])
    ax = drawn_by(table)
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    same = table[(table["step"] > 1) & (table["p_adjusted"] >= 0.05)]
    assert [list(line.get_xdata()) for line in hollow] == [list(same["rate"])]


def test_what_is_not_complete_is_shaded_hollow_and_said():
    table = trend_of(GROUPS[:1], weeks=6)
    last = table[table["step"] == 2]
    ax = plot.trend(table)
    assert not last["mature"].iloc[-1] and last["mature"].sum() == 4
    filled, hollow = ax.lines[-2:]
    assert list(filled.get_ydata()) == list(last["rate"].head(4))
    assert list(hollow.get_ydata()) == list(last["rate"].tail(2)) and hollow.get_markerfacecolor() == "white"
    (shade,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    first_open = matplotlib.dates.date2num(last["entered"].iloc[4])
    assert first_open - 7 < shade.get_x() < first_open
    assert "windows are still open" in written(ax)
    ripe = plot.trend(table.assign(mature=True))
    assert not ripe.patches and "windows are still open" not in written(ripe)


@pytest.mark.parametrize(
    ("every", "said"), [("D", "Day of entry"), ("W-MON", "Week of entry"), ("MS", "Month of entry")]
)
def test_the_axis_of_a_trend_says_what_an_interval_is(every, said):
    assert said in plot.trend(trend_of(weeks=8, step=every), by="device").get_xlabel()


def test_a_curve_has_a_step_at_every_time_and_its_band():
    table = curve_of(GROUPS[:1])
    ax = plot.time_to_convert(table)
    (line,) = [line for line in ax.lines if len(line.get_xdata()) == len(table)]
    assert line.get_drawstyle() == "steps-post"
    assert list(line.get_xdata()) == list(table["days"]) and list(line.get_ydata()) == list(table["share"])
    assert ax.collections[0].get_datalim(ax.transData).y1 == pytest.approx(table["high"].max())


def test_where_half_have_converted_the_curve_has_a_line_to_its_axis():
    table = curve_of(GROUPS[:1], reach=0.9)
    half = table.loc[table["share"] >= 0.5, "days"].iloc[0]
    line = plot.time_to_convert(table).lines[-1]
    assert list(line.get_xdata()) == [half, half] and list(line.get_ydata()) == [0, 0.5]
    assert len(plot.time_to_convert(curve_of(GROUPS[:1], reach=0.4)).lines) == 1


def test_medians_have_their_denominators_and_suiting_units():
    said = written(drawn_curve(curve_of()))
    assert "median of the 240 who converted 28.8\N{NO-BREAK SPACE}minutes" in said
    assert "2.4\N{NO-BREAK SPACE}days; of all 5.2\N{NO-BREAK SPACE}days" in said


def test_a_curve_of_many_times_is_thinned_and_keeps_its_ends():
    table = curve_of(GROUPS[:1], events=5000)
    (line,) = plot.time_to_convert(table).lines
    assert len(line.get_xdata()) <= 400
    assert (line.get_ydata()[0], line.get_ydata()[-1]) == (table["share"].iloc[0], table["share"].iloc[-1])


@pytest.mark.parametrize(("days", "unit"), [(7.0, "days"), (0.5, "h"), (0.02, "minutes")])
def test_times_have_the_unit_that_suits_them(days, unit):
    assert f"({unit})" in plot.time_to_convert(curve_of(GROUPS[:1], days=days)).get_xlabel()


# What stands behind losses


def test_bars_of_next_actions_are_shares_of_those_who_stopped_and_nothing_is_grey():
    rows = [(1, "a", "b", 30, 100), (1, "a", "(nothing)", 60, 100), (1, "a", "(other)", 10, 100)]
    table = pd.DataFrame(rows, columns=["step", "name", "next", "units", "stopped"])
    table = rated(table, whole="stopped", names=("share", "low", "high"))
    ax = plot.next_action(table)
    whole = table["high"].max()
    assert bars(ax, style.BLUE) == pytest.approx([0.3 / whole, 0.1 / whole])
    assert bars(ax, style.GREY) == pytest.approx([0.6 / whole])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "(other)", locale.word("(nothing)")]
    assert {"30\N{NO-BREAK SPACE}%", "60\N{NO-BREAK SPACE}%"} <= {text.get_text() for text in ax.texts}


def test_drivers_are_filled_where_they_are_sure_and_have_one_sign_at_all_times():
    table = drivers_of()
    ax = plot.drivers(table)
    main = table[table["chosen"].astype(bool) & table["difference"].notna()]
    sure = main[(main["p_adjusted"] < 0.05) & main["stable"].astype(bool)]
    dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    filled = {line.get_xdata()[0]: line.get_color() for line in dots if line.get_markerfacecolor() != "white"}
    assert len(dots) == len(main) and set(filled) == set(sure["difference"])
    assert LONG[1] in set(main["event"]) - set(sure["event"]), "significant, but not stable"
    assert {color for x, color in filled.items() if x > 0} == {style.BLUE}
    assert {color for x, color in filled.items() if x < 0} == {style.ORANGE}
    spans = {tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2}
    assert set(zip(main["low"], main["high"], strict=True)) <= spans
    assert "1 of the events" in written(ax)


def test_half_and_double_landmarks_are_small_dots():
    ax = plot.drivers(drivers_of())
    (small,) = [line for line in ax.lines if line.get_markersize() == 3]
    assert len(small.get_xdata()) == 2 * len(LONG)


def test_levers_are_in_money_where_there_is_a_value_and_in_persons_else():
    for money, columns in ((True, ["value", "saved_value"]), (False, ["orders", "saved_orders"])):
        table = levers_of(money)
        ax = plot.levers(table)
        marks = [line for line in ax.lines if line.get_marker() in ("o", "D")]
        assert [list(line.get_xdata()) for line in marks] == [list(table[column]) for column in columns]
        assert ("EUR" in ax.get_xlabel()) is money


def test_a_lever_that_is_not_known_is_no_mark():
    table = levers_of(False)
    table.loc[2, ["saved_orders", "saved_low", "saved_high"]] = np.nan
    ax = plot.levers(table)
    ax.figure.canvas.draw()
    assert np.isfinite(ax.get_xlim()).all() and "–" in {text.get_text() for text in ax.texts}


# Matrices


def cells(ax):
    """{(row, column): colour} of a heat map."""
    found = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_width() == pytest.approx(0.96)]
    return {(round(one.get_y() + 0.46), round(one.get_x() + 0.48)): one.get_facecolor() for one in found}


def test_a_matrix_says_all_shares_and_grey_is_who_is_gone():
    table = matrix_of(range(1, 4), LONG[:3])
    ax = plot.step_matrix(table)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[-2:] == ["(conversion)", "(end)"] and len(cells(ax)) == 15
    gone = cells(ax)[4, 2]
    assert gone[0] == pytest.approx(gone[2], abs=0.1), "grey"
    said = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in ax.texts if text.get_text()}
    share = table[(table["step"] == 3) & (table["touchpoint"] == "(end)")]["share"].iloc[0]
    assert said[4, 2] == locale.share(share, "en", 0)


def test_touchpoints_beyond_the_top_are_one_row_and_columns_still_add_up():
    table = matrix_of()
    ax = plot.step_matrix(table, top=4)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[4] == "8 others" and len(labels) == 7
    pooled = table[table["touchpoint"].isin(set(LONG) - set(labels)) & (table["step"] == 1)]["share"].sum()
    assert {text.get_text() for text in ax.texts if text.get_position() == (0, 4)} == {locale.share(pooled, "en", 0)}


def test_the_step_that_all_are_aligned_at_has_a_frame():
    ax = plot.step_matrix(matrix_of(range(-2, 3)))
    (frame,) = [patch for patch in ax.patches if patch.get_width() == 1]
    assert frame.get_x() == 1.5 and [label.get_text() for label in ax.get_xticklabels()][2] == "0"


def test_a_matrix_is_of_one_group():
    table = matrix_of()
    with pytest.raises(BadParameter, match="choose its rows first"):
        plot.step_matrix(pd.concat([table, table]))


def test_differences_are_coloured_around_0_and_pale_where_chance_may_be_the_reason():
    table = difference_of()
    ax = drawn_difference(table)
    names = {label.get_text().replace("\n", " "): row for row, label in enumerate(ax.get_yticklabels())}
    found = cells(ax)
    for row in table[table["touchpoint"].isin(names)].to_dict("records"):
        red, _, blue, _ = found[names[row["touchpoint"]], row["step"] - 1]
        if row["p_adjusted"] >= 0.05:
            assert abs(red - blue) < 0.02
        else:
            assert (blue > red) is (row["difference"] > 0)
    strongest = table.loc[table["difference"].abs().idxmax()]
    assert locale.number(100 * strongest["difference"], "en", 1).strip("+") in written(ax)
    assert GROUPS[0] in written(ax) and "140 tests" in written(ax)


# Sankey


def heights(ax):
    return sorted(patch.get_height() for patch in ax.patches if isinstance(patch, Rectangle))


def test_bars_of_a_sankey_are_as_high_as_their_journeys():
    table = flows_of(3)
    arriving = table.groupby(["position", "to"])["journeys"].sum()
    scale = 3.6 / arriving.loc[0].sum()
    expected = sorted(max(journeys * scale, 0.015) for journeys in arriving)
    assert heights(plot.sankey(table)) == pytest.approx(expected)


def test_ribbons_leave_and_reach_bars_without_a_gap_or_an_overlap():
    """Two journeys a > b, one a > (end): the ribbons fill the bar of a from top to bottom."""
    rows = [(0, "(start)", "a", 3), (1, "a", "b", 2), (1, "a", "(end)", 1), (2, "b", "(conversion)", 2)]
    table = pd.DataFrame(rows, columns=["position", "from", "to", "journeys"]).assign(coverage=1.0)
    ax = plot.sankey(table)
    ribbons = [patch.get_path().vertices for patch in ax.patches if isinstance(patch, PathPatch)]
    bar = max((patch for patch in ax.patches if isinstance(patch, Rectangle)), key=lambda patch: patch.get_height())
    leaving = sorted((one[0][1], one[7][1]) for one in ribbons if one[0][0] == pytest.approx(bar.get_x() + 0.12))
    assert len(ribbons) == 3 and len(leaving) == 2
    assert leaving[0][0] == pytest.approx(bar.get_y()) and leaving[0][1] == pytest.approx(leaving[1][0])
    assert leaving[1][1] == pytest.approx(bar.get_y() + 3.6)


def test_a_sankey_says_its_coverage_and_that_ribbons_do_not_follow_persons():
    said = written(plot.sankey(flows_of()))
    assert "92\N{NO-BREAK SPACE}% of the transitions" in said
    assert "does not follow a person over two" in said


def colors_beside(ax):
    """{name: colours of the bars beside it}."""
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    found = {}
    for text in ax.texts:
        (x, y), name = text.get_position(), text.get_text().split()[0]
        for box in boxes:
            if box.get_x() < x < box.get_x() + 0.2 and box.get_y() + box.get_height() / 2 == pytest.approx(y, abs=0.02):
                found.setdefault(name, set()).add(box.get_facecolor())
    return found


def test_an_event_has_one_colour_at_all_positions_and_in_other_sankeys():
    rows = [(0, "a", 50), (0, "b", 30), (1, "b", 20), (1, "a", 10), (2, "(end)", 10)]
    table = pd.DataFrame(rows, columns=["position", "to", "journeys"])
    table = table.assign(coverage=1.0, **{"from": ["(start)", "(start)", "a", "b", "a"]})
    both = colors_beside(plot.sankey(table))
    assert {name: len(found) for name, found in both.items() if name in "ab"} == {"a": 1, "b": 1}
    assert both["a"] != both["b"] and both["(end)"] == {to_rgba(style.GREY)}
    alone = colors_beside(plot.sankey(table[table["to"] == "b"].head(1)))
    assert alone["b"] == both["b"]


# The map


def test_the_curve_is_the_means_and_skips_what_few_said():
    cells, feeling = map_of(), emotion_of(map_of())
    ax = plot.journey_map(cells, emotion=feeling)
    curve = next(line for line in ax.lines if len(line.get_xdata()) == feeling["mean"].notna().sum())
    means, ups = feeling["mean"].dropna().to_numpy(), -np.asarray(curve.get_ydata())
    assert np.corrcoef(means, ups)[0, 1] == pytest.approx(1)
    assert len(means) == 11


def test_falls_point_down_in_orange_and_rises_up_in_blue():
    feeling = emotion_of(map_of())
    ax = plot.journey_map(map_of(), emotion=feeling)
    marks = {shape: [line for line in ax.lines if line.get_marker() == shape] for shape in "v^"}
    assert len(marks["v"]) == (feeling["move"] == "falls").sum() > 0
    assert len(marks["^"]) == (feeling["move"] == "rises").sum() > 0
    assert {line.get_color() for line in marks["v"]} == {style.ORANGE}
    assert {line.get_color() for line in marks["^"]} == {style.BLUE}
    assert written(ax).count("strongest moment") == 1


def test_bars_of_the_map_are_persons_with_those_lost_in_grey():
    cells = map_of(LONG[:3])
    ax = plot.journey_map(cells, emotion=emotion_of(cells))
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    blue, grey = (
        [one.get_height() for one in boxes if one.get_facecolor() == to_rgba(c)] for c in (style.BLUE, style.GREY)
    )
    lost = np.array(grey) / (np.array(grey) + np.array(blue))
    assert lost == pytest.approx((cells["dropped"] / cells["units"]).to_numpy(float))
    assert "30\N{NO-BREAK SPACE}%" in written(ax)


def test_a_map_without_answers_has_no_curve_and_one_with_a_stage_of_no_rate_a_dash():
    cells = map_of(LONG[:3])
    cells.loc[2, ["drop_off", "drop_low", "drop_high"]] = np.nan
    cells.loc[2, "dropped"] = pd.NA
    ax = plot.journey_map(cells)
    assert "Satisfaction" not in written(ax) and locale.MISSING in written(ax).split()


def test_of_many_cells_those_with_most_persons_are_drawn_and_the_rest_is_said():
    assert "3 of 12 cells are drawn" in written(plot.journey_map(map_of(), top=3))


def test_a_map_on_the_scale_of_recommendation_goes_from_0_to_10():
    cells = map_of(LONG[:4])
    ax = plot.journey_map(cells, emotion=emotion_of(cells, "nps"))
    assert {"0", "5", "10"} <= {text.get_text() for text in ax.texts}


# Loops


def test_bars_of_loops_are_shares_of_persons_by_kind():
    table = loops_of(LONG[:2])
    ax = plot.loops(table)
    assert bars(ax, style.BLUE) == list(table.loc[table["kind"] == "repeat", "share"])
    assert len(ax.containers) == 4 and "17.1\N{NO-BREAK SPACE}days" in written(ax)
    assert "Not drawn: 10 more touchpoints." in written(plot.loops(loops_of(), top=2))
