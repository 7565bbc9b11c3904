"""Charts of attribution: marks stand where the numbers are, nothing hides anything, one colour means one thing."""

import io
from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from _tables import apart
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon

from perfnb import locale, plot
from perfnb.plot import style

MODELS = ["first", "last", "linear", "time_decay", "position", "markov", "shapley", "hazard"]
CHANNELS = {
    "Suchmaschinenwerbung | Marke": 520,
    "Suchmaschinenwerbung | generisch": 410,
    "Soziale Netzwerke (bezahlt)": 330,
    "Email": 260,
    "Direct": 240,
    "Organic Search": 190,
    "Programmatische Displaywerbung | Kontext": 140,
    "Programmatische Displaywerbung | Retargeting": 120,
    "Affiliate": 90,
    "Referral": 60,
    "Online Video": 40,
    "Shopping": 25,
}
FREE = ("Direct", "Organic Search", "Referral")


def compared(models=(*MODELS, "truth"), channels=CHANNELS):
    """A table like that of `attribution.compare`; Email is very cheap."""
    rng = np.random.default_rng(5)
    rows = []
    for model in models:
        for channel, size in channels.items():
            credit = size * rng.uniform(0.6, 1.4)
            cost = np.nan if channel in FREE else size * (1.5 if channel == "Email" else 50.0)
            facts = {"model": model, "channel": channel, "credit": credit, "low": 0.8 * credit, "high": 1.3 * credit}
            rows.append(facts | {"value": 80 * credit, "cost": cost})
        for own in ("(no touch)", "(baseline)") if model != "truth" else ():
            credit = 210.0 if own == "(no touch)" else 300.0 * (model == "hazard")
            facts = {"model": model, "channel": own, "credit": credit, "low": 0.9 * credit, "high": 1.1 * credit}
            rows.append(facts | {"value": 80 * credit, "cost": np.nan})
    table = pd.DataFrame(rows).assign(currency="EUR")
    for end, credit in (("", "credit"), ("_low", "low"), ("_high", "high")):
        table[f"roas{end}"] = 80 * table[credit] / table["cost"]
    channels = table[~table["channel"].str.startswith("(")]
    table["rank"] = channels.groupby("model")["credit"].rank(ascending=False, method="min")
    return table


def roles_of():
    shares = np.random.default_rng(2).dirichlet([2, 2, 2, 1], len(CHANNELS))
    table = pd.DataFrame({"channel": list(CHANNELS), "conversions": list(CHANNELS.values())})
    names = [f"share_{role}" for role in ("opens", "assists", "closes", "alone")]
    return table.join(pd.DataFrame(shares, columns=names))


def moves_of(factor=1.0):
    changes = np.array([8800.0, 3500, 900, 40, -60, -1200, -4400, -7580])
    table = pd.DataFrame({"channel": list(CHANNELS)[:8], "change": changes, "budget_before": 20_000.0})
    table["budget_after"] = table["budget_before"] + changes
    table["change_low"], table["change_high"] = changes - 1000, changes + 1000
    amounts = ["change", "change_low", "change_high", "budget_before", "budget_after"]
    table[amounts] *= factor
    return table.assign(currency="EUR", model="last", against="markov")


def orders_of():
    table = pd.DataFrame({"order": [1, 2, 3, 4, 5], "log_loss": [0.1423, 0.1411, 0.1407, 0.1406, 0.1409]})
    table = table.assign(log_loss_se=0.0006, states=[13, 121, 934, 4120, 12200])
    return table.assign(chosen=table["order"] == 2, assist_gap=[0.057, 0.025, 0.012, 0.004, 0.0021])


def scored():
    distance = np.linspace(0.08, 0.4, len(MODELS))
    table = pd.DataFrame({"model": MODELS[::-1], "distance": distance, "misplaced": 100_000 * distance})
    return table.assign(distance_low=distance - 0.04, distance_high=distance + 0.05, currency="EUR")


def moved(channels=tuple(CHANNELS)):
    """A table like that of `journey.transitions`."""
    rng = np.random.default_rng(3)
    rows = [("(start)", channel, int(rng.integers(200, 3000))) for channel in channels]
    for channel in channels:
        rows.append((channel, "(conversion)", int(rng.integers(20, 120))))
        rows.append((channel, "(end)", int(rng.integers(200, 2000))))
        rows += [(channel, other, int(rng.gamma(0.4, 200)) + 1) for other in channels if other != channel]
    table = pd.DataFrame(rows, columns=["from", "to", "transitions"])
    return table.assign(share_out=table["transitions"] / table.groupby("from")["transitions"].transform("sum"))


