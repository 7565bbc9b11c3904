"""Headlines: one or two sentences made from result tables, true whatever the numbers are."""

import math

import pandas as pd

from perfnb import columns, locale
from perfnb.kpi.catalogue import CATALOGUE
from perfnb.tables import amount, kpi_name, safe

__all__ = ["Sentence", "actions", "alerts", "attribution", "change", "funnel", "journey", "kpi", "periods", "targets"]


_ROUNDING = 1e-9  # of the larger value: what is less did not move
_BETTER = {"higher": 1, "lower": -1}


class Sentence(str):
    """A text that notebooks show as a paragraph; what came from data stays text."""

    def _repr_html_(self):
        return f'<p class="perfnb-headline">{safe(self)}</p>'

    def __repr__(self):
        return str(self)


_SAVED = ("saved_value", "saved_value_low", "saved_value_high")


def funnel(steps, *, groups=None, unusual=None, levers=None, language="en"):
    """The funnel in a few sentences: who started, who finished, where most are lost. From `funnel.steps` without `by`.

    With `groups`, from `funnel.steps` with `by`, also the group that differs most from all
    others by more than chance (adjusted p below 5 %); with `funnel.unusual` the weeks that
    stand out by more than chance (p below 5 %); with `funnel.levers` the step at which
    keeping some of those lost is worth most.
    """
    entered, finished = int(steps["units"].iloc[0]), int(steps["units"].iloc[-1])
    last = locale.word(steps["name"].iloc[-1], language)
    if not entered:
        return Sentence(locale.text("headline.no_data", language))
    counted = "units" if ", unit " in steps["definition"].iloc[0] else "persons"
    who = locale.text(f"headline.{counted}", language)
    facts = {"entered": locale.number(entered, language), "last": last, "who": who}
    later = steps[steps["step"] > 1]
    if later.empty:
        return Sentence(locale.text("headline.funnel_one", language, **facts))
    if not later["dropped"].astype(float).max() > 0:
        return Sentence(locale.text("headline.funnel_all", language, **facts))
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
        said += locale.text("headline.funnel_more", language, more=locale.number(more, language), **facts)
    if not finished:
        return Sentence(said + locale.text("headline.funnel_nobody", language, last=last))
    return Sentence(said + _apart(groups, language) + _unusual(unusual, language) + _lever(levers, facts, language))


def _apart(groups, language):
    if groups is None or not (groups["p_adjusted"] < 0.05).any():
        return ""
    most = groups.loc[groups["p_adjusted"].idxmin()]
    group = ", ".join(
        str(locale.word(most[name], language)) for name in groups.columns[: groups.columns.get_loc("step")]
    )
    return locale.text(
        "headline.funnel_group",
        language,
        group=group,
        step=locale.word(most["name"], language),
        rate=locale.share(most["rate"], language),
        rest=locale.share(most["rate"] - most["rate_difference"], language),
    )


def _unusual(runs, language):
    if runs is None or not (runs["p"] < 0.05).any():
        return ""
    real = runs[runs["p"] < 0.05]
    first = real.iloc[0]
    group = ", ".join(str(locale.word(first[name], language)) for name in runs.columns[: runs.columns.get_loc("step")])
    said = locale.text(
        "headline.funnel_odd",
        language,
        since=locale.day(first["since"], language),
        last=locale.day(first["last_day"], language),
        rate=locale.share(first["rate"], language),
        rest=locale.share(first["rest_rate"], language),
        step=locale.word(first["name"], language),
        group=f" ({group})" if group else "",
    )
    more = len(real) - 1
    return said + (
        locale.text("headline.funnel_odd_more", language, more=locale.number(more, language)) if more else ""
    )


