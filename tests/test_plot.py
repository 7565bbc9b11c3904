"""Charts: they draw the table they get, in the Axes they get, and change neither it nor the world."""

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
from matplotlib.patches import FancyBboxPatch, Rectangle

from perfnb import attribution, funnel, journey, kpi, locale, plot, workspace
from perfnb.errors import BadParameter
from perfnb.kpi.alerts import chart
from perfnb.period import Period
from perfnb.plot import style
from perfnb.plot.kpi import amount

STEPS = ["visit", "view_item", "add_to_cart", "checkout", "order"]


@pytest.fixture(scope="module")
def results(samples):
    """Every chart with the result table that it draws."""
    ws = workspace.open(str(samples))
    visits = {"events": ["visit"]}
    transitions = journey.transitions(ws.touchpoints, **visits)
    matrix = journey.step_matrix(ws.touchpoints, by="device", **visits)
    devices = [matrix[matrix["device"] == name] for name in ("mobile", "desktop")]
    feeling = journey.emotion(ws.touchpoints, surveys=ws.surveys)
    figures = kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders)
    daily = kpi.daily(figures, by=("channel",))
    base = kpi.base(figures, period="last 28 days")
    change = {"day": "2025-08-10", "segment": {"channel": "Email"}, "control": {"channel": "Direct"}}
    credits = [attribution.rules(ws.touchpoints, **visits), attribution.markov(ws.touchpoints, **visits)]
    comparison = attribution.compare(credits, campaigns=ws.campaigns, truth=ws.truth)
    return {
        "funnel": (plot.funnel, funnel.steps(ws.touchpoints, STEPS, within="7 days")),
        "funnel_by": (
            lambda table, **options: plot.funnel_by(table, "device", **options),
            funnel.steps(ws.touchpoints, STEPS, within="7 days", by="device"),
        ),
        "trend": (plot.trend, funnel.trend(ws.touchpoints, STEPS[-2:], within="7 days")),
        "time_to_convert": (plot.time_to_convert, funnel.time_to_convert(ws.touchpoints, STEPS, within="7 days")),
        "next_action": (plot.next_action, funnel.next_action(ws.touchpoints, STEPS, within="7 days")),
        "drivers": (plot.drivers, funnel.drivers(ws.touchpoints, ["visit", "order"], within="7 days")),
        "levers": (plot.levers, funnel.levers(ws.touchpoints, STEPS, within="7 days")),
        "step_matrix": (plot.step_matrix, journey.step_matrix(ws.touchpoints, **visits)),
        "matrix_difference": (plot.matrix_difference, journey.matrix_difference(*devices)),
        "sankey": (plot.sankey, journey.flows(ws.touchpoints, **visits)),
        "loops": (plot.loops, journey.loops(ws.touchpoints, **visits)),
        "journey_map": (
            lambda table, **options: plot.journey_map(table, emotion=feeling, **options),
            journey.map(ws.touchpoints, surveys=ws.surveys, touchpoint="event"),
        ),
        "stages": (plot.stages, journey.stages(ws.touchpoints)),
        "contacts": (plot.contacts, journey.contacts(ws.touchpoints)),
        "paths": (plot.paths, journey.frequent(ws.touchpoints, **visits)),
        "transitions": (plot.transitions, transitions),
        "ends": (plot.ends, journey.ends(transitions)),
        "satisfaction": (plot.satisfaction, journey.satisfaction(ws.surveys)),
        "kpi_tree": (plot.kpi_tree, kpi.nodes(base)),
        "waterfall": (plot.waterfall, kpi.nodes(base)),
        "movers": (plot.movers, kpi.explain(base)),
        "factors": (plot.factors, kpi.factors(base)),
        "control_chart": (plot.control_chart, chart(figures, kpi="clicks")),
        "targets": (plot.targets, kpi.track(daily, kpi.targets(ws.targets), today="2025-08-20")),
        "placebos": (plot.placebos, kpi.placebos(daily, kpi="visits", **change)),
        "credits": (plot.credits, comparison),
        "returns": (plot.returns, comparison),
        "ranks": (plot.ranks, comparison),
        "moves": (plot.moves, attribution.moves(comparison, model="last", against="markov")),
        "roles": (plot.roles, attribution.roles(ws.touchpoints, **visits)),
        "orders": (plot.orders, attribution.choose_order(ws.touchpoints, **visits)),
        "score": (plot.score, attribution.score(comparison)),
        "transition_graph": (plot.transition_graph, transitions),
    }