CHARTS = {
    "credits": (plot.credits, compared),
    "returns": (plot.returns, compared),
    "ranks": (plot.ranks, compared),
    "roles": (plot.roles, roles_of),
    "moves": (plot.moves, moves_of),
    "orders": (plot.orders, orders_of),
    "score": (plot.score, scored),
    "transition_graph": (plot.transition_graph, moved),
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def boxes(ax, artists):
    """Where artists stand, in pixels."""
    ax.figure.canvas.draw()
    return [artist.get_window_extent() for artist in artists]


def said_on(ax):
    """All texts that are seen: of the chart, its legend and its axes."""
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_texts() if ax.get_legend() else []
    across, up = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    ticks = [] if not ax.axison else [t for t in ax.get_xticklabels() if across[0] <= t.get_position()[0] <= across[1]]
    ticks += [] if not ax.axison else [t for t in ax.get_yticklabels() if up[0] <= t.get_position()[1] <= up[1]]
    labels = [ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title] if ax.axison else []
    return [text for text in (*ax.texts, *legend, *ticks, *labels) if text.get_text() and text.get_visible()]


# All charts


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_no_text_lies_on_another_or_leaves_the_page(name, language):
    draw, table = CHARTS[name]
    ax = draw(table(), language=language)
    said = said_on(ax)
    found = [(text.get_text(), box) for text, box in zip(said, boxes(ax, said), strict=True)]
    assert [(one[0], other[0]) for one, other in combinations(found, 2) if not apart(one[1], other[1])] == []
    page = ax.figure.bbox
    off = [name for name, box in found if box.x0 < -3 or box.y0 < -3 or box.x1 > page.x1 + 3 or box.y1 > page.y1 + 3]
    assert off == []


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
def test_a_chart_is_a_small_file(name):
    draw, table = CHARTS[name]
    file = io.BytesIO()
    draw(table(), language="de").figure.savefig(file, bbox_inches="tight")
    assert file.tell() < 200_000


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_of_one_row_draws(name):
    draw, table = CHARTS[name]
    draw(table().head(1)).figure.canvas.draw()


@pytest.mark.parametrize("name", ["credits", "returns", "ranks", "roles", "moves"])
def test_of_many_channels_the_first_are_drawn_and_the_rest_is_said(name):
    draw, table = CHARTS[name]
    table = table()
    names = [one for one in dict.fromkeys(table["channel"]) if name != "returns" or one not in FREE]
    names = [one for one in names if not one.startswith("(")]
    said = [text.get_text().replace("\n", " ") for text in draw(table, top=3).texts]
    assert any(f"3 of {len(names)} channels are drawn; the table has the rest." in one for one in said)


@pytest.mark.parametrize("name", ["credits", "returns", "ranks", "roles", "moves", "transition_graph"])
def test_names_from_the_data_are_text_and_never_maths(name):
    draw, table = CHARTS[name]
    awkward = table().replace("Email", "$a$ <b>")
    ax = draw(awkward)
    assert any(r"\$a\$ <b>" in text.get_text() for text in said_on(ax))


def test_colours_of_models_are_told_apart_by_colour_blind_eyes_and_in_print_by_their_marks():
    """Machado, Oliveira, Fernandes 2009: what is seen without red or green cones, and with all."""
    eyes = (
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    )

    def seen(color, eye):
        linear = np.array([part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color])
        light = np.clip(np.asarray(eye) @ linear, 0, 1)
        to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        xyz = np.asarray(to_xyz) @ light / [0.9505, 1.0, 1.089]
        cube = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * cube[1] - 16, 500 * (cube[0] - cube[1]), 200 * (cube[1] - cube[2])])

    colors = [to_rgb(color) for color, _ in style.MODELS.values()]
    meant = [to_rgb(color) for color in (style.BLUE, style.ORANGE, style.GREY, style.MUTED)]
    for one, other in [*combinations(colors, 2), *((one, other) for one in colors for other in meant)]:
        assert min(np.linalg.norm(seen(one, eye) - seen(other, eye)) for eye in eyes) > 10
    assert len({str(marker) for _, marker in style.MODELS.values()}) == len(style.MODELS) == 14
    for language in locale.LANGUAGES:
        assert len({locale.word(model, language) for model in style.MODELS}) == 14


# Models side by side