def _lever(levers, facts, language):
    if levers is None or not levers["saved_orders"].ge(1).any():
        return ""
    best = levers.loc[levers["saved_orders"].idxmax()]
    worth = ""
    if best["saved_value"] == best["saved_value"]:
        ends = (locale.money(best[name], best["currency"], language, 0) for name in _SAVED)
        worth = locale.text("headline.funnel_worth", language, **dict(zip(("value", "low", "high"), ends, strict=True)))
    return locale.text(
        "headline.funnel_lever",
        language,
        uplift=locale.share(best["uplift"], language, 0),
        step=locale.word(best["name"], language),
        orders=locale.number(best["saved_orders"], language),
        last=facts["last"],
        who=facts["who"],
        worth=worth,
    )


def journey(paths, ends, *, emotion=None, conversion="order", language="en"):
    """Journeys in a sentence or two, from `journey.frequent` and `journey.ends`.

    With `journey.emotion` also the touchpoint to which feelings fall most, where they fall
    by more than chance.
    """
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
        + _fall(emotion, language)
    )


def _fall(emotion, language):
    if emotion is None or not (emotion["move"] == "falls").any():
        return ""
    worst = emotion.loc[emotion.loc[emotion["move"] == "falls", "change"].idxmin()]
    return locale.text(
        "headline.journey_falls",
        language,
        touchpoint=locale.word(worst["touchpoint"], language),
        **{name: locale.number(worst[name], language, 1) for name in ("mean", "low", "high")},
        before=locale.number(worst["mean"] - worst["change"], language, 1),
        scale=locale.word(worst["scale"], language),
    )