NAMES = sorted(set(plot.__all__) - {"canvas"})


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_chart_is_tested(results):
    assert sorted(results) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_a_chart_leaves_its_table_and_settings_alone_and_draws(results, name, language):
    draw, table = results[name]
    before, settings = table.copy(), dict(matplotlib.rcParams)
    ax = draw(table, language=language)
    ax.figure.canvas.draw()
    assert isinstance(ax, plt.Axes) and (ax.texts or ax.collections or ax.lines)
    pd.testing.assert_frame_equal(table, before)
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_draws_into_the_axes_that_it_gets(results, name):
    draw, table = results[name]
    _, mine = plt.subplots()
    assert draw(table, ax=mine) is mine
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_of_no_rows_says_so(results, name):
    draw, table = results[name]
    ax = draw(table.iloc[:0], language="de")
    assert [text.get_text() for text in ax.texts] == ["keine Daten"]


def test_the_bars_are_the_counts(results):
    draw, table = results["funnel"]
    widths = [bar.get_width() for bar in draw(table).containers[0]]
    assert widths == list(table["units"])


def test_names_from_the_data_are_text_and_never_maths(results):
    draw, table = results["paths"]
    awkward = table.assign(path=["$a$ to $b$", r"\frac", "*x*", "<b>", "x" * 300, *table["path"][5:]])
    ax = draw(awkward)
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == r"\$a\$ to \$b\$" and max(map(len, labels)) <= 44


def test_of_many_groups_the_largest_are_drawn_and_the_rest_is_said():
    sizes = np.arange(1, 10) * 10
    rows = [(f"g{k}", step, size // step) for k, size in enumerate(sizes) for step in (1, 2)]
    table = pd.DataFrame(rows, columns=["device", "step", "units"])
    table["name"], table["from_units"] = "order", table["units"] * 2
    table["rate"], table["low"], table["high"], table["definition"] = 0.5, 0.4, 0.6, ""
    ax = plot.funnel_by(table, "device")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["g3", "g4", "g5", "g6", "g7", "g8"]
    assert any("the 6 largest of 9 groups" in text.get_text() for text in ax.texts)


# Trees of KPIs


GOOD, BAD = to_rgba(style.BLUE), to_rgba(style.ORANGE)
DEEP = (
    "profit = contribution - cost; contribution = revenue * margin_rate; revenue = orders * aov; "
    "orders = visits * cvr_visit; visits = ad_visits + other_visits; ad_visits = clicks * visits_per_click; "
    "clicks = impressions * ctr; cost = clicks * cpc"
)


@pytest.fixture(scope="module")
def shop(samples):
    """The sums that trees are made of, in August and July."""
    ws = workspace.open(str(samples))
    return kpi.base(kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders), period="2025-08")


@pytest.fixture(scope="module")
def extras(samples):
    """Everything that cards can have beside their node."""
    ws = workspace.open(str(samples))
    figures = kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders)
    tracked = kpi.track(figures, [*kpi.targets(ws.targets), kpi.Target("aov", (85, 95), "2025-08-01", "2025-08-31")])
    names = [name for name, _, _ in kpi.DEFAULT.walk()]
    return {"targets": tracked, "days": kpi.course(figures, kpis=names, period=Period.parse("2025-08"))}


def boxes(ax, artists):
    """Where artists stand on the page, in pixels."""
    ax.figure.canvas.draw()
    return [artist.get_window_extent() for artist in artists]


def cards(ax):
    return [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]


def branches(ax):
    """The connectors: (colour of the edge, colour of the face, thickness)."""
    made = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_zorder() == 2]
    return [(one.get_edgecolor(), one.get_facecolor(), one.get_height()) for one in made]


def inside(small, large, slack=1.5):
    return (
        small.x0 >= large.x0 - slack
        and small.x1 <= large.x1 + slack
        and small.y0 >= large.y0 - slack
        and small.y1 <= large.y1 + slack
    )


