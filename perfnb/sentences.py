"""Headlines: one or two sentences made from result tables, true whatever the numbers are."""

from perfnb import locale
from perfnb.kpi.catalogue import CATALOGUE
from perfnb.tables import kpi_name, safe

__all__ = ["Sentence", "attribution", "funnel", "journey", "kpi"]


_ROUNDING = 1e-9  # of the larger value: what is less did not move
_BETTER = {"higher": 1, "lower": -1, "context": 0}


class Sentence(str):
    """A text that notebooks show as a paragraph; what came from data stays text."""

    def _repr_html_(self):
        return f'<p class="perfnb-headline">{safe(self)}</p>'

    def __repr__(self):
        return str(self)


def funnel(steps, *, language="en"):
    """The funnel in a sentence: who started, who finished, where most are lost. From `funnel.steps` without `by`."""
    entered, finished = int(steps["units"].iloc[0]), int(steps["units"].iloc[-1])
    last = locale.word(steps["name"].iloc[-1], language)
    if not entered:
        return Sentence(locale.text("headline.no_data", language))
    facts = {"entered": locale.number(entered, language), "last": last}
    later = steps[steps["step"] > 1]
    if later.empty:
        return Sentence(locale.text("headline.funnel_one", language, **facts))
    worst = later.loc[later["dropped"].astype(float).idxmax()]
    said = locale.text(
        "headline.funnel",
        language,
        **facts,
        finished=locale.number(finished, language),
        overall=locale.share(finished / entered, language),
        worst=locale.word(worst["name"], language),
        dropped=locale.number(int(worst["dropped"]), language),
        lost=locale.share(1 - worst["rate"], language),
    )
    more = int(steps["out_of_order"].iloc[-1])
    if more > finished:
        said += locale.text("headline.funnel_more", language, more=locale.number(more, language), last=last)
    return Sentence(said)


def journey(paths, ends, *, conversion="order", language="en"):
    """Journeys in a sentence, from `journey.paths` and `journey.ends`."""
    journeys, conversions = int(paths["journeys"].sum()), int(paths["conversions"].sum())
    facts = {"journeys": locale.number(journeys, language)}
    if not conversions:
        named = locale.word(conversion, language)
        return Sentence(locale.text("headline.journey_none", language, **facts, conversion=named))
    named = paths[~paths["path"].isin(["(other)", "(no touch)"])]
    first = named.iloc[0] if len(named) else paths.iloc[0]
    ended = ""
    if len(ends) and ends["ended"].iloc[0]:
        end, share = locale.word(ends["touchpoint"].iloc[0], language), locale.share(ends["share"].iloc[0], language)
        ended = locale.text("headline.journey_end", language, end=end, share=share)
    converted = int(paths["converted"].sum())
    return Sentence(
        locale.text(
            "headline.journey",
            language,
            **facts,
            conversions=locale.number(conversions, language),
            rate=locale.share(converted / journeys, language),
            path=locale.path(first["path"], language),
            share=locale.share(first["share"], language),
            ended=ended,
        )
    )


def kpi(nodes, movers, *, language="en"):
    """What happened to the root and why, from `kpi.explain` and `kpi.movers`.

    Helping is what moves the root where it should go: cost per order down. Of a
    root without such a direction (cost) nothing is said to help or harm.
    """
    root = nodes.iloc[0]
    rounding = _ROUNDING * max(abs(root["before"]), abs(root["after"]))

    def moved(value):
        return _amount(value, root, language, change=True)

    def signed(value):
        return locale.signed(moved(value), value)

    facts = {
        "kpi": kpi_name(root["kpi"], language),
        "after": _amount(root["after"], root, language),
        "change": moved(abs(root["change"])),
        "growth": "",
    }
    if root["growth"] == root["growth"]:
        facts["growth"] = f" ({locale.signed(locale.share(root['growth'], language), root['growth'])})"
    way = "kpi_same" if abs(root["change"]) <= rounding else "kpi_up" if root["change"] > 0 else "kpi_down"
    said = locale.text(f"headline.{way}", language, **facts)
    leaves = nodes[nodes["op"].isna() & (nodes["contribution"].abs() > rounding)]
    helped = leaves["contribution"] * _BETTER[root["direction"]]
    for key, found in (("kpi_help", leaves[helped > 0]), ("kpi_hurt", leaves[helped < 0])):
        if len(found):
            most = found.loc[found["contribution"].abs().idxmax()]
            name = kpi_name(most["kpi"], language)
            said += locale.text(f"headline.{key}", language, name=name, contribution=signed(most["contribution"]))
    kinds = movers.pivot_table(index="kpi", columns="kind", values="contribution", aggfunc="sum", fill_value=0.0)
    if {"mix", "rate"} <= set(kinds):
        mix, rate = kinds["mix"], kinds["rate"]
        # Where rate and mix nearly cancel, neither stands behind the little that is left.
        kinds = kinds[(mix.abs() > rate.abs() + rounding) & ((mix + rate).abs() > mix.abs() / 2 + rounding)]
        if len(kinds):
            name = kinds["mix"].abs().idxmax()
            parts = {"mix": signed(kinds.loc[name, "mix"]), "rate": signed(kinds.loc[name, "rate"])}
            said += locale.text("headline.kpi_mix", language, name=kpi_name(name, language), **parts)
    return Sentence(said)


def attribution(comparison, distance, *, conversion="order", language="en"):
    """What hangs on the choice of model, from `attribution.compare` and `attribution.distance`."""
    models = comparison[comparison["model"] != "truth"]
    touched = models[models["channel"] != "(no touch)"]
    spread = (models if touched.empty else touched).groupby("channel")["credit"].agg(["min", "max"])
    total = models.groupby("model")["credit"].sum()
    if total.empty or not total.iloc[0]:
        named = locale.word(conversion, language)
        return Sentence(locale.text("headline.attribution_none", language, conversion=named))
    channel = (spread["max"] - spread["min"]).idxmax()
    if (spread["max"] - spread["min"]).max() <= 0.5:
        orders = locale.number(total.iloc[0], language)
        return Sentence(locale.text("headline.attribution_same", language, total=orders))
    said = locale.text(
        "headline.attribution",
        language,
        channel=locale.word(channel, language),
        low=locale.number(spread.loc[channel, "min"], language),
        high=locale.number(spread.loc[channel, "max"], language),
        total=locale.number(total.iloc[0], language),
    )
    distance = distance[distance["distance"].notna()]
    if len(distance):
        best, worst = distance.iloc[0], distance.iloc[-1]
        said += locale.text(
            "headline.attribution_truth",
            language,
            best=_quoted(best["model"], language),
            worst=_quoted(worst["model"], language),
            misplaced=locale.money(worst["misplaced"], worst["currency"], language, 0),
        )
    return Sentence(said)


def _amount(value, root, language, change=False):
    """A value of the root's unit, or a change of it (of a share: in percentage points)."""
    if root["unit"] == "money":
        sums = not CATALOGUE[root["kpi"]].denominator
        return locale.money(value, root["currency"], language, 0 if sums else 2)
    if root["unit"] == "share" and change:
        return locale.points(value, language)
    if root["unit"] == "share":
        return locale.share(value, language)
    return locale.number(value, language, 2 if root["unit"] == "x" else 0)


def _quoted(name, language):
    return locale.text("headline.quoted", language, word=locale.word(name, language))
