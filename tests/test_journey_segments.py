"""Segments: planted groups are found, everything is conserved, chance is seeded, candidates equal a count by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, SPARK, book, events, only, shuffled
from _tables import no_spark as without_spark

from perfnb import workspace
from perfnb.errors import BadParameter
from perfnb.journey.segments import _rand, personas, segments

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
DAY = 86_400


def planted(seed=0):
    """150 who came once long ago, 100 who come often of late, 50 who buy: as a list of events."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(150):
        rows.append((f"once{k}", rng.uniform(0, 5) * DAY, "visit", "A", None))
    for k in range(100):
        rows += [(f"often{k}", day * DAY + rng.uniform(0, 9), "visit", "AB"[day % 2], None) for day in range(80, 92)]
    for k in range(50):
        rows += [(f"buyer{k}", day * DAY + rng.uniform(0, 9), "visit", "ABC"[day % 3], None) for day in range(40, 50)]
        rows += [(f"buyer{k}", (44 + n) * DAY + 99.0, "order", "A", 100 + k) for n in range(2)]
    return rows


ROWS = planted()


@pytest.mark.parametrize("engine", ENGINES)
def test_planted_groups_are_found_with_what_sets_them_apart(engine):
    found = personas(segments(events(ROWS, COLUMNS, engine=engine), k=3))
    assert found["persons"].tolist() == [150, 100, 50]
    assert found["buyers"].tolist() == [0, 0, 50] and found["orders"].tolist() == [0, 0, 100]
    assert found["value_share"].tolist() == [0, 0, 1]
    assert "few touches" in found["profile"][0] and "many touches" in found["profile"][1]
    assert "orders" in found["profile"][2] or "value" in found["profile"][2]
    assert math.isclose(found["mean_value"][2], 2 * (100 + 24.5)) and found["mean_touches"][0] == 1
    table = segments(events(ROWS, COLUMNS, engine=engine), k=3)
    assert table["explained"].iloc[0] > 0.9 and table["stability"].iloc[0] > 0.99


def test_persons_orders_value_and_shares_add_up_whatever_the_number_of_segments():
    rows = [*ROWS, (None, 5, "order", "A", 7), ("late", None, "visit", "A", None)]
    for k in (1, 2, 5, 12):
        found = personas(segments(events(rows, COLUMNS), k=k))
        assert found["persons"].sum() == 300 and math.isclose(found["share"].sum(), 1)
        assert found["orders"].sum() == 100 and math.isclose(found["value"].sum(), 2 * sum(100 + n for n in range(50)))
        assert math.isclose(found["value_share"].sum(), 1) and found["profile"].is_unique
        table = segments(events(rows, COLUMNS), k=k)
        assert (table["unassigned"] == 2).all()
        means = table.drop_duplicates(["segment", "feature"])
        for _, part in means.groupby("feature"):
            known = part[~part["small_n"]]
            if len(known) == len(part):
                assert math.isclose((part["mean_here"] * part["share"]).sum(), part["mean_all"].iloc[0])


def test_the_order_of_rows_changes_nothing_and_the_seed_is_all_the_chance_there_is():
    one, other = events(ROWS, COLUMNS), events(list(shuffled(ROWS)), COLUMNS)
    pd.testing.assert_frame_equal(segments(one, seed=5), segments(other, seed=5))


def test_names_of_persons_do_not_matter_and_do_not_leave():
    renamed = [(user[::-1], *rest) for user, *rest in ROWS]
    one, other = segments(events(ROWS, COLUMNS)), segments(events(renamed, COLUMNS))
    pd.testing.assert_frame_equal(one, other)
    texts = [str(text) for text in one.select_dtypes(exclude="number").to_numpy().ravel()]
    assert not any(name in text for text in texts for name in ("once", "often", "buyer"))


def test_candidates_for_reactivation_equal_a_count_by_hand():
    """Gaps of 2 days, then quiet for 7 (a candidate), exactly 6 (not), and a buyer of a single day (unknown)."""
    end = 20
    rows = []
    for name, last in (("long", 13), ("just", 14), ("same", end)):
        rows += [(name, day * DAY, "visit", "A", None) for day in range(last - 4, last, 2)]
        rows.append((name, last * DAY, "order", "A", 5))
    rows += [
        ("one", 3 * DAY, "order", "A", 5),
        ("never", 1 * DAY, "visit", "A", None),
        ("never", 2 * DAY, "visit", "B", None),
    ]
    found = personas(segments(events(rows, COLUMNS), k=1)).iloc[0]
    assert found[["persons", "buyers", "reactivate", "gap_unknown"]].tolist() == [5, 4, 1, 1]
    assert found["reactivate_rate"] == 0.25 and found["small_n"]


