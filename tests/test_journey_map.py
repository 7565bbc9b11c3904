"""The map, the emotion curve and the cycle: counted by hand on random logs, held against `stages` and `contacts`."""

import itertools
import math
import random

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, book, moments, only, shuffled

from perfnb import workspace
from perfnb.errors import BadParameter, MissingColumns
from perfnb.journey.satisfaction import satisfaction
from perfnb.journey.stages import STAGES, contacts, stages
from perfnb.journey.touchmap import CYCLE, _shapley_of_r2, compare_cycle, emotion, map, peak_end

KINDS = {"visit": "reach", "view": "interaction", "checkout": "transaction", "order": "transaction"}
COLUMNS = ("user_id", "timestamp", "event", "channel")
ASKED = ("user_id", "timestamp", "touchpoint", "score", "scale")


def random_log(persons, seed, span=12):
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 7)):
            user = None if dice.random() < 0.03 else f"p{person}"
            at = None if dice.random() < 0.02 else dice.randrange(span)
            event = dice.choice(["visit", "visit", "view", "checkout", "order", "newsletter"])
            rows.append((user, at, event, dice.choice(["A", "B", None])))
    return rows + rows[:5]


def shop(rows, answers=(), costs=None, engine="duckdb"):
    """A workspace of events, answers and costs."""
    touchpoints = pd.DataFrame(list(rows), columns=list(COLUMNS))
    asked = pd.DataFrame(list(answers), columns=list(ASKED))
    for frame in (touchpoints, asked):
        frame["timestamp"] = moments(frame["timestamp"])
    asked["score"] = asked["score"].astype(float)
    for name in ("user_id", "touchpoint", "scale"):
        asked[name] = asked[name].astype("string")
    frames = {"touchpoints": touchpoints} | ({"surveys": asked} if len(asked) else {})
    if costs is not None:
        frames["campaigns"] = pd.DataFrame(
            {"date": "2025-01-01", "channel": list(costs), "cost": list(costs.values()), "currency": "EUR"}
        )
    return book(engine, optional=["surveys"], **frames)


LOG = random_log(300, seed=3)


