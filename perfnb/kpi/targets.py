"""Targets: what is to be reached, until when, by whom; and the reading of them."""

import math
from dataclasses import dataclass, fields
from datetime import date, datetime

from perfnb.errors import BadParameter, MissingColumns
from perfnb.kpi.catalogue import kpi as known_kpi
from perfnb.period import Period

_DIRECTIONS = ("higher", "lower", "band", "context")


@dataclass(frozen=True)
class Target:
    """One SMART target: what KPI, which value, from when, until when, whose.

    `target` is a number, or (low, high) for a KPI that should stay in a band.
    `since` and `due` are its first and last day, as dates or "2025-08-31".
    `direction` (higher, lower, band, context) is the catalogue's where none is
    given. `baseline` is where the KPI stood when the target was set. `channel` and
    `campaign` narrow it to a part, `objective` is what it is a key result of.
    """

    kpi: str
    target: float | tuple
    since: date
    due: date
    direction: str | None = None
    owner: str | None = None
    baseline: float | None = None
    channel: str | None = None
    campaign: str | None = None
    objective: str | None = None

    def __post_init__(self):
        one = known_kpi(self.kpi)
        made = {"kpi": one.id}
        for name in ("since", "due"):
            made[name] = as_day(getattr(self, name), f"target for {one.id}: {name}")
        where = f"target for {one.id} ({made['since']} to {made['due']})"
        if made["due"] < made["since"]:
            raise BadParameter(f"{where}: due before it begins. Swap the days, or mend one")
        if one.aggregation == "distinct":
            raise BadParameter(
                f"{where}: {one.id} counts distinct persons, and those of several days are not their sum: daily "
                "figures cannot measure it. Set the target for a KPI that adds up, as visits or impressions"
            )
        banded = isinstance(self.target, tuple | list)
        made["target"] = _limits(self.target, where) if banded else _number(self.target, f"{where}: the value")
        if self.baseline is not None:
            made["baseline"] = _number(self.baseline, f"{where}: baseline")
        made["direction"] = self.direction or ("band" if banded else one.direction)
        if made["direction"] not in _DIRECTIONS:
            raise BadParameter(f"{where}: direction {self.direction!r}; expected {', '.join(_DIRECTIONS)}")
        if banded != (made["direction"] == "band"):
            found = f"({made['target'][0]:g}, {made['target'][1]:g})" if banded else f"{made['target']:g}"
            raise BadParameter(
                f"{where}: direction {made['direction']} with the value {found}; a band needs two values, (low, high), "
                "and every other direction one. Give low and high, or another direction"
            )
        for name in ("owner", "channel", "campaign", "objective"):
            made[name] = getattr(self, name) or None
        for name, value in made.items():
            object.__setattr__(self, name, value)


def targets(table):
    """The workspace's table `targets` as a tuple of Targets, in its order; an absent table has none.

    A row says kpi, target (or low and high), and period ("2025-08") or since and
    due; and where it has them direction, owner, baseline, channel, campaign and
    objective. A row that is no SMART target is refused, naming it.
    """
    table.require("kpi")
    for pair in (("target", "low"), ("period", "due")):
        if not any(table.has(name) for name in pair):
            raise MissingColumns(
                f"{table.name} ({table.origin}): missing column {pair[0]} (or {pair[1]}); found "
                f"{', '.join(table.columns)}. A target needs a value and a period"
            )
    rows = table.rows().astype(object)
    return tuple(_read(row, table) for row in rows.where(rows.notna(), None).to_dict("records"))


def as_day(value, what):
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            value = value or None
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    found = "none" if value is None else repr(value)
    raise BadParameter(f"{what} is {found}; expected a day, as '2025-08-31'")


def _number(value, what):
    if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(value):
        found = "none" if value is None or value != value else repr(value)
        raise BadParameter(f"{what} is {found}; expected a number")
    return float(value)


def _limits(pair, where):
    if len(pair) != 2:
        raise BadParameter(f"{where}: {len(pair)} values; expected one, or (low, high)")
    low, high = (_number(value, f"{where}: {end}") for value, end in zip(pair, ("low", "high"), strict=True))
    if high < low:
        raise BadParameter(f"{where}: low {low:g} is above high {high:g}. Swap them")
    return low, high


def _read(row, table):
    """A Target from one row of the table."""
    where = f"{table.name} ({table.origin}), {row['kpi'] or 'a row without a KPI'} {row.get('period') or ''}".rstrip()
    made = {one.name: row.get(one.name) for one in fields(Target)}
    bounds = (row.get("low"), row.get("high"))
    try:
        if row.get("period") and not (made["since"] or made["due"]):
            period = Period.parse(row["period"])
            made |= {"since": period.since, "due": period.last_day}
        elif row.get("period"):
            raise BadParameter(f"period {row['period']} and since or due: give the one or the other")
        if bounds != (None, None):
            if made["target"] is not None:
                raise BadParameter(f"target {made['target']} and low or high: give the one or the other")
            made["target"] = bounds
        return Target(**made)
    except BadParameter as error:
        raise BadParameter(f"{where}: {error}") from None


def checked(targets):
    targets = (targets,) if isinstance(targets, Target) else tuple(targets)
    wrong = next((one for one in targets if not isinstance(one, Target)), None)
    if wrong is not None:
        raise BadParameter(
            f"targets: found {wrong!r}; expected kpi.Targets, as kpi.targets(workspace.targets) reads them"
        )
    return targets