@pytest.mark.parametrize("language", locale.LANGUAGES)
@pytest.mark.parametrize("tree", [*kpi.TREES, DEEP])
@pytest.mark.parametrize("factor", [1, 1e5])
def test_nothing_on_a_tree_overlaps_or_leaves_the_page(shop, extras, tree, language, factor):
    nodes, kinds = kpi.nodes(shop, tree=kpi.Tree.parse(tree), draws=60), kpi.kinds(shop, draws=0)
    amounts = ["contribution", "low", "high"]
    nodes[amounts], kinds[amounts] = nodes[amounts] * factor, kinds[amounts] * factor
    sums = nodes["unit"].isin(["count", "currency"])
    nodes.loc[sums, ["before", "after"]] *= factor
    ax = plot.kpi_tree(nodes, kinds=kinds, language=language, **extras)
    page, texts = ax.figure.bbox, boxes(ax, ax.texts)
    frames = boxes(ax, cards(ax))
    assert len(frames) == min(len(nodes), 15)
    assert all(inside(box, page) for box in (*texts, *frames))
    assert all(apart(*pair) for pair in combinations(frames, 2))
    said = [(text.get_text(), box) for text, box in zip(ax.texts, texts, strict=True) if text.get_text()]
    assert [(one[0], other[0]) for one, other in combinations(said, 2) if not apart(one[1], other[1])] == []
    for name, box in said:
        touched = [frame for frame in frames if not apart(box, frame)]
        assert all(inside(box, frame) for frame in touched), name


def test_a_tree_with_everything_on_its_cards_is_a_small_file(shop, extras):
    file = io.BytesIO()
    ax = plot.kpi_tree(kpi.nodes(shop), kinds=kpi.kinds(shop), language="de", **extras)
    ax.figure.savefig(file, bbox_inches="tight")
    assert file.tell() < 200_000


def test_of_a_tree_with_too_many_nodes_the_deepest_are_left_to_the_table(shop):
    nodes = kpi.nodes(shop, tree=kpi.Tree.parse(DEEP), draws=0)
    ax = plot.kpi_tree(nodes)
    said = [text.get_text() for text in ax.texts]
    assert len(nodes) == 19 and len(cards(ax)) == 15
    assert "+4 more" in said and any("15 of 19 KPIs are drawn; the table has the rest." in one for one in said)
    assert "Visits per click" not in said and "Visits from ads" in said


def test_parents_stand_in_the_middle_of_their_children_and_drivers_to_the_right():
    table = nodes_by_hand([("revenue", 100), ("revenue/orders", 60), ("revenue/aov", 40)])
    root, orders, aov = boxes(plot.kpi_tree(table), cards(plot.kpi_tree(table)))
    assert orders.x0 == aov.x0 > root.x1 and orders.y0 > aov.y1
    assert (root.y0 + root.y1) / 2 == pytest.approx((orders.y0 + orders.y1 + aov.y0 + aov.y1) / 4, abs=1)


def nodes_by_hand(rows, noise=False, direction="higher", unit="currency"):
    """A node table of (path, contribution)."""
    table = pd.DataFrame(rows, columns=["path", "contribution"])
    table["kpi"], table["depth"] = table["path"].str.split("/").str[-1], table["path"].str.count("/")
    table["op"] = np.where(table["depth"] == table["depth"].max(), None, "*")
    table["level"], table["unit"], table["direction"] = "transaction", unit, direction
    table["before"], table["after"] = 1000.0, 1000.0 + table["contribution"]
    table["change"] = table["contribution"]
    table["growth"] = table["change"] / table["before"]
    table["low"], table["high"] = table["contribution"] - 1, table["contribution"] + 1
    table["within_noise"] = pd.array([noise] * len(table), dtype="boolean")
    return table.assign(currency="EUR", root=table["kpi"][0], flag=None)


def test_a_connector_is_as_thick_as_the_contribution_and_says_whether_it_helps():
    rows = [("paid_cac", 30), ("paid_cac/cpc", 40), ("paid_cac/cvr", -10)]
    up, down = branches(plot.kpi_tree(nodes_by_hand(rows, direction="lower")))
    assert (up[0], down[0]) == (BAD, GOOD), "of a cost, less is better"
    assert up[2] == pytest.approx(4 * down[2])
    up, down = branches(plot.kpi_tree(nodes_by_hand(rows)))
    assert (up[:2], down[:2]) == ((GOOD, GOOD), (BAD, BAD))
    grey = to_rgba(style.MUTED)
    assert {one[0] for one in branches(plot.kpi_tree(nodes_by_hand(rows, direction="context")))} == {grey}


