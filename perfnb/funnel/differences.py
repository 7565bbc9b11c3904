"""Why two definitions of a funnel count differently, in units."""

import re
from dataclasses import replace

import pandas as pd

from perfnb.errors import BadParameter
from perfnb.funnel.programme import keyed
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import opening, statement

__all__ = ["differences"]

# In the order in which one is turned into the other: which events there are, how they may stand, which count.
_SWITCHES = ("resolution", "period", "follow_up", "open", "order", "ties", "sequence", "grace", "within", "step_within",
             "exclude", "optional", "entry")  # fmt: skip


def differences(touchpoints, steps, *, one, other, **common):
    """Why one definition of a funnel counts more or fewer units than another.

    `one` and `other` are switches of `funnel.steps` (with "semantics" for a preset),
    `common` those that both have. The first is turned into the second switch by switch, in
    a fixed order (a change that is not possible by itself is made together with the next);
    a unit that reaches a step under one and not under the other is put down to the switch
    after which it stays so. What several switches do only together is put down to the last
    of them.

    Returns one row per step and cause: step, name, cause (the switches), from_value and
    to_value, one_units and other_units (units at the step under each), only_one and
    only_other (units that reach it under one alone), units_difference (only_other less
    only_one; over the causes of a step it adds up to other_units less one_units),
    one_definition, other_definition. A step that no cause changes has one row, with an
    empty cause. Attempts (entry "each", "sequential") count here as their units.
    """
    first, last = (_rule(steps, said, common) for said in (one, other))
    if first.keys != last.keys:
        raise BadParameter(f"unit: {first.keys} and {last.keys} cannot be compared unit by unit. Say one for both")
    stages = _stages(first, last)
    rules = [rule for rule, _ in stages]
    stop = len(rules) - 1
    counted = []
    for k in range(1, first.count + 1):
        counted += [f"SUM(r_{n}_{k}) AS units_{n}_{k}" for n in (0, stop)]
        for n in range(1, stop + 1):
            # From stage n on it stays what it is at the end, and before it was not.
            stays = " AND ".join(
                [f"r_{n - 1}_{k} <> r_{stop}_{k}", *(f"r_{m}_{k} = r_{stop}_{k}" for m in range(n, stop))]
            )
            for name, value in (("one", 0), ("other", 1)):
                test = f"r_0_{k} = {1 - value} AND r_{stop}_{k} = {value} AND {stays}"
                counted.append(f"SUM(CASE WHEN {test} THEN 1 ELSE 0 END) AS {name}_{n}_{k}")
    found = touchpoints.fetch(_statement(touchpoints, rules) + f"\nSELECT {', '.join(counted)} FROM compared")
    found = found.fillna(0).astype("int64").iloc[0]
    rows = []
    for k in range(1, first.count + 1):
        known = {"step": k, "name": first.steps[k - 1].name}
        totals = {"one_units": found[f"units_0_{k}"], "other_units": found[f"units_{stop}_{k}"]}
        causes = [
            {**known, **cause, **totals, "only_one": found[f"one_{n}_{k}"], "only_other": found[f"other_{n}_{k}"]}
            for n, (_, cause) in enumerate(stages)
            if n and (found[f"one_{n}_{k}"] or found[f"other_{n}_{k}"])
        ]
        unchanged = {"cause": "", "from_value": "", "to_value": "", **totals, "only_one": 0, "only_other": 0}
        rows += causes or [known | unchanged]
    table = pd.DataFrame(rows)
    table["units_difference"] = table["only_other"] - table["only_one"]
    return table.assign(one_definition=first.definition, other_definition=last.definition)


def _rule(steps, said, common):
    twice = set(said) & set(common)
    if twice:
        raise BadParameter(f"{', '.join(sorted(twice))}: said for both and for one. Say it once")
    return rule_of(steps, **(common | said))


def _stages(first, last):
    """[(rule, what changed)], from the first to the last definition."""
    changes = [name for name in _SWITCHES if getattr(first, name) != getattr(last, name)]
    stages, rule, pending = [(first, {})], first, []
    for name in changes:
        pending.append(name)
        try:
            following = replace(rule, **{change: getattr(last, change) for change in pending})
        except BadParameter:
            continue
        stages.append((following, _cause(rule, last, pending)))
        rule, pending = following, []
    if pending:
        stages.append((last, _cause(rule, last, pending)))
    return stages


def _cause(rule, last, names):
    return {
        "cause": " + ".join(names),
        "from_value": " + ".join(_said(rule, name) for name in names),
        "to_value": " + ".join(_said(last, name) for name in names),
    }


def _said(rule, name):
    value = getattr(rule, name)
    if name == "exclude":
        return ", ".join(f"{one.step.name} {one.after}-{one.before} {one.effect}" for one in value) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _statement(touchpoints, rules):
    """CTEs up to `compared`: r_n_k, whether the unit reaches step k in stage n."""
    ctes, parts = [], []
    for n, rule in enumerate(rules):
        body = opening(rule) + ",\n".join(_renamed(statement(touchpoints, rule), n))
        shown = ", ".join(f"MAX(reached_{k}) AS reached_{k}" for k in range(1, rule.count + 1))
        ctes.append(
            f"stage_{n} AS ({body}\nSELECT {keyed(rule)}, {n} AS stage, {shown} FROM units_{n} GROUP BY {keyed(rule)})"
        )
        parts.append(f"SELECT * FROM stage_{n}")
    flags = ", ".join(
        f"MAX(CASE WHEN stage = {n} THEN reached_{k} ELSE 0 END) AS r_{n}_{k}"
        for n in range(len(rules))
        for k in range(1, rules[0].count + 1)
    )
    return (
        "WITH " + ",\n".join([*ctes, f"stages AS ({' UNION ALL '.join(parts)})"])
        + f",\ncompared AS (SELECT {keyed(rules[0])}, {flags} FROM stages GROUP BY {keyed(rules[0])})"
    )  # fmt: skip


def _renamed(ctes, n):
    """The CTEs with names of their own: translation to other dialects lifts all of a statement to one level."""
    names = [re.match(r"\w+", cte)[0] for cte in ctes]
    word = re.compile(rf"""'[^']*'|"[^"]*"|\b({"|".join(names)})\b""")
    return [word.sub(lambda match: f"{match[1]}_{n}" if match[1] else match[0], cte) for cte in ctes]
