"""What to look at first: the dearest findings of a report in one list."""

import pandas as pd

from perfnb.kpi.catalogue import CATALOGUE
from perfnb.kpi.tree import keys

_SIGN = {"higher": -1, "lower": 1}
_VOLUME = ("volume", "mix")


def priorities(factors, *, alerts=None, by=("channel", "campaign"), top=3):
    """What cost the root most, dearest first: segments from `kpi.factors`, and alarms of `kpi.alerts` where given.

    A segment's finding is what it brings less (or costs more) than in the period
    before, and the factor that did most of it: its own volume, or one of its
    rates. One whose change is within the usual variation comes after all that
    are not. An alarm is one day's loss against what was expected of it, of each segment and
    day the dearest. A root
    without a direction has no findings.

    Returns one row per finding: rank, finding ("segment" or "alarm"), (by; null
    where it is of the whole), date (of an alarm), root, before, after (of the root
    in the segment; of an alarm, of the KPI: expected and observed), worse_by (unit of the root: what it cost,
    positive), low, high (95 %; null for alarms), within_noise, kpi (the factor
    that did most, or the KPI that raised the alarm), kpi_worse_by (what that
    factor cost), currency.
    """
    by = keys(by)
    columns = ["rank", "finding", *by, "date", "root", "before", "after", "worse_by", "low", "high", "within_noise"]
    columns += ["kpi", "kpi_worse_by", "currency"]
    root = factors["root"].iloc[0]
    sign = _SIGN.get(CATALOGUE[root].direction) if root in CATALOGUE else None
    if sign is None:
        return pd.DataFrame(columns=columns)
    found = _segments(factors, by, sign)
    if alerts is not None:
        found = pd.concat([found, _alarms(alerts, by, root, sign)], ignore_index=True)
    found = found[found["worse_by"] > 0].reindex(columns=columns[1:])
    # An interval that holds 0 is no finding yet: it is listed last, and says so.
    unsure = found["within_noise"].fillna(True).astype(bool)
    found = found.assign(unsure=unsure).sort_values(["unsure", "worse_by"], ascending=[True, False], kind="stable")
    found = found.drop(columns="unsure").head(top).reset_index(drop=True)
    found.insert(0, "rank", range(1, len(found) + 1))
    return found


def _segments(factors, by, sign):
    # Shop-wide volume and a segment's share of it are, together, the segment's own volume.
    parts = factors.assign(kpi=factors["factor"].where(~factors["factor"].isin(_VOLUME), "volume"))
    parts = parts.assign(kpi_worse_by=sign * parts["contribution"])
    most = parts.groupby([*by, "kpi"], dropna=False, sort=False)["kpi_worse_by"].sum().reset_index()
    most = most.sort_values("kpi_worse_by", ascending=False, kind="stable").drop_duplicates(by)
    found = factors.drop_duplicates(by).drop(columns=["low", "high", "within_noise"])
    found = found.assign(finding="segment", worse_by=sign * found["change"])
    ends = ["change_low", "change_high"] if sign > 0 else ["change_high", "change_low"]
    found["low"], found["high"] = sign * found[ends[0]], sign * found[ends[1]]
    found["within_noise"] = (found["low"] <= 0).astype("boolean").where(found["low"].notna())
    return found.merge(most, on=by, how="left")


def _alarms(alerts, by, root, sign):
    raised = alerts[alerts["status"].isin(["high", "low"]) & alerts["impact"].notna() & alerts["root"].eq(root)]
    cost = sign * raised["impact"]
    raised = raised.drop(columns=["low", "high"]).assign(
        finding="alarm", before=raised["expected"], after=raised["value"], worse_by=cost, kpi_worse_by=cost
    )
    # One event rings in visits, clicks and orders of the segment alike: its money counts once.
    dearest = raised.sort_values("worse_by", ascending=False, kind="stable")
    return dearest.assign(within_noise=False).drop_duplicates(["date", *(name for name in by if name in dearest)])