def test_what_is_within_the_usual_variation_is_hollow_and_says_so():
    rows = [("revenue", 30), ("revenue/orders", 40), ("revenue/aov", -10)]
    ax = plot.kpi_tree(nodes_by_hand(rows, noise=True))
    assert [one[:2] for one in branches(ax)] == [(GOOD, to_rgba("white")), (BAD, to_rgba("white"))]
    assert [text.get_text() for text in ax.texts].count("within the usual variation") == 3
    table = nodes_by_hand(rows, noise=True).assign(within_noise=pd.array([pd.NA] * 3, dtype="boolean"))
    assert [one[1] for one in branches(plot.kpi_tree(table))] == [GOOD, BAD], "an unknown interval says nothing"


def test_a_tree_that_did_not_move_praises_and_blames_nothing():
    table = nodes_by_hand([("revenue", 0.0), ("revenue/orders", 0.0), ("revenue/aov", 0.0)], noise=True)
    ax = plot.kpi_tree(table, language="de")
    said = [text.get_text() for text in ax.texts]
    assert said.count("• 0\N{NO-BREAK SPACE}€") == 3 and not any("hilft" in one or "schadet" in one for one in said)
    assert {one[0] for one in branches(ax)} == {to_rgba(style.MUTED)}


def test_what_is_left_over_is_a_card_without_a_value_and_added():
    rows = [("revenue", 30), ("revenue/orders", 40), ("revenue/aov", -20), ("revenue/target_inconsistency", 10)]
    said = [text.get_text() for text in plot.kpi_tree(nodes_by_hand(rows)).texts]
    assert said.count("×") == 1 and said.count("+") == 1
    assert "€1,040" in said and "€1,010" not in said


def test_a_nameless_node_is_named_by_its_parts(shop):
    nodes = kpi.nodes(shop, tree=kpi.TREES["cac"], draws=0)
    said = " ".join(text.get_text() for text in plot.kpi_tree(nodes, language="de").texts)
    assert "Konversionsrate (Klicks) × Neukundenanteil" in said and "new_share" not in said


def test_a_tree_fits_into_smaller_axes(shop):
    _, ax = plt.subplots()
    plot.kpi_tree(kpi.nodes(shop, draws=0), ax=ax)
    room = ax.get_window_extent()
    assert all(inside(box, room) for box in boxes(ax, [*ax.texts, *cards(ax)]))


# Contributions


KPI_CHARTS = ("waterfall", "movers", "factors", "control_chart", "targets", "placebos")


@pytest.mark.parametrize("name", KPI_CHARTS)
@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_no_text_of_a_chart_lies_on_another(results, name, language):
    draw, table = results[name]
    ax = draw(table, language=language)
    legend = ax.get_legend().get_texts() if ax.get_legend() else []
    across, up = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    ticks = [one for one in ax.get_xticklabels() if across[0] <= one.get_position()[0] <= across[1]]
    ticks += [one for one in ax.get_yticklabels() if up[0] <= one.get_position()[1] <= up[1]]
    said = [*ax.texts, *legend, *ticks, ax.xaxis.label, ax.yaxis.label]
    said = [text for text in said if text.get_text() and text.get_visible()]
    found = [(text.get_text(), box) for text, box in zip(said, boxes(ax, said), strict=True)]
    assert [(one[0], other[0]) for one, other in combinations(found, 2) if not apart(one[1], other[1])] == []
    assert all(inside(box, ax.figure.bbox, slack=3) for _, box in found)


def test_the_waterfall_goes_from_before_to_after_by_the_contributions_of_the_leaves(results):
    draw, table = results["waterfall"]
    ax, leaves = draw(table), table[table["op"].isna()]
    bars = [bar for container in ax.containers for bar in container]
    assert [bar.get_width() for bar in bars] == pytest.approx(list(leaves["contribution"]))
    starts, ends = [bar.get_x() for bar in bars], [bar.get_x() + bar.get_width() for bar in bars]
    assert starts[0] == table["before"][0] and ends[-1] == pytest.approx(table["after"][0])
    assert starts[1:] == pytest.approx(ends[:-1])
    hollow = [bar.get_facecolor() == to_rgba("white") for bar in bars]
    assert hollow == list(leaves["within_noise"])
    pooled = draw(table, top=3)
    widths = [bar.get_width() for container in pooled.containers for bar in container]
    assert len(widths) == 3 and sum(widths) == pytest.approx(table["change"][0])
    assert "4 others" in [label.get_text() for label in pooled.get_yticklabels()]