def kpi(nodes, kinds, *, explained=None, by=("channel", "campaign"), language="en"):
    """What happened to the root and why, from `kpi.nodes` and `kpi.kinds`; with `kpi.explain`, whose shift it was.

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
    leaves = _once(nodes[nodes["op"].isna()])
    leaves = leaves[leaves["contribution"].abs() > rounding]
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
    return Sentence(said + _mix(kinds, explained, by, rounding, said_of, language))


def _once(leaves):
    """A KPI that stands in several places of the tree has one contribution, and then no interval."""
    several = leaves["kpi"].duplicated(keep=False) & leaves["kpi"].ne("unallocated")
    sums = leaves[several].groupby("kpi", as_index=False)["contribution"].sum()
    return pd.concat([leaves[~several], sums.assign(path=sums["kpi"])], ignore_index=True)


def _mix(kinds, explained, by, rounding, said_of, language):
    """What the total of a rate hides: a shift between segments that outweighs their own rates."""
    wide = kinds.pivot_table(index="kpi", columns="kind", values="contribution", aggfunc="sum", fill_value=0.0)
    if not {"mix", "rate"} <= set(wide):
        return ""
    mix, rate = wide["mix"], wide["rate"]
    # Where rate and mix nearly cancel, neither stands behind the little that is left.
    own = kinds[kinds["kind"] == "mix"]
    usual = own[own["within_noise"].fillna(False).astype(bool)]
    sure = own[own["low"].notna() & ~own["kpi"].isin(usual["kpi"])]
    left = ((mix + rate).abs() > mix.abs() / 2 + rounding) | wide.index.isin(sure["kpi"])
    wide = wide[(mix.abs() > rate.abs() + rounding) & left & ~wide.index.isin(usual["kpi"])]
    if wide.empty:
        return ""
    name = wide["mix"].abs().idxmax()
    parts = {kind: said_of(wide.loc[name, kind], change=True) for kind in ("mix", "rate")}
    turned = kinds.loc[kinds["kpi"] == name, "reversal"].any()
    key = f"headline.{'kpi_reversal' if turned else 'kpi_mix'}"
    said = locale.text(key, language, name=kpi_name(name, language), **parts)
    if explained is None:
        return said
    own = explained[(explained["kpi"] == name) & (explained["kind"] == "mix")]
    most = own.loc[(own["contribution"] * math.copysign(1, wide.loc[name, "mix"])).idxmax()]
    facts = {"where": _where(most, by, language), "contribution": said_of(most["contribution"], change=True)}
    return said + locale.text("headline.kpi_shift", language, **facts)


def periods(base, *, language="en"):
    """The days that are compared, from `kpi.base`, and whether they are as many."""
    ends = {which: base[base["period"] == which].iloc[0] for which in ("before", "after")}
    facts = {}
    for which, row in ends.items():
        facts |= {
            f"{which}_since": locale.day(row["since"], language),
            f"{which}_last": locale.day(row["last_day"], language),
        }
    said = locale.text("headline.periods", language, **facts)
    days = {which: (row["last_day"] - row["since"]).days + 1 for which, row in ends.items()}
    if days["before"] != days["after"]:
        counts = {which: locale.number(count, language) for which, count in days.items()}
        said += locale.text("headline.periods_differ", language, **counts)
    for which, row in ends.items():
        if row["covered"] < days[which]:
            facts = {"covered": locale.number(row["covered"], language), "days": locale.number(days[which], language)}
            said += locale.text(f"headline.periods_gaps_{which}", language, **facts)
    return Sentence(said)


def targets(tracked, *, language="en"):
    """Where the targets stand, from `kpi.track`: how many hold, and which is missed by most of its own size."""
    judged = tracked[tracked["status"].isin(["green", "amber", "red"])]
    if judged.empty:
        return Sentence(locale.text("headline.targets_none", language))
    held = int((judged["status"] == "green").sum())
    facts = {"held": locale.number(held, language), "all": locale.number(len(judged), language)}
    said = locale.text(f"headline.targets_{'one' if len(judged) == 1 else 'many'}", language, **facts)
    behind = judged[judged["gap"] < 0]
    if len(behind):
        size = behind["expected"].abs()
        missed = (-behind["gap"] / size.where(size > 0)).fillna(math.inf)
        worst = behind.loc[missed.idxmax()]

        def said_of(value, change=False):
            return amount(value, worst["unit"], worst["currency"], language, change=change).removeprefix("+")

        facts = {
            "kpi": _of(worst, ("channel", "campaign"), language),
            "gap": said_of(-worst["gap"], change=True),
            "share": locale.share(missed.max(), language),
        }
        way = "above" if worst["direction"] == "lower" else "behind" if worst["days_left"] else "over"
        said += locale.text(f"headline.targets_{way}", language, **facts)
        if worst["days_left"] and worst["projection_low"] == worst["projection_low"]:
            ends = {"low": worst["projection_low"], "high": worst["projection_high"]}
            facts = {name: said_of(value) for name, value in ends.items()}
            facts |= {"projection": said_of(worst["projection"]), "target": said_of(worst["target"])}
            said += locale.text("headline.targets_pace", language, **facts)
    return Sentence(said)


def alerts(found, *, by=("channel",), language="en"):
    """How many series behaved unusually, and the dearest of them, from `kpi.alerts` of one day or more."""
    raised = found[found["status"].isin(["high", "low"])]
    short = found["status"].isin(["too_short", "no_data"])
    facts = {"all": locale.number(int((~short).sum()), language), "short": locale.number(int(short.sum()), language)}
    facts["thin"] = locale.number(int((found["status"] == "too_few").sum()), language)
    if short.all():
        return Sentence(locale.text("headline.alerts_short", language, **facts))
    unsaid = locale.text("headline.alerts_unjudged", language, **facts) if short.any() else ""
    if raised.empty:
        return Sentence(locale.text("headline.alerts_none", language, **facts) + unsaid)
    first = raised.iloc[0]
    unit = CATALOGUE[first["kpi"]].unit
    facts |= {
        "raised": locale.number(len(raised), language),
        "kpi": _of(first, by, language),
        "day": locale.day(first["date"], language),
        "value": amount(first["value"], unit, first["currency"], language),
        "expected": amount(first["expected"], unit, first["currency"], language),
    }
    return Sentence(locale.text(f"headline.alerts_{'one' if len(raised) == 1 else 'many'}", language, **facts) + unsaid)


def change(result, *, language="en"):
    """What a change at a day did, from `kpi.before_after`: with its interval, or that it cannot be told apart."""
    row = result.iloc[0]
    whole = locale.text("headline.whole", language)
    facts = {"kpi": kpi_name(row["kpi"], language), "segment": row["segment"] or whole}
    if row["status"] == "no_result":
        return Sentence(locale.text("headline.change_none", language, **facts))
    way = {"separable_up": "up", "separable_down": "down"}.get(row["status"], "not")
    ends = (row["low"], row["high"]) if way != "down" else (-row["high"], -row["low"])
    extra = ("extra_low", "extra_high") if way != "down" else ("extra_high", "extra_low")
    sign = -1 if way == "down" else 1
    for name, value in zip(("effect", "low", "high"), (sign * row["effect"], *ends), strict=True):
        said = locale.share(value, language)
        facts[name] = locale.signed(said, value) if way == "not" else said
    for name, own in zip(("extra", "extra_low", "extra_high"), ("extra", *extra), strict=True):
        said = amount(sign * row[own], row["unit"], row["currency"], language, change=True)
        facts[name] = said.removeprefix("+")
    facts["usual"] = locale.share(row["usual_high"] if row["effect"] >= 0 else -row["usual_low"], language)
    against = "against" if _known(row["control"]) else "before"
    named = {"control": row["control"], "window": locale.number(row["window"], language)}
    facts["against"] = locale.text(f"headline.change_{against}", language, **named)
    said = locale.text(f"headline.change_{way}", language, **facts)
    known = {"history": locale.number(row["history"], language)}
    known["empty_days"] = locale.number(row["empty_days"], language)
    flags = str(row["flag"] or "").split(", ")
    for flag in ("no_control", "short_history", "empty_days"):
        said += locale.text(f"headline.change_{flag}", language, **known) if flag in flags else ""
    return Sentence(said)


def actions(priorities, *, by=("channel", "campaign"), language="en"):
    """What to do about each finding of `kpi.priorities`, in words.

    Returns one row per finding: rank, what_to_do (text in the language), worse_by
    (unit of the root), low, high (95 %), root, currency.
    """
    said = []
    for row in priorities.to_dict("records"):
        unit, currency = CATALOGUE[row["root"]].unit, row["currency"]
        facts = {
            "where": _where(row, by, language) or locale.text("headline.whole", language),
            "kpi": kpi_name(row["kpi"], language),
        }
        look = locale.text(f"look.{_LOOK.get(row['kpi'], 'other')}", language)
        if row["finding"] == "alarm":
            facts["day"] = locale.day(row["date"], language)
            own = CATALOGUE[row["kpi"]].unit
            facts |= {end: amount(row[end], own, currency, language) for end in ("before", "after")}
        else:
            facts |= {end: amount(row[end], unit, currency, language) for end in ("before", "after")}
            facts |= {"root": kpi_name(row["root"], language)}
        kind = "part" if row["finding"] == "segment" and not _known(row["before"]) else row["finding"]
        text = locale.text(f"headline.action_{kind}", language, **facts, look=look)
        usual = row["finding"] == "segment" and bool(_known(row["within_noise"]) and row["within_noise"])
        said.append(text + (locale.text("headline.action_noise", language) if usual else ""))
    found = priorities[["rank", "worse_by", "low", "high", "root", "currency"]].copy()
    found.insert(1, "what_to_do", pd.Series(said, index=found.index, dtype=object))
    return found


_YEAR = 365
# Where a change of a factor usually has its reason.
_LOOK = {
    "volume": "traffic",
    "visits": "traffic",
    "clicks": "traffic",
    "impressions": "traffic",
    "ctr": "advertisement",
}
_LOOK |= {"cvr": "page", "cvr_visit": "page", "orders": "page", "leads": "page", "aov": "basket", "cost": "bids"}
_LOOK |= {"cpc": "bids", "cpo": "bids"}


def _known(value):
    return value is not None and value == value


def _where(row, by, language):
    """The segment that a row is of, as "Paid Search · Brand"; nothing for the whole."""
    return " · ".join(_segment(row[key], key, language) for key in by if key in row and _known(row[key]))


def _segment(name, key, language):
    """A segment's own name; for rows without one, what they lack: they are a segment, and not the whole."""
    if name == "(unknown)":
        label = columns.describe(key)
        named = label.label(language) if label else key
        return locale.text("headline.without", language, name=named.lower() if language == "en" else named)
    return str(locale.word(name, language)) if str(name).startswith("(") else str(name)


