"""The market types: what each of them is about, and that what is not seen changes nothing that happened."""

from dataclasses import replace

import pandas as pd
import pytest

from perfnb import simulate
from perfnb.errors import BadParameter

WHO = ["user_id", "channel", "campaign", "device", "country", "segment"]


@pytest.fixture(scope="module")
def shop():
    return {name: simulate.shop(seed=5, users=20_000, preset=name) for name in MARKETS}


MARKETS = ("default", "harvest", "brand", "delays", "cross_device", "consent")


def caused(shop):
    return shop.truth.set_index("channel")["incremental_orders"]


def last_click(shop):
    return shop.touchpoints.loc[shop.touchpoints["event"] == "order", "channel"].value_counts()


def orders(touchpoints):
    return touchpoints[touchpoints["event"] == "order"].reset_index(drop=True)


def days_from_first_visit_to_order(shop):
    visits = shop.touchpoints[shop.touchpoints["event"] == "visit"].drop_duplicates("user_id").set_index("user_id")
    first = shop.orders.drop_duplicates("user_id").set_index("user_id")["timestamp"]
    return (first - visits["timestamp"].reindex(first.index)).dt.days


def written(shop, folder):
    simulate.write(shop, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- what the markets are about -----------------------------------------------------------------


def test_harvesting_retargeting_causes_exactly_nothing_and_closes_a_fifth_of_the_orders(shop):
    harvest = shop["harvest"]
    assert (
        harvest.truth.set_index("channel").loc["Retargeting", ["incremental_orders", "low", "high"]].tolist() == [0] * 3
    )
    assert last_click(harvest)["Retargeting"] > 0.2 * len(harvest.orders)
    cost = harvest.campaigns.groupby("channel")["cost"].sum()
    assert 0.1 < cost["Retargeting"] / cost.sum() < 0.4
    off = simulate.shop(seed=5, users=20_000, preset="harvest", budgets={"Retargeting": 0})
    assert off.orders["timestamp"].size == harvest.orders["timestamp"].size


def test_brand_search_catches_what_video_and_social_made(shop):
    truth, last = caused(shop["brand"]), last_click(shop["brand"])
    assert last["Brand Search"] > 0.4 * len(shop["brand"].orders)
    assert truth["Brand Search"] < 0.05 * last["Brand Search"]
    for channel in ("Paid Video", "Paid Social"):
        assert truth[channel] > 5 * truth["Brand Search"] and last.get(channel, 0) < 0.02 * truth[channel]
        assert truth[channel] > 1.2 * caused(shop["default"])[channel]


def test_in_the_market_of_delays_weeks_lie_before_an_order(shop):
    late, usual = (days_from_first_visit_to_order(shop[name]) for name in ("delays", "default"))
    assert late.median() > 21 and late.median() > 1.3 * usual.median()
    assert (late > 30).mean() > 0.4


# --- what is not seen ---------------------------------------------------------------------------


def test_without_losses_every_byte_is_that_of_the_world_without_them(tmp_path):
    world = replace(simulate.preset("consent"), second_id=0.0, refusal=(0.0, 0.0, 0.0))
    lossless = simulate.shop(seed=3, users=3_000, world=world)
    assert written(lossless, tmp_path / "a") == written(simulate.shop(seed=3, users=3_000), tmp_path / "b")


@pytest.mark.parametrize("name", ["cross_device", "consent"])
def test_a_loss_of_observation_leaves_what_happened_as_it_is(shop, name):
    lossy, whole = shop[name], shop["default"]
    pd.testing.assert_frame_equal(lossy.truth, whole.truth)
    assert lossy.without_advertising == whole.without_advertising
    same = ["order_id", "timestamp", "value", "margin", "currency", "new_customer"]
    pd.testing.assert_frame_equal(lossy.orders[same], whole.orders[same])
    billed = ["date", "channel", "campaign", "impressions", "reach", "clicks", "cost"]
    pd.testing.assert_frame_equal(lossy.campaigns[billed], whole.campaigns[billed])
    columns = ["order_id", "timestamp", "value", "user_id"]
    pd.testing.assert_frame_equal(orders(lossy.touchpoints)[columns], lossy.orders[columns])


def test_a_second_id_is_all_that_two_devices_change(shop):
    two, one = shop["cross_device"].touchpoints, shop["default"].touchpoints
    second = two["user_id"].str.startswith("v")
    rest = [name for name in two if name not in ("user_id", "device")]
    pd.testing.assert_frame_equal(two[rest], one[rest])
    assert (two["user_id"].str[1:] == one["user_id"].str[1:]).all()
    assert (two.loc[~second, "device"] == one.loc[~second, "device"]).all()
    assert (two.loc[second, "device"] != one.loc[second, "device"]).all()
    # They look around under one id and buy under the other.
    assert 0.4 < second.mean() < 0.6 and not second[two["event"] == "order"].any()
    buyers = two.loc[two["event"] == "order", "user_id"].str[1:].drop_duplicates()
    assert 0.2 < buyers.isin(two.loc[second, "user_id"].str[1:]).mean() < 0.6
    pd.testing.assert_frame_equal(shop["cross_device"].orders, shop["default"].orders)


def test_of_those_who_refuse_orders_only_are_recorded(shop):
    some, everyone = shop["consent"].touchpoints, shop["default"].touchpoints
    nameless = some["user_id"].isna()
    assert some.loc[nameless, WHO].isna().all(axis=None) and set(some.loc[nameless, "event"]) == {"order"}
    assert some.loc[~nameless, ["user_id", "channel", "device"]].notna().all(axis=None)
    refused = set(everyone["user_id"]) - set(some["user_id"])
    kept = everyone[~everyone["user_id"].isin(refused)].reset_index(drop=True)
    pd.testing.assert_frame_equal(some[~nameless].reset_index(drop=True), kept)
    assert nameless.sum() == orders(everyone)["user_id"].isin(refused).sum() > 300
    assert orders(some)["value"].sum() == orders(everyone)["value"].sum()
    # Who refuses depends on the segment, so the orders that stay are not a fair sample of all.
    share = everyone.drop_duplicates("user_id").groupby("segment")["user_id"].agg(lambda ids: ids.isin(refused).mean())
    assert share["bargain"] > 0.4 > share["loyal"] + 0.2


def test_campaigns_of_a_shop_with_refusals_add_up_to_the_events_that_have_a_channel(shop):
    campaigns, events = shop["consent"].campaigns, shop["consent"].touchpoints
    for column, event in (("visits", "visit"), ("engaged_visits", "view_item"), ("orders", "order")):
        expected = events[events["event"] == event]["channel"].value_counts()
        found = campaigns.groupby("channel")[column].sum()
        assert (found == expected.reindex(found.index).fillna(0)).all(), column
    assert not shop["consent"].surveys["user_id"].isna().any()


@pytest.mark.parametrize("losses", [{"second_id": 1.2}, {"refusal": (0.1, -0.1, 0.0)}])
def test_impossible_losses_are_named(losses):
    with pytest.raises(BadParameter, match="second_id and refusal must be between 0 and 1"):
        replace(simulate.preset("default"), **losses)