def test_leaves_of_the_same_kpi_are_told_apart(shop):
    nodes = kpi.nodes(shop, tree=kpi.Tree.parse(DEEP), draws=0)
    labels = [label.get_text() for label in plot.waterfall(nodes).get_yticklabels()]
    assert len(labels) == len(set(labels)) and {"Impressions (Visits from ads)", "Impressions (Cost)"} <= set(labels)


def test_contributions_point_where_they_belong_and_colours_say_whether_they_help(results):
    draw, table = results["movers"]
    ax, shown = draw(table, top=5), table.head(5)
    bars = [container[0] for container in ax.containers]
    assert [bar.get_width() for bar in bars] == list(shown["contribution"])
    assert [bar.get_edgecolor() == GOOD for bar in bars] == list(shown["contribution"] > 0)
    assert [bar.get_facecolor() == to_rgba("white") for bar in bars] == list(shown["within_noise"])
    whiskers = sorted(tuple(line.get_xdata()) for line in ax.lines if len(set(line.get_ydata())) == 1)
    assert whiskers == sorted(zip(shown["low"], shown["high"], strict=True))
    bars = [container[0] for container in draw(table.assign(root="paid_cac"), top=5).containers]
    assert [bar.get_edgecolor() == GOOD for bar in bars] == list(shown["contribution"] < 0)


@pytest.mark.parametrize("top", [3, 10, 100])
def test_the_heat_map_adds_up_to_the_change_of_the_root(results, top):
    _, table = results["factors"]
    ax = plot.factors(table, top=top)
    cells = {text.get_position(): text.get_text() for text in ax.texts if text.get_ha() == "center"}
    columns, rows = (int(max(place[axis] for place in cells)) for axis in (0, 1))
    values = {place: float(said.replace("\N{MINUS SIGN}", "-").replace(",", "")) for place, said in cells.items()}
    assert rows == min(top + 1, table[["channel", "campaign"]].drop_duplicates().shape[0])
    assert values[columns, rows] == pytest.approx(table["contribution"].sum(), abs=0.5)
    for row in range(rows + 1):
        whole = sum(values.get((column, row), 0) for column in range(columns))
        assert whole == pytest.approx(values[columns, row], abs=columns)
    for column in range(columns + 1):
        assert sum(values.get((column, row), 0) for row in range(rows)) == pytest.approx(values[column, rows], abs=rows)


def test_only_cells_beyond_the_usual_variation_are_filled(results):
    _, table = results["factors"]
    ax = plot.factors(table, top=100)
    filled = [patch for patch in ax.patches if patch.get_facecolor() != to_rgba("white")]
    segments = table.drop_duplicates(["channel", "campaign"])
    moved = (segments["change_low"] > 0) | (segments["change_high"] < 0)
    assert len(filled) == (~table["within_noise"] & table["contribution"].ne(0)).sum() + moved.sum()


def test_one_segment_alone_is_a_heat_map_too(results):
    _, table = results["factors"]
    ax = plot.factors(table[table["channel"] == "Direct"], language="de")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Direct", "Gesamt"]


# Days and targets


def test_a_control_chart_marks_the_days_outside_their_range_and_whether_that_is_good(results):
    _, days = results["control_chart"]
    days = days.assign(status=["high", "low"] + ["ok"] * (len(days) - 2))
    for name, colors in (("clicks", [GOOD, BAD]), ("cpo", [BAD, GOOD])):
        ax = plot.control_chart(days.assign(kpi=name))
        marks = {line.get_marker(): line for line in ax.lines}
        assert list(marks["o"].get_ydata()) == list(days["value"])
        assert [to_rgba(marks[shape].get_color()) for shape in "^v"] == colors
        assert [marks[shape].get_ydata()[0] for shape in "^v"] == list(days["value"].head(2))