def _of(row, by, language):
    """A KPI's name, and of which part of the whole."""
    where, name = _where(row, by, language), kpi_name(row["kpi"], language)
    return f"{name} ({where})" if where else name


def attribution(comparison, score, *, moves=None, tests=None, conversion="order", language="en"):
    """What hangs on the choice of model: from `attribution.compare`, `score` and, where given, `moves`, `to_test`."""
    models = comparison[comparison["model"] != "truth"]
    touched = models[models["channel"] != "(no touch)"]
    spread = (models if touched.empty else touched).groupby("channel")["credit"].agg(["min", "max"])
    total = models.groupby("model")["credit"].sum()
    if total.empty or not total.iloc[0]:
        named = locale.word(conversion, language)
        return Sentence(locale.text("headline.attribution_none", language, conversion=named))
    if (spread["max"] - spread["min"]).max() <= 0.5:
        orders = locale.number(total.iloc[0], language)
        return Sentence(locale.text("headline.attribution_same", language, total=orders))
    # Channels without cost (Direct, under a rule that leaves it out) hang on the model too, but no money on them.
    paid = spread[spread.index.isin(models.loc[models["cost"] > 0, "channel"])]
    spread = spread if paid.empty else paid
    channel = (spread["max"] - spread["min"]).idxmax()
    said = locale.text(
        "headline.attribution" if paid.empty else "headline.attribution_paid",
        language,
        channel=locale.word(channel, language),
        low=locale.number(spread.loc[channel, "min"], language),
        high=locale.number(spread.loc[channel, "max"], language),
        total=locale.number(total.iloc[0], language),
    )
    said += _moved(moves, language) + _tested(tests, language)
    score = score[score["distance"].notna()]
    if len(score):
        best, worst = score.iloc[0], score.iloc[-1]
        said += locale.text(
            "headline.attribution_truth",
            language,
            best=_quoted(best["model"], language),
            worst=_quoted(worst["model"], language),
            misplaced=locale.money(worst["misplaced"], worst["currency"], language, 0),
        )
    return Sentence(said)