def marks(ax, model):
    """Where the marks of a model stand: [(x, row)]."""
    color = to_rgba(style.MODELS[model][0])
    found = [dots for dots in ax.collections if hasattr(dots, "get_offsets") and len(dots.get_facecolor())]
    found = [dots for dots in found if tuple(dots.get_facecolor()[0]) == color and dots.get_zorder() == 3]
    return [tuple(place) for dots in found for place in dots.get_offsets()]


def whiskers(ax, color):
    """The ends of horizontal lines of a colour: [(low, high)]."""
    lines = [lines for lines in ax.collections if hasattr(lines, "get_segments")]
    lines = [one for one in lines if tuple(one.get_color()[0]) == to_rgba(color)]
    return [(one[0][0], one[1][0]) for part in lines for one in part.get_segments()]


@pytest.mark.parametrize("model", [*MODELS, "truth"])
def test_marks_and_whiskers_stand_at_the_credit_in_the_row_of_their_channel(model):
    table = compared()
    ax = plot.credits(table)
    mine = table[(table["model"] == model) & ~table["channel"].str.startswith("(")].set_index("channel")
    labels = {label.get_text().replace("\n", " "): place for place, label in enumerate(ax.get_yticklabels())}
    places = [round(place) for _, place in marks(ax, model)]
    assert places == [labels[channel] for channel in mine.index]
    assert [x for x, _ in marks(ax, model)] == list(mine["credit"])
    drawn = whiskers(ax, style.MODELS[model][0])
    assert drawn == list(zip(mine["low"], mine["high"], strict=True))


def test_the_truth_has_a_hairline_through_the_row_of_its_channel():
    table = compared()
    ax = plot.credits(table)
    lines = [line for line in ax.lines if line.get_color() == style.MODELS["truth"][0]]
    truth = table[table["model"] == "truth"]
    assert sorted(line.get_xdata()[0] for line in lines) == sorted(truth["credit"])
    assert all(np.ptp(line.get_ydata()) == pytest.approx(1) for line in lines)


def test_what_no_channel_earned_stands_last_in_grey():
    ax = plot.credits(compared(), language="de")
    assert [label.get_text() for label in ax.get_yticklabels()][-2:] == ["(ohne Kontakt)", "(Grundniveau)"]
    grey = [dots for dots in ax.collections if to_rgba(style.MUTED) in map(tuple, dots.get_facecolor())]
    assert {x for dots in grey for x, _ in dots.get_offsets()} == {210.0, 300.0}
    assert {tuple(np.round(one)) for one in whiskers(ax, style.MUTED)} == {(189, 231), (270, 330)}


def test_marks_of_one_row_are_apart():
    ax = plot.credits(compared())
    ax.figure.canvas.draw()
    rows = [place for model in (*MODELS, "truth") for x, place in marks(ax, model) if round(place) == 0]
    pixels = np.diff(sorted(ax.transData.transform([(0, row) for row in rows])[:, 1]))
    assert len(rows) == 9 and pixels.min() > 8


def test_an_interval_without_bounds_does_not_squeeze_the_marks():
    table = compared()
    wild = (table["model"] == "hazard") & (table["channel"] == "Email")
    table.loc[wild, ["low", "high", "roas_low", "roas_high"]] = -9e5, 9e5, -9e5, 9e5
    for draw, column in ((plot.credits, "credit"), (plot.returns, "roas")):
        ax = draw(table)
        ax.figure.canvas.draw()
        places = ax.transData.transform([(x, 0) for model in MODELS for x, _ in marks(ax, model)])[:, 0]
        assert np.ptp(places) > 0.4 * ax.get_window_extent().width
        ends = {line.get_marker(): line.get_xdata()[0] for line in ax.lines if line.get_marker() in ("<", ">")}
        assert ends["<"] < table[column].min() and ends[">"] > table[column].max()
        assert set(ends.values()) == set(ax.get_xlim())
        assert any("Arrows: the interval goes on" in text.get_text().replace("\n", " ") for text in ax.texts)


def test_negative_credit_is_shown_beside_a_line_at_zero():
    table = compared(["linear", "shapley_rate"])
    table.loc[(table["model"] == "shapley_rate") & (table["channel"] == "Email"), ["credit", "low", "high"]] = (
        -60,
        -90,
        5,
    )
    ax = plot.credits(table)
    assert ax.get_xlim()[0] < -90 and [list(line.get_xdata()) for line in ax.lines] == [[0, 0]]
    assert any(x == -60 for x, _ in marks(ax, "shapley_rate"))


