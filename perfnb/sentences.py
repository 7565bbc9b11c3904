"""Headlines: one or two sentences made from result tables, true whatever the numbers are."""

from perfnb import locale
from perfnb.tables import amount, kpi_name, safe

__all__ = ["Sentence", "attribution", "funnel", "journey", "kpi"]


_ROUNDING = 1e-9  # of the larger value: what is less did not move
_BETTER = {"higher": 1, "lower": -1}


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


def kpi(nodes, kinds, *, language="en"):
    """What happened to the root and why, from `kpi.nodes` and `kpi.kinds`.

    Helping is what moves the root where it should go: cost per order down. Of a
    root without such a direction (cost) nothing is said to help or harm. A
    change whose interval holds 0 is said to be within the usual variation.
    """
    root = nodes.iloc[0]
    rounding = _ROUNDING * max(abs(root["before"]), abs(root["after"]))

    def said_of(value, change=False):
        return amount(value, root["unit"], root["currency"], language, change=change)

    facts = {
        "kpi": kpi_name(root["kpi"], language),
        "after": said_of(root["after"]),
        "change": said_of(abs(root["change"]), change=True).removeprefix("+"),
        "growth": "",
    }
    if root["growth"] == root["growth"]:
        facts["growth"] = f" ({locale.signed(locale.share(root['growth'], language), root['growth'])})"
    way = "kpi_same" if abs(root["change"]) <= rounding else "kpi_up" if root["change"] > 0 else "kpi_down"
    said = locale.text(f"headline.{way}", language, **facts)
    if way != "kpi_same" and root["low"] == root["low"]:
        between = {"low": said_of(root["low"], change=True), "high": said_of(root["high"], change=True)}
        said += locale.text(f"headline.{'kpi_noise' if root['within_noise'] else 'kpi_clear'}", language, **between)
    leaves = nodes[nodes["op"].isna() & (nodes["contribution"].abs() > rounding)]
    helped = leaves["contribution"] * _BETTER.get(root["direction"], 0)
    for key, found in (("kpi_help", leaves[helped > 0]), ("kpi_hurt", leaves[helped < 0])):
        if len(found):
            most = found.loc[found["contribution"].abs().idxmax()]
            name = kpi_name(most["kpi"], language)
            if most["kpi"] == "unallocated":
                name = f"{kpi_name(most['path'].split('/')[-2], language)}, {name}"
            usual = locale.text("headline.kpi_usual", language) if most["low"] <= 0 <= most["high"] else ""
            worth = said_of(most["contribution"], change=True)
            said += locale.text(f"headline.{key}", language, name=name, contribution=worth, usual=usual)
    return Sentence(said + _mix(kinds, rounding, said_of, language))


def _mix(kinds, rounding, said_of, language):
    """What the total of a rate hides: a shift between segments that outweighs their own rates."""
    wide = kinds.pivot_table(index="kpi", columns="kind", values="contribution", aggfunc="sum", fill_value=0.0)
    if not {"mix", "rate"} <= set(wide):
        return ""
    mix, rate = wide["mix"], wide["rate"]
    # Where rate and mix nearly cancel, neither stands behind the little that is left.
    wide = wide[(mix.abs() > rate.abs() + rounding) & ((mix + rate).abs() > mix.abs() / 2 + rounding)]
    if wide.empty:
        return ""
    name = wide["mix"].abs().idxmax()
    parts = {kind: said_of(wide.loc[name, kind], change=True) for kind in ("mix", "rate")}
    turned = kinds.loc[kinds["kpi"] == name, "reversal"].any()
    return locale.text(
        f"headline.{'kpi_reversal' if turned else 'kpi_mix'}", language, name=kpi_name(name, language), **parts
    )


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


def _quoted(name, language):
    return locale.text("headline.quoted", language, word=locale.word(name, language))