def test_a_table_of_orders_says_who_bought_and_brings_those_without_events():
    frames = {
        "touchpoints": pd.DataFrame(
            {
                "user_id": ["u", "u"],
                "timestamp": pd.to_datetime(["2025-01-01", "2025-01-09"]),
                "event": ["visit", "order"],
            }
        ).assign(channel="A", value=[None, 99.0]),
        "orders": pd.DataFrame(
            {"order_id": ["1", "2", "3"], "user_id": ["u", "v", None], "value": [10.0, 20.0, 40.0]}
        ).assign(timestamp=pd.Timestamp("2025-01-09")),
    }
    at = book(**frames)
    found = personas(segments(at.touchpoints, orders=at.orders, k=1)).iloc[0]
    assert found[["persons", "buyers", "orders", "value"]].tolist() == [2, 2, 2, 30]
    assert segments(at.touchpoints, orders=at.orders, k=1)["unassigned"].iloc[0] == 1
    assert personas(segments(at.touchpoints, k=1)).iloc[0]["value"] == 99


def test_segments_under_30_persons_are_counted_and_their_means_withheld():
    rows = [row for row in ROWS if not row[0].startswith("buyer") or row[0] < "buyer2"]
    found = segments(events(rows, COLUMNS), k=3)
    few = found[found["small_n"]]
    assert 0 < few["persons"].iloc[0] < 30 and few[["mean_here", "effect_size"]].isna().all(axis=None)
    assert found.loc[~found["small_n"], "mean_here"].notna().all()


def test_persons_who_are_all_alike_are_one_segment_and_none_are_none():
    rows = [(f"u{k}", 0, "visit", "A", None) for k in range(40)]
    alike = [(f"u{k}", 0, "visit", "A", None) for k in range(40)] + [("w", 0, "view", "A", None)]
    whole = personas(segments(events(rows, COLUMNS)))
    assert whole[["persons", "share", "profile"]].to_numpy().tolist() == [[40, 1, "average"]]
    assert personas(segments(events(alike, COLUMNS)))["persons"].tolist() == [41]
    assert segments(events([("u", None, "visit", "A", None)], COLUMNS)).empty
    with pytest.raises(BadParameter, match="1 to 12"):
        segments(events(rows, COLUMNS), k=0)


def test_no_structure_is_less_stable_than_planted_groups():
    rng = np.random.default_rng(2)
    noise = [
        (f"p{k}", rng.uniform(0, 90) * DAY, "visit", "ABC"[rng.integers(3)], None)
        for k in range(300)
        for _ in range(rng.integers(1, 9))
    ]
    real = segments(events(ROWS, COLUMNS), k=3)["stability"].iloc[0]
    assert segments(events(noise, COLUMNS), k=6)["stability"].iloc[0] < real - 0.05


def test_the_adjusted_rand_index_of_hubert_and_arabie():
    """Six objects, {1,1,1,2,2,2} against {1,1,2,2,3,3}: 0.2424, and 1 against itself under any names."""
    one, other = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    weight = np.ones(6)
    assert math.isclose(_rand(one, other, weight), 0.2424, abs_tol=1e-4)
    assert _rand(one, 1 - one, weight) == 1


@pytest.mark.spark
@pytest.mark.skipif(without_spark, reason="needs pyspark, sqlglot and java")
def test_every_engine_gives_the_same_segments():
    duck, spark = (segments(events(ROWS, COLUMNS, engine=engine)) for engine in ("duckdb", SPARK))
    pd.testing.assert_frame_equal(duck, spark, check_dtype=False)


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
def test_the_segments_of_the_samples_add_up_to_the_tables():
    at = workspace.open(SAMPLES)
    found = personas(segments(at.touchpoints, orders=at.orders))
    orders = pd.read_csv(SAMPLES / "orders.csv")
    persons = set(pd.read_csv(SAMPLES / "touchpoints.csv")["user_id"]) | set(orders["user_id"])
    assert found["persons"].sum() == len(persons) and found["orders"].sum() == len(orders)
    assert math.isclose(found["value"].sum(), orders["value"].sum())
    assert found["buyers"].sum() == orders["user_id"].nunique()
    assert only(found, segment=4)["value_share"] > 0.9