def test_rows_of_more_than_a_channel_have_all_its_parts():
    table = compared(channels={"Email": 20, "Affiliate": 10})
    table.insert(2, "campaign", table["channel"].map({"Email": "spring"}))
    labels = [label.get_text() for label in plot.credits(table).get_yticklabels()]
    assert labels == ["Email · spring", "Affiliate", "(no touch)", "(baseline)"]


# Return


def test_one_stretched_channel_does_not_squeeze_the_others():
    table = compared()
    ax = plot.returns(table)
    ax.figure.canvas.draw()
    found = np.array([place for model in MODELS for place in marks(ax, model)])
    assert found[:, 0].max() > 40 and ax.get_xscale() == "log"
    others = ax.transData.transform(found[found[:, 0] < 10])[:, 0]
    assert np.ptp(others) > 0.15 * ax.get_window_extent().width
    assert ax.get_yticklabels()[0].get_text() == "Email"
    assert any(text.get_text() == "break-even: value = cost" and text.xy[0] == 1 for text in ax.texts)


def test_channels_without_cost_have_no_return():
    labels = [label.get_text() for label in plot.returns(compared()).get_yticklabels()]
    assert len(labels) == 9 and not set(labels) & {*FREE, "(no touch)"}


def test_what_has_no_place_on_a_logarithmic_axis_stands_hollow_with_its_figures():
    table = compared(["first", "last", "linear"])
    for model, value in (("first", 0.0), ("last", -0.31)):
        chosen = (table["model"] == model) & (table["channel"] == "Affiliate")
        table.loc[chosen, ["roas", "roas_low", "roas_high"]] = value, value - 1, 0.9
    ax = plot.returns(table, language="de")
    hollow = [dots for dots in ax.collections if to_rgba("white") in map(tuple, dots.get_facecolor())]
    assert [tuple(dots.get_edgecolor()[0]) for dots in hollow] == [
        to_rgba(style.MODELS[model][0]) for model in ("first", "last")
    ]
    assert "◂ −0,31 – 0,00" in [text.get_text() for text in ax.texts]
    edge = min(x for model in ("first", "last", "linear") for x, _ in marks(ax, model))
    assert all(dots.get_offsets()[0][0] < edge for dots in hollow)
    low = min(line.get_xdata()[0] for line in ax.lines if list(line.get_xdata())[-1] == 0.9)
    assert ax.get_xlim()[0] < low <= edge


def test_an_interval_that_goes_on_to_the_left_ends_in_an_arrow():
    table = compared(["linear"])
    table.loc[table["channel"] == "Affiliate", "roas_low"] = 0.0
    ax = plot.returns(table)
    (arrow,) = [line for line in ax.lines if line.get_marker() == "<"]
    (cut,) = [low for low, _ in whiskers(ax, style.MODELS["linear"][0]) if low == arrow.get_xdata()[0]]
    assert cut == ax.get_xlim()[0]


def test_a_return_that_is_not_known_is_no_mark():
    table = compared(["linear", "last"])
    table.loc[(table["model"] == "last") & (table["channel"] == "Email"), "roas"] = np.nan
    assert len(marks(plot.returns(table), "linear")) == 1 + len(marks(plot.returns(table), "last")) == 9


# Ranks and roles


def test_lines_go_through_the_ranks_and_only_those_that_change_most_have_colours():
    ranks = {"A": (1, 5, 5), "B": (2, 1, 1), "C": (3, 2, 2), "D": (4, 3, 3), "E": (5, 4, 4)}
    rows = [(model, name, 6.0 - rank[k], rank[k]) for k, model in enumerate(MODELS[:3]) for name, rank in ranks.items()]
    ax = plot.ranks(pd.DataFrame(rows, columns=["model", "channel", "credit", "rank"]))
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert sorted(tuple(line.get_ydata() + 1) for line in lines) == sorted(ranks.values())
    colored = [line for line in lines if line.get_color() != style.GREY]
    assert [tuple(line.get_ydata() + 1) for line in colored] == [(1, 5, 5)]
    assert colored[0].get_color() == style.GROUPS[0]
    said = [text.get_text() for text in ax.texts]
    assert all(said.count(name) == 2 for name in ranks)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["First touch", "Last touch", "Linear"]


