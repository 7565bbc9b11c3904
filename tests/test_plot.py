"""Charts: they draw the table they get, in the Axes they get, and change neither it nor the world."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from perfnb import attribution, funnel, journey, kpi, locale, plot, workspace
from perfnb.plot import style

STEPS = ["visit", "view_item", "add_to_cart", "checkout", "order"]


@pytest.fixture(scope="module")
def results(samples):
    """Every chart with the result table that it draws."""
    ws = workspace.open(str(samples))
    visits = {"events": ["visit"]}
    transitions = journey.transitions(ws.touchpoints, **visits)
    base = kpi.base(ws.campaigns, period="last 28 days")
    credits = [attribution.rules(ws.touchpoints, **visits), attribution.markov(ws.touchpoints, **visits)]
    comparison = attribution.compare(credits, campaigns=ws.campaigns, truth=ws.truth)
    return {
        "funnel": (plot.funnel, funnel.steps(ws.touchpoints, STEPS, within="7 days")),
        "funnel_by": (
            lambda table, **options: plot.funnel_by(table, "device", **options),
            funnel.steps(ws.touchpoints, STEPS, within="7 days", by="device"),
        ),
        "over_time": (plot.over_time, funnel.over_time(ws.touchpoints, STEPS[-2:], within="7 days")),
        "stages": (plot.stages, journey.stages(ws.touchpoints)),
        "contacts": (plot.contacts, journey.contacts(ws.touchpoints)),
        "paths": (plot.paths, journey.paths(ws.touchpoints, **visits)),
        "transitions": (plot.transitions, transitions),
        "ends": (plot.ends, journey.ends(transitions)),
        "satisfaction": (plot.satisfaction, journey.satisfaction(ws.surveys)),
        "kpi_tree": (plot.kpi_tree, kpi.explain(base)),
        "movers": (plot.movers, kpi.movers(base)),
        "credits": (plot.credits, comparison),
        "returns": (plot.returns, comparison),
    }


NAMES = sorted(plot.__all__)


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


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"kpi_tree"}))
def test_a_chart_of_no_rows_says_so(results, name):
    draw, table = results[name]
    ax = draw(table.iloc[:0], language="de")
    assert [text.get_text() for text in ax.texts] == ["keine Daten"]


def test_the_bars_are_the_counts(results):
    draw, table = results["funnel"]
    widths = [bar.get_width() for bar in draw(table).containers[0]]
    assert widths == list(table["units"])


def test_contributions_point_where_they_belong_and_colours_say_whether_they_help(results):
    draw, table = results["movers"]
    bars = draw(table, top=5).containers[0]
    assert [bar.get_width() for bar in bars] == list(table["contribution"].head(5))
    good = matplotlib.colors.to_rgba(style.BLUE)
    assert [bar.get_facecolor() == good for bar in bars] == list(table["contribution"].head(5) > 0)
    bars = draw(table, top=5, direction="lower").containers[0]
    assert [bar.get_facecolor() == good for bar in bars] == list(table["contribution"].head(5) < 0)


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
