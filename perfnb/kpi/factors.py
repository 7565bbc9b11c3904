"""Every factor in every segment: the tree laid flat, for the heat map of who moved what by which."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from perfnb.kpi import noise
from perfnb.kpi.catalogue import CATALOGUE, kpi
from perfnb.kpi.explain import UNALLOCATED, chain, columns, effects, grow
from perfnb.kpi.tree import DEFAULT, as_tree, keys, present
from perfnb.kpi.weights import weights


def factors(base, *, tree=DEFAULT, by=("channel", "campaign"), draws=noise.DRAWS, seed=0):
    """What every factor did in every segment: who moved the root, by which.

    A tree whose root is a product from one sum on (as visits × conversion rate ×
    order value) is laid flat: each segment is volume × its share of it × its own
    rates, a new or lost one is mix (view "flat"; log-mean, or Shapley for all
    where a value is negative). Of another tree (profit, return on spend) the
    factors are the leaves, with rate and mix of `kpi.explain` in one (view
    "tree"). The two views differ factor by factor; both add up to the change of
    the root.

    Returns one row per segment and factor: (by; null for what has no segment),
    factor (volume, mix, or the id of a KPI; "undefined" or "unallocated" for what
    the product does not make), before, after (of the root in the segment; null
    in the view "tree"), change (what the segment moved the root by), change_low,
    change_high (95 %), contribution (unit of the root), low, high (95 %),
    within_noise, unit (of the root), root, view, method, currency; segments that
    moved most first. Contributions of a segment add up to its change.
    """
    tree = as_tree(tree).measurable(base)
    action = base["action"].iloc[0] if "action" in base else "orders"
    by = keys(by)
    drawn = noise.sums(base, by=by, names=columns(tree) & present(base), draws=draws, seed=seed)
    line = _chain(tree, drawn.parts, action)
    made = _flat(line, drawn) if line else _leaves(base, tree, by, draws, seed)
    rows = []
    for segments, sizes, before, after in made["parts"]:
        change = sum(sizes.values())
        ends = dict(zip(("change_low", "change_high"), noise.limits(change, drawn.weeks), strict=True))
        for place, (name, size) in enumerate(sizes.items()):
            low, high = noise.limits(size, drawn.weeks)
            part = segments.assign(factor=name, before=before, after=after, change=change[0], **ends)
            rows.append(part.assign(contribution=size[0], low=low, high=high, place=place))
    found = pd.concat(rows, ignore_index=True).assign(moved=lambda table: table["change"].abs())
    found = found.sort_values(["moved", *by, "place"], ascending=[False, *([True] * len(by)), True], ignore_index=True)
    found["within_noise"] = noise.within(found["low"], found["high"])
    unit = CATALOGUE[tree.root].unit if tree.root in CATALOGUE else "x"
    found = found.assign(unit=unit, root=tree.root, view=made["view"], method=made["method"])
    found = found.assign(currency=base["currency"].iloc[0])
    order = ["factor", "before", "after", "change", "change_low", "change_high", "contribution", "low", "high"]
    return found[[*by, *order, "within_noise", "unit", "root", "view", "method", "currency"]]


def _flat(line, drawn):
    measures = [np.nan_to_num(kpi(name).top(drawn.parts)) for name in line]
    first = measures[0].sum(axis=2, keepdims=True)
    with np.errstate(all="ignore"):
        sides = [np.where(first != 0, measures[0] / first, np.nan)]
        sides += [np.where(low != 0, high / low, np.nan) for low, high in pairwise(measures)]
    # A rate without a base takes its value of the other period: the segment is new or lost, and that is mix.
    sides = [np.nan_to_num(np.where(np.isnan(side), side[::-1], side)) for side in sides]
    values = [np.broadcast_to(first, measures[0].shape), *sides]
    root, made = measures[-1], np.prod(values, axis=0)
    method = "shapley" if min(value[:, 0].min() for value in values) < 0 else "logmean"
    own = weights("*", made, values, method)
    names = ["volume", "mix", *line[1:]]
    sizes = {name: part * (value[1] - value[0]) for name, part, value in zip(names, own, values, strict=True)}
    # Orders without visits, revenue without orders: what the product does not make.
    left = (root[1] - root[0]) - (made[1] - made[0])
    if np.abs(left[0]).max() > 1e-9 * max(np.abs(root[:, 0]).max(), 1e-300):
        sizes["undefined"] = left
    return {"parts": [(drawn.segments, sizes, root[0, 0], root[1, 0])], "view": "flat", "method": method}


def _leaves(base, tree, by, draws, seed):
    grown = grow(base, tree, "auto", draws, seed, by)
    sizes, whole = {}, 0.0
    for effect in effects(replace(grown, parts=grown.drawn.parts)):
        if effect.shown is None:
            whole = whole + effect.size
        else:
            sizes[effect.kpi] = sizes.get(effect.kpi, 0.0) + effect.size
    parts = [(grown.segments, sizes, np.nan, np.nan)]
    if np.ndim(whole):
        nowhere = pd.DataFrame([dict.fromkeys(by)])
        parts.append((nowhere, {UNALLOCATED: whole}, np.nan, np.nan))
    return {"parts": parts, "view": "tree", "method": grown.method}


def _chain(tree, sums, action):
    """The tree's product laid flat, m0 × r1 × r2 …; empty for another tree."""

    def flat(name):
        if tree.operator(name) != "*":
            return [name]
        return [part for child in tree.children(name) for part in flat(child)]

    found = chain(flat(tree.root), sums, action)
    whole = len(found) > 1 and tree.root in CATALOGUE and kpi(found[-1]).terms[0] == kpi(tree.root).terms[0]
    return found if whole else []