def test_equal_ranks_stand_below_each_other_and_unknown_ones_nowhere():
    rows = [("last", "A", 2.0, 1.0), ("last", "B", 2.0, 1.0), ("truth", "A", 1.0, 1.0), ("truth", "B", 1.0, np.nan)]
    ax = plot.ranks(pd.DataFrame(rows, columns=["model", "channel", "credit", "rank"]))
    lines = {tuple(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) == 2}
    assert (0.0, 0.0) in lines and any(one[0] == 1.0 and np.isnan(one[1]) for one in lines)
    assert [text.get_text() for text in ax.texts].count("B") == 1


def test_roles_are_stacked_shares_in_fixed_colours():
    table = roles_of()
    ax = plot.roles(table, language="de")
    ordered = table.sort_values("conversions", ascending=False)
    assert len(ax.containers) == 4
    for container, role in zip(ax.containers, ("opens", "assists", "closes", "alone"), strict=True):
        assert [bar.get_width() for bar in container] == pytest.approx(list(ordered[f"share_{role}"]))
    ends = [bar.get_x() + bar.get_width() for bar in ax.containers[-1]]
    assert ends == pytest.approx([1.0] * len(table))
    faces = [container[0].get_facecolor() for container in ax.containers]
    assert faces[0] == to_rgba(style.MODELS["first"][0]) and faces[2] == to_rgba(style.MODELS["last"][0])
    assert {"520", "25", "Konversionen"} <= {text.get_text() for text in ax.texts}


# Budget, orders, score


def test_bars_are_the_change_of_budget_and_hollow_where_it_may_be_none():
    table = moves_of()
    ax = plot.moves(table, language="de")
    bars = [container[0] for container in ax.containers]
    assert [bar.get_width() for bar in bars] == list(table["change"])
    hollow = [bar.get_facecolor() == to_rgba("white") for bar in bars]
    assert hollow == list((table["change_low"] <= 0) & (table["change_high"] >= 0))
    spans = [tuple(line.get_xdata()) for line in ax.lines if len(set(line.get_ydata())) == 1]
    assert spans == list(zip(table["change_low"], table["change_high"], strict=True))
    said = " ".join(text.get_text() for text in ax.texts).replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
    assert "+8.800 €" in said and "20.000 € → 28.800 €" in said
    assert "wenn es „Markow-Kette“ statt „Letzter Kontakt“ folgte" in said


@pytest.mark.parametrize("factor", [0.001, 1, 1e5])
def test_amounts_of_any_size_have_room(factor):
    ax = plot.moves(moves_of(factor), language="de")
    said = said_on(ax)
    found = boxes(ax, said)
    assert all(apart(*pair) for pair in combinations(found, 2))


def test_the_chosen_order_is_filled_and_the_span_is_one_error_around_the_best():
    ax = plot.orders(orders_of())
    points = {line.get_markerfacecolor(): list(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"}
    assert points == {"white": [1, 3, 4, 5], style.MODELS["markov"][0]: [2]}
    low, high = ax.patches[0].get_y(), ax.patches[0].get_y() + ax.patches[0].get_height()
    assert (low, high) == pytest.approx((0.1400, 0.1412))
    (bars,) = ax.collections
    assert tuple(bars.get_segments()[0][:, 1]) == pytest.approx((0.1417, 0.1429))
    assert ax.get_xticklabels()[2].get_text() == "3\n934\n1.20\N{NO-BREAK SPACE}pp"


def test_the_score_is_a_mark_of_the_model_with_its_interval_and_its_money():
    ax = plot.score(scored())
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["Additive hazard", "Shapley value"]
    assert marks(ax, "hazard") == [(0.08, 0)]
    lines = {line.get_color(): tuple(line.get_xdata()) for line in ax.lines}
    assert lines[style.MODELS["hazard"][0]] == pytest.approx((0.04, 0.13))
    assert "€8,000 misplaced" in [text.get_text() for text in ax.texts]


# The graph


def frames(ax):
    return [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]


def lines(ax):
    return [patch for patch in ax.patches if isinstance(patch, PathPatch)]


@pytest.mark.parametrize("language", locale.LANGUAGES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 12])
def test_boxes_do_not_touch_and_texts_lie_in_a_box_or_off_all(language, channels):
    ax = plot.transition_graph(moved(list(CHANNELS)[:channels]), language=language)
    found = boxes(ax, frames(ax))
    assert len(found) == channels + 3 and all(apart(*pair) for pair in combinations(found, 2))
    names = 0
    for text, box in zip(ax.texts, boxes(ax, ax.texts), strict=True):
        touched = [frame for frame in found if not apart(box, frame)]
        names += bool(touched)
        for frame in touched:
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    assert names >= channels + 3
    assert all(apart(*pair, slack=0.5) for pair in combinations(boxes(ax, ax.texts), 2))


def test_the_start_is_left_and_the_ends_are_right():
    ax = plot.transition_graph(moved())
    at = {text.get_text(): text.get_position()[0] for text in ax.texts}
    middle = [at[name] for name in ("Email", "Direct", "Affiliate", "Shopping")]
    assert at["(start)"] < min(middle) and max(middle) < at["(conversion)"] == at["(end)"]


def test_lines_are_as_thick_as_their_transitions_and_blue_where_they_lead_to_conversions():
    rows = [("(start)", "Email", 400, 1.0), ("Email", "(conversion)", 100, 0.25), ("Email", "(end)", 300, 0.75)]
    ax = plot.transition_graph(pd.DataFrame(rows, columns=["from", "to", "transitions", "share_out"]))
    found = {one.get_edgecolor(): one.get_linewidth() for one in lines(ax)}
    assert found[to_rgba(style.GREY)] == pytest.approx(3 * found[to_rgba(style.BLUE)])
    assert max(found.values()) == pytest.approx(4 * found[to_rgba(style.BLUE)])
    said = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in ax.texts]
    assert {"100 %", "25 %", "75 %"} <= set(said)
    assert any("with 100 % of 800 transitions" in one for one in said)