def test_a_control_chart_is_of_one_series(results):
    _, days = results["control_chart"]
    with pytest.raises(BadParameter, match="choose the rows of one KPI and one segment"):
        plot.control_chart(pd.concat([days, days]))
    assert len(plot.control_chart(days, last=14).lines[-1].get_xdata()) <= 14


def test_a_bar_of_a_target_is_as_long_as_its_share_and_its_sign_is_the_status():
    table = tracked(
        ("orders", "higher", 90.0, 100.0, "amber"),
        ("cpo", "lower", 12.0, 10.0, "red"),
        ("cost", "context", 50.0, 100.0, "context"),
        ("revenue", "higher", np.nan, 100.0, "no_data"),
    )
    ax = plot.targets(table)
    assert [bar[0].get_width() for bar in ax.containers] == [0.9, 1.2, 0.5]
    said = [text.get_text() for text in ax.texts]
    assert said[:8:2] == ["!", "\N{BALLOT X}", "\N{BULLET}", "\N{EN DASH}"]
    assert said[3] == "€12.00 (target ≤ €10.00)" and said[7] == "– (target ≥ €100)"


def test_a_band_is_a_span_and_a_finished_target_has_no_projection():
    table = tracked(("aov", "band", 90.0, np.nan, "green"))
    table = table.assign(target_low=80.0, target_high=100.0, days_left=0, projection=95.0)
    ax = plot.targets(table)
    span, bar = (container[0] for container in ax.containers)
    assert (span.get_x(), span.get_width(), bar.get_width()) == pytest.approx((0.8, 0.2, 0.9))
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["actual", "target", "target band"]


def tracked(*rows):
    """The result of `kpi.track` of (kpi, direction, actual, target, status)."""
    table = pd.DataFrame(rows, columns=["kpi", "direction", "actual", "target", "status"])
    table["unit"] = [kpi.CATALOGUE[name].unit for name in table["kpi"]]
    empty = ["target_low", "target_high", "expected", "projection", "projection_low", "projection_high"]
    table[empty], table[["channel", "campaign"]] = np.nan, None
    return table.assign(due=pd.Timestamp("2025-08-31"), days_left=10, currency="EUR", attainment=table["actual"])


def test_an_effect_within_the_usual_variation_is_hollow(results):
    _, table = results["placebos"]
    for effect, face in ((0.1, "white"), (0.9, style.BLUE), (-0.9, style.ORANGE)):
        changed = table.assign(usual_low=-0.5, usual_high=0.5)
        changed.loc[changed.index[-1], "effect"] = effect
        point = plot.placebos(changed).lines[-1]
        assert (point.get_ydata()[0], to_rgba(point.get_markerfacecolor())) == (effect, to_rgba(face))


@pytest.mark.parametrize(
    ("value", "unit", "change", "english", "german"),
    [
        (1234.5, "currency", False, "€1,234", "1.234 €"),
        (12.349, "currency", False, "€12.35", "12,35 €"),
        (0.82, "currency_per_unit", False, "€0.82", "0,82 €"),
        (123_456_789, "currency", False, "€123M", "123 Mio. €"),
        (-12_345_678, "currency", True, "−€12.3M", "−12,3 Mio. €"),
        (8_270_000_000, "count", False, "8.27B", "8,27 Mrd."),
        (0.0634, "share", False, "6.3 %", "6,3 %"),
        (0.0034, "share", False, "0.34 %", "0,34 %"),
        (-0.0068, "share", True, "−0.68 pp", "−0,68 PP"),
        (0.0579, "x", False, "0.0579", "0,0579"),
        (9.376, "x", False, "9.38", "9,38"),
        (2.5, "days", False, "2.5 days", "2,5 Tage"),
        (float("nan"), "count", False, "–", "–"),
    ],
)
def test_amounts_have_their_unit_and_no_more_decimals_than_they_need(value, unit, change, english, german):
    for language, said in (("en", english), ("de", german)):
        assert amount(value, unit, "EUR", language, change=change).replace("\N{NO-BREAK SPACE}", " ") == said


def test_dollars_are_text_and_never_maths():
    table = nodes_by_hand([("revenue", 30), ("revenue/orders", 40), ("revenue/aov", -10)]).assign(currency="USD")
    for ax in (plot.kpi_tree(table), plot.waterfall(table)):
        ax.figure.canvas.draw()
        assert any(r"\$1,030" in text.get_text() for text in ax.texts)