def by_hand(rows):
    """Independent: {(stage, channel): [persons, contacts, progressed, waits, loops, loop persons]}."""
    persons, found = {}, {}
    for user, at, event, channel in rows:
        if user is not None:
            place = STAGES.index(KINDS[event]) + 1 if event in KINDS else 0
            persons.setdefault(user, []).append((math.inf if at is None else at, place, event == "order", channel))
    for happened in persons.values():
        happened = sorted((at, place, hit, channel or "(unknown)") for at, place, hit, channel in happened)
        for cell in {(place, channel) for _, place, _, channel in happened}:
            row = found.setdefault(cell, [0, 0, 0, [], 0, 0])
            mine = [k for k, event in enumerate(happened) if (event[1], event[3]) == cell]
            begins = happened[mine[0]][0]
            later = [
                at
                for at, place, hit, _ in happened
                if begins <= at < math.inf and cell[0] and (hit if cell[0] == 3 else place > cell[0])
            ]
            back = [
                k for k in mine[1:] if happened[k][0] < math.inf and (happened[k - 1][1], happened[k - 1][3]) != cell
            ]
            row[0] += 1
            row[1] += len(mine)
            row[2] += bool(later)
            row[3] += [min(later) - begins] if later else []
            row[4] += len(back)
            row[5] += bool(back)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_the_map_equals_a_count_by_hand(engine):
    found = map(shop(LOG, engine=engine).touchpoints, stages=KINDS)
    expected = by_hand(LOG)
    assert len(found) == len(expected)
    persons = len({user for user, *_ in LOG if user})
    for row in found.itertuples():
        place = (*STAGES, "(no stage)").index(row.stage)
        units, events, progressed, waits, loops, loop_persons = expected[(place + 1) % 4, row.touchpoint]
        assert (row.units, row.contacts, row.loops, row.loop_persons) == (units, events, loops, loop_persons)
        assert math.isclose(row.share, units / persons)
        if row.stage == "(no stage)":
            assert pd.isna(row.progressed) and pd.isna(row.rate)
            continue
        assert (row.progressed, row.dropped) == (progressed, units - progressed)
        if units >= 30:
            assert math.isclose(row.rate, progressed / units) and row.low <= row.rate <= row.high
            assert math.isclose(row.drop_off, 1 - row.rate) and math.isclose(row.drop_low, 1 - row.high)
        if progressed >= 30:
            assert math.isclose(row.median_hours * 3600, sorted(waits)[(progressed - 1) // 2], abs_tol=1e-6)


def test_the_map_counts_persons_and_events_as_contacts_and_stages_do():
    table = shop(LOG).touchpoints
    found = map(table, stages=KINDS)
    other = contacts(table, stages=KINDS)
    keys = ["stage", "touchpoint"]
    both = found.merge(other, on=keys, how="outer")
    assert len(both) == len(found) == len(other)
    for name in ("units", "contacts", "share"):
        assert np.allclose(both[f"{name}_x"], both[f"{name}_y"])
    sums = found.groupby("stage")["contacts"].sum()
    assert sums.to_dict() == stages(table, stages=KINDS).set_index("stage")["events"].to_dict()


def test_the_order_of_rows_changes_nothing():
    answers = [(f"p{k}", k % 9, "visit" if k % 2 else "view", 1 + k % 5, "satisfaction") for k in range(120)]
    one, other = shop(LOG, answers), shop(shuffled(LOG), shuffled(answers))
    for count in (
        lambda at: map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event", draws=20),
        lambda at: emotion(at.touchpoints, surveys=at.surveys, stages=KINDS),
        lambda at: peak_end(at.touchpoints, surveys=at.surveys, stages=KINDS),
    ):
        pd.testing.assert_frame_equal(count(one), count(other))


def test_a_later_stage_at_the_same_instant_is_progress_and_an_earlier_one_is_not():
    rows = [("u", 5, "visit", "A"), ("u", 5, "view", "B"), ("v", 1, "view", "A"), ("v", 5, "visit", "A")]
    found = map(shop(rows).touchpoints, stages=KINDS)
    assert only(found, stage="reach", touchpoint="A")[["units", "progressed"]].tolist() == [2, 1]


def test_rates_of_fewer_than_30_persons_are_withheld_but_counted():
    rows = [(f"p{k}", 0, "visit", "A" if k < 29 else "B") for k in range(59)]
    found = map(shop(rows).touchpoints, stages=KINDS)
    few, enough = only(found, touchpoint="A"), only(found, touchpoint="B")
    assert few["small_units"] and few[["units", "dropped"]].tolist() == [29, 29]
    assert few[["rate", "low", "high", "drop_off", "drop_low", "drop_high"]].isna().all()
    assert not enough["small_units"] and enough["drop_off"] == 1


def test_costs_stand_once_and_what_nobody_met_is_named():
    rows = [("u", 0, "visit", "A"), ("u", 1, "view", "A"), ("v", 0, "view", "B")]
    at = shop(rows, costs={"A": 10.5, "B": 3.0, "Radio": 7.0})
    found = map(at.touchpoints, campaigns=at.campaigns, stages=KINDS)
    assert found["cost"].sum() == 20.5 and set(found["currency"]) == {"EUR"}
    assert only(found, stage="reach", touchpoint="A")["cost"] == 10.5
    assert only(found, stage="interaction", touchpoint="B")["cost"] == 3
    assert only(found, touchpoint="Radio")[["stage", "units", "cost"]].tolist() == ["reach", 0, 7]
    assert only(found, stage="reach", touchpoint="A")["cost_per_progressed"] == 10.5
    with pytest.raises(MissingColumns, match="event"):
        map(at.touchpoints, campaigns=at.campaigns, stages=KINDS, touchpoint="event")


# What persons feel


def world(n=600, seed=0):
    """Persons rate three touchpoints; only the score of the checkout decides whether they order later."""
    rng = np.random.default_rng(seed)
    rows, answers = [], []
    for k in range(n):
        scores = {"visit": rng.integers(3, 6), "view": rng.integers(3, 6), "checkout": rng.integers(1, 6)}
        for at, (event, score) in enumerate(scores.items()):
            rows.append((f"p{k}", at, event, "A"))
            answers.append((f"p{k}", at, event, int(score), "satisfaction"))
        answers.append((f"p{k}", 50, "visit", int(2 * scores["checkout"]), "nps"))
        if rng.random() < 0.1 + 0.15 * scores["checkout"]:
            rows.append((f"p{k}", 100, "order", "A"))
    return rows, answers


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("outcome", ["conversion", "nps"])
def test_the_touchpoint_that_decides_is_the_one_to_look_at_first(engine, outcome):
    at = shop(*world(), engine=engine)
    found = map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event", outcome=outcome)
    asked = found[found["n"] > 0]
    assert math.isclose(asked["importance"].sum(), 1) and (asked["explained_p"] < 1e-6).all()
    row = only(found, touchpoint="checkout")
    assert row["importance"] > 0.9 and row["rank"] == 1 and row["priority_low"] < row["priority"] < row["priority_high"]
    assert (asked.loc[asked["touchpoint"] != "checkout", "rank"] > 1).all()
    felt = satisfaction(at.surveys).set_index("touchpoint")
    for one in asked.itertuples():
        assert (one.answers, one.n) == (felt.loc[one.touchpoint, "answers"], felt.loc[one.touchpoint, "n"])
        assert math.isclose(one.mean, felt.loc[one.touchpoint, "mean"])
        assert math.isclose(one.mean_low, felt.loc[one.touchpoint, "low"])
        assert math.isclose(one.priority, one.share * (5 - one.mean) / 4 * one.importance)
        assert one.response_rate == one.n / one.units


def test_scores_that_explain_nothing_get_no_rank():
    rng = np.random.default_rng(1)
    rows, answers = [], []
    for k in range(300):
        for event in ("visit", "view"):
            rows.append((f"p{k}", 0, event, "A"))
            answers.append((f"p{k}", 0, event, int(rng.integers(1, 6)), "satisfaction"))
        if rng.random() < 0.5:
            rows.append((f"p{k}", 9, "order", "A"))
    at = shop(rows, answers)
    found = map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event")
    assert found["rank"].isna().all() and found["importance"].notna().any()


def test_who_was_asked_explains_nothing():
    """All who were asked about the view order and nobody else does; what they said is chance."""
    rows, answers = [], []
    for k in range(200):
        rows += [(f"p{k}", 0, "visit", "A"), (f"p{k}", 1, "view", "A")]
        answers.append((f"p{k}", 0, "visit", 1 + k * 7 % 5, "satisfaction"))
        if k % 2:
            answers.append((f"p{k}", 1, "view", 1 + k // 2 % 5, "satisfaction"))
            rows.append((f"p{k}", 9, "order", "A"))
    at = shop(rows, answers)
    found = map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event", draws=10)
    assert only(found, touchpoint="view")["explained"] < 0.01 and found["rank"].isna().all()


def test_few_answers_are_withheld_and_answers_about_what_no_event_has_are_named():
    rows, answers = world(29)
    at = shop(rows, [*answers, ("p1", 3, "parcel", 2, "satisfaction"), ("p1", 4, None, 2, "satisfaction")])
    found = map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event")
    assert found["small_n"].all() and found["answers"].sum() == 29 * 3 + 2
    figures = ["mean", "mean_low", "mean_high", "importance", "priority", "rank"]
    assert found[figures].isna().all(axis=None)
    parcel = only(found, touchpoint="parcel")
    assert parcel[["stage", "units", "answers"]].tolist() == ["(no stage)", 0, 1] and pd.isna(parcel["response_rate"])


def test_without_answers_the_map_stands_without_them_and_the_curve_is_empty():
    at = shop(LOG)
    found = map(at.touchpoints, surveys=at.surveys, stages=KINDS)
    assert (found["answers"] == 0).all() and found["priority"].isna().all()
    assert emotion(at.touchpoints, surveys=at.surveys, stages=KINDS).empty
    end = peak_end(at.touchpoints, surveys=at.surveys, stages=KINDS).iloc[0]
    assert end["peak_touchpoint"] is None and end["journeys"] == 0 and end["of_journeys"] > 0


def test_shapley_values_of_r2_equal_the_mean_over_all_orders():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(80, 4)) @ rng.normal(size=(4, 4))
    y = scores @ [0.5, 0.0, 1.0, -0.3] + rng.normal(size=80)
    scores, y = scores - scores.mean(axis=0), y - y.mean()

    def r2(subset):
        if not subset:
            return 0.0
        part = scores[:, list(subset)]
        return 1 - ((y - part @ np.linalg.lstsq(part, y, rcond=None)[0]) ** 2).sum() / (y @ y)

    expected = np.zeros(4)
    for order in itertools.permutations(range(4)):
        for place, one in enumerate(order):
            expected[one] += (r2(order[: place + 1]) - r2(order[:place])) / 24
    values, whole = _shapley_of_r2((scores.T @ scores)[None], (scores.T @ y)[None], np.array([y @ y]))
    assert np.allclose(values[0], expected, atol=1e-7) and math.isclose(whole[0], r2(range(4)), rel_tol=1e-6)


def test_touchpoints_that_say_the_same_share_their_importance():
    rows, answers = [], []
    for k in range(60):
        for event in ("visit", "view"):
            rows.append((f"p{k}", 0, event, "A"))
            answers.append((f"p{k}", 0, event, 1 + k % 5, "satisfaction"))
        if k % 5 > 2:
            rows.append((f"p{k}", 9, "order", "A"))
    at = shop(rows, answers)
    found = map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event", draws=10)
    asked = found[found["n"] > 0]
    assert np.allclose(asked["importance"], 0.5, atol=1e-4) and set(asked["rank"]) == {1}


def test_an_unknown_scale_or_outcome_is_refused():
    at = shop(LOG)
    with pytest.raises(BadParameter, match="satisfaction or nps"):
        map(at.touchpoints, scale="stars")
    with pytest.raises(BadParameter, match="conversion or nps"):
        map(at.touchpoints, outcome="luck")


# The emotion curve


@pytest.mark.parametrize("engine", ENGINES)
def test_the_curve_falls_where_it_does_and_pairs_those_who_answered_twice(engine):
    at = shop(*world(), engine=engine)
    found = emotion(at.touchpoints, surveys=at.surveys, stages=KINDS)
    assert found["touchpoint"].tolist() == ["visit", "view", "checkout"]
    assert found["move"].tolist() == [None, "within_noise", "falls"] and found["peak"].tolist() == [False, False, True]
    wide = pd.DataFrame(
        [(user, about, score) for user, _, about, score, scale in world()[1] if scale == "satisfaction"]
    ).pivot(index=0, columns=1, values=2)
    gap = wide["checkout"] - wide["view"]
    row = only(found, touchpoint="checkout")
    assert math.isclose(row["change"], gap.mean())
    half = 1.963939 * gap.std() / math.sqrt(len(gap))  # Student's t for 599 degrees of freedom
    assert math.isclose(row["change_high"] - row["change"], half, rel_tol=1e-4)


def test_a_touchpoint_with_few_answers_is_skipped_over():
    rows, answers = world(200)
    keep = [row for row in answers if row[2] != "view" or row[0] in {f"p{k}" for k in range(9)}]
    found = emotion(shop(rows, keep).touchpoints, surveys=shop(rows, keep).surveys, stages=KINDS)
    middle = only(found, touchpoint="view")
    assert middle["small_n"] and middle[["mean", "change", "p"]].isna().all() and middle["n"] == 9
    last = only(found, touchpoint="checkout")
    means = found.set_index("touchpoint")["mean"]
    assert math.isclose(last["change"], means["checkout"] - means["visit"])


@pytest.mark.parametrize("engine", ENGINES)
def test_peak_and_end_by_hand(engine):
    """60 journeys end at the checkout (mean 2), 40 at the visit (mean 4); the peak is the checkout."""
    rows, answers = [], []
    for k in range(100):
        rows.append((f"p{k}", 0, "visit", "A"))
        answers.append((f"p{k}", 0, "visit", 3 + 2 * (k % 2), "satisfaction"))
        if k < 60:
            rows.append((f"p{k}", 1, "checkout", "A"))
            answers.append((f"p{k}", 1, "checkout", 1 + 2 * (k % 2), "satisfaction"))
    at = shop(rows, answers, engine=engine)
    found = peak_end(at.touchpoints, surveys=at.surveys, stages=KINDS).iloc[0]
    assert found["peak_touchpoint"] in ("visit", "checkout")
    assert math.isclose(found["end_mean"], (60 * 2 + 40 * 4) / 100) and found["journeys"] == found["of_journeys"] == 100
    assert math.isclose(found["peak_end"], (found["peak_mean"] + found["end_mean"]) / 2)
    assert math.isclose(found["difference"], found["peak_end"] - 3)


# The cycle


def test_the_cycle_shows_gaps_on_both_sides():
    at = shop(*world())
    whole = map(at.touchpoints, surveys=at.surveys, stages=KINDS, touchpoint="event", draws=10)
    plan = [
        {"phase": "awareness", "touchpoint": "visit", "target": 3.5},
        {"phase": "purchase", "touchpoint": "checkout", "target": 4.5, "target_rate": 0.1},
        {"phase": "service", "touchpoint": "hotline", "target": 4.0},
    ]
    found = compare_cycle(whole, plan=plan)
    assert found["phase"].drop_duplicates().tolist() == [*CYCLE, "(no phase)"]
    assert found["touchpoint"].dropna().nunique() == len(set(whole["touchpoint"]) | {"hotline"})
    status = found.dropna(subset="touchpoint").set_index("touchpoint")["status"].to_dict()
    assert status == {
        "visit": "met",
        "checkout": "missed",
        "hotline": "not_seen",
        "view": "not_planned",
        "order": "not_planned",
    }
    row = only(found, touchpoint="checkout")
    assert math.isclose(row["gap"], row["actual"] - 4.5) and row["rate_status"] == "met"
    assert only(found, phase="use")["status"] == "not_planned"
    with pytest.raises(BadParameter, match="'buying' is no phase"):
        compare_cycle(whole, plan=[{"phase": "buying", "touchpoint": "visit"}])
    with pytest.raises(MissingColumns, match="missing column touchpoint"):
        compare_cycle(whole, plan=[{"phase": "use"}])


# The samples


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
def test_in_the_samples_the_checkout_annoys_and_the_map_adds_up():
    at = workspace.open(SAMPLES)
    curve = emotion(at.touchpoints, surveys=at.surveys)
    assert only(curve, touchpoint="checkout")[["move", "peak"]].tolist() == ["falls", True]
    found = map(at.touchpoints, campaigns=at.campaigns)
    assert found["contacts"].sum() == at.touchpoints.count()
    spent = at.campaigns.fetch("SELECT CAST(SUM(cost) AS DOUBLE) AS cost FROM {table} AS t")["cost"].iloc[0]
    assert math.isclose(found["cost"].sum(), spent)
    assert only(found, stage="transaction", touchpoint="Paid Video")["progressed"] == 0