def test_lines_begin_and_end_at_the_sides_of_their_boxes():
    ax = plot.transition_graph(moved())
    sides = [side for frame in frames(ax) for side in (frame.get_x(), frame.get_x() + frame.get_width())]
    for line in lines(ax):
        assert min(abs(line.get_path().vertices[0][0] - side) for side in sides) < 1e-9
    heads = [patch.get_xy()[0][0] for patch in ax.patches if isinstance(patch, Polygon)]
    assert all(min(abs(head - side) for side in sides) < 1e-9 for head in heads) and len(heads) == len(lines(ax))


def test_the_strongest_connections_are_drawn_and_their_share_is_said():
    table = moved()
    ax = plot.transition_graph(table, edges=36)
    assert 36 <= len(lines(ax)) <= 40
    assert sum(one.get_edgecolor() == to_rgba(style.BLUE) for one in lines(ax)) >= 6
    everything = plot.transition_graph(table, edges=1000)
    assert len(lines(everything)) == len(table)
    assert any("with 100\N{NO-BREAK SPACE}% of" in text.get_text() for text in everything.texts)


def test_no_touchpoint_stands_without_a_way_to_it_and_away():
    table = moved()
    weak = table[["from", "to"]].isin(["Shopping"]).any(axis=1)
    table["transitions"] = table["transitions"].where(~weak, 1)
    ax = plot.transition_graph(table, edges=20)
    starts = [line.get_path().vertices[0] for line in lines(ax)]
    heads = [patch.get_xy()[0] for patch in ax.patches if isinstance(patch, Polygon)]
    for frame in frames(ax):
        low, high = frame.get_y(), frame.get_y() + frame.get_height()
        sides = (frame.get_x(), frame.get_x() + frame.get_width())
        met = [
            any(low < y < high and min(abs(x - side) for side in sides) < 1e-9 for x, y in places)
            for places in (starts, heads)
        ]
        assert sum(met) == 2 or sides[0] == min(one.get_x() for one in frames(ax)) or sides[1] > 10


def test_of_many_touchpoints_those_passed_most_are_drawn():
    table = moved([f"Channel {number}" for number in range(30)])
    ax = plot.transition_graph(table, language="de")
    said = " ".join(text.get_text() for text in ax.texts)
    assert len(frames(ax)) == 15 and "12 von 30 Kontaktpunkten sind gezeichnet" in said


def test_a_graph_fits_into_smaller_axes():
    _, ax = plt.subplots()
    plot.transition_graph(moved(), ax=ax)
    room = ax.get_window_extent()
    for box in boxes(ax, [*ax.texts, *frames(ax)]):
        assert room.x0 - 2 <= box.x0 and box.x1 <= room.x1 + 2 and room.y0 - 2 <= box.y0 and box.y1 <= room.y1 + 2


def test_nobody_went_anywhere():
    table = moved().assign(transitions=0)
    assert [text.get_text() for text in plot.transition_graph(table).texts] == ["no data"]