def _moved(moves, language):
    """How much budget would move, and how much of it is no chance; nothing where nothing is known of cost."""
    if moves is None or moves.empty or not moves["change"].abs().sum() > 0:
        return ""
    sure = moves[(moves["change_low"] > 0) | (moves["change_high"] < 0)]["change"].abs().sum() / 2
    amounts = {"moved": moves["change"].abs().sum() / 2, "cost": moves["cost"].sum(), "sure": sure}
    currency = moves["currency"].iloc[0]
    money = {name: locale.money(amount, currency, language, 0) for name, amount in amounts.items()}
    names = {name: _quoted(moves[name].iloc[0], language) for name in ("model", "against")}
    return locale.text("headline.attribution_moves", language, **names, **money)


def _tested(tests, language):
    if tests is None or tests.empty or not tests["at_stake"].iloc[0] > 0:
        return ""
    first = tests.iloc[0]
    stake = locale.money(first["at_stake"], first["currency"], language, 0)
    long = "" if first["test_days"] <= _YEAR else "_long"
    days = locale.number(first["test_days"], language) if not long else ""
    key = f"headline.attribution_test{long}"
    return locale.text(key, language, channel=locale.word(first["channel"], language), stake=stake, days=days)


def _quoted(name, language):
    return locale.text("headline.quoted", language, word=locale.word(name, language))
