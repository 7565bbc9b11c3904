"""What the site and the platforms record of a replayed chunk: visits, their events, contacts by day."""

from dataclasses import dataclass

import numpy as np

from perfnb.simulate.draw import Candidates, People, normal
from perfnb.simulate.play import LOST, ORDERED, Played
from perfnb.simulate.rules import DAY, VISIT, Rules
from perfnb.simulate.truth import order_cents
from perfnb.simulate.world import DEVICES

EVENTS = ("visit", "view_item", "add_to_cart", "checkout", "order")
OTHER = (1, 0, 0)  # by device, the one to look around on
GAPS = ((5, 90), (20, 240), (15, 180), (60, 420))  # seconds from one event to the next, at least and at most


@dataclass(frozen=True)
class Visits:
    """One chunk's visits by person and time; `depth` is the index of the last of EVENTS."""

    person: np.ndarray  # number in the whole shop
    second: np.ndarray  # under the person's other id
    refused: np.ndarray  # by someone who is not to be followed
    segment: np.ndarray
    device: np.ndarray
    country: np.ndarray
    mark: np.ndarray
    depth: np.ndarray
    time: np.ndarray  # seconds since the start, by event
    cents: np.ndarray  # of the order, else 0
    margin: np.ndarray  # share
    known: np.ndarray  # was a customer at the start
    score: np.ndarray  # answered score by event, 0 if none
    nps: np.ndarray  # -1 if none


def delivered(people: People, candidates: Candidates, rules: Rules, played: Played):
    """Impressions, reach, clicks by mark and day. A person who arrives to buy has also seen and clicked."""
    contact = candidates.mark[played.contact]
    arrived = played.outcome != LOST
    clicked = candidates.click[played.contact] < rules.click[contact, played.stage]
    mark = np.concatenate([contact.astype(np.int64), played.arrival[arrived]])
    at = np.concatenate([played.contact, played.decision[arrived]])
    clicked = np.concatenate([clicked, np.ones(arrived.sum(), bool)])
    cell = mark * rules.days + candidates.time[at] // DAY
    cells = len(rules.marks) * rules.days

    met = np.sort(cell * people.size + candidates.who[at])
    distinct = met[np.flatnonzero(np.diff(met, prepend=-1))] // max(people.size, 1)
    tables = (np.bincount(c, minlength=cells) for c in (cell, distinct, cell[clicked]))
    return np.stack([table.reshape(len(rules.marks), rules.days) for table in tables])


def visits(people: People, candidates: Candidates, rules: Rules, played: Played, rng, losses) -> Visits:
    """The visits of one chunk, with how far each went and when.

    `losses` is a generator of its own for what is not seen: it must not disturb
    what is.
    """
    c, world = candidates, rules.world
    mark = c.mark[played.contact]
    came = c.click[played.contact] < rules.visit[mark, played.stage]
    bought = played.outcome != LOST
    at = np.concatenate([played.contact[came], played.decision[bought]])
    mark = np.concatenate([mark[came].astype(np.int64), played.arrival[bought]])
    stage = np.concatenate([played.stage[came], played.decider[bought]])
    outcome = np.concatenate([np.full(came.sum(), -1), played.outcome[bought]])

    order = np.lexsort((c.time[at], people.number[c.who[at]]))
    at, mark, stage, outcome = at[order], mark[order], stage[order], outcome[order]
    keep, bounce = _apart(people.number[c.who[at]].astype(np.int64), c.time[at], outcome >= 0)
    at, mark, stage, outcome, bounce = at[keep], mark[keep], stage[keep], outcome[keep], bounce[keep]
    who = c.who[at]

    u = rng.random((3, at.size))
    engaged = np.array([m.engaged for m in rules.marks])
    views = u[0] < engaged[mark]
    carts = views & (u[1] < np.array(world.item_to_cart)[stage])
    checks = carts & (u[2] < world.cart_to_checkout)
    depth = np.where(bounce, 0, views.astype(np.int8) + carts + checks)
    depth = np.where(outcome >= 0, np.where(outcome == ORDERED, 4, 3), depth)

    least, most = np.array(GAPS).T
    gaps = np.floor(least + (most - least) * rng.random((at.size, 4)) ** 2).astype(np.int64)
    time = c.time[at][:, None] + np.concatenate([np.zeros((at.size, 1), np.int64), np.cumsum(gaps, axis=1)], axis=1)
    ordered = depth == 4
    cents = np.zeros(at.size)
    cents[ordered] = order_cents(people, c, rules, at[ordered])
    low, high = world.margin_share
    margin = low + (high - low) * rng.random(at.size)
    two, refuses = _unseen(people, rules, losses)
    second = two[who] & (outcome < 0)
    device = np.where(second, np.array(OTHER, np.int8)[people.device[who]], people.device[who])
    score, nps = _answers(rules, device, time, depth, rng)
    return Visits(
        person=people.number[who],
        second=second,
        refused=refuses[who],
        segment=people.segment[who],
        device=device,
        country=people.country[who],
        mark=mark,
        depth=depth,
        time=time,
        cents=cents,
        margin=margin,
        known=(people.segment[who] == 2) | (people.stage[who] == 3),
        score=score,
        nps=nps,
    )


def _unseen(people, rules, rng):
    """Who looks around on another device than they buy on; who refuses to be followed."""
    place = people.number - people.number.min()
    u = rng.random((2, people.size))[:, place]
    return u[0] < rules.world.second_id, u[1] < np.array(rules.world.refusal)[people.segment]


def _apart(person, time, decided):
    """(kept, bounced): the visits of one person must not overlap, or their events would interleave.

    Nobody clicks an advertisement while buying: such a visit does not happen. An
    ordinary visit that is followed by another within its time ends at once.
    """
    moment = person * (1 << 34) + time
    last = np.maximum.accumulate(np.where(decided, moment, -VISIT))
    keep = decided | (moment - last >= VISIT)
    kept = np.flatnonzero(keep)
    soon = np.diff(moment[kept], append=np.iinfo(np.int64).max) < VISIT
    bounce = np.zeros(person.size, bool)
    bounce[kept] = soon & ~decided[kept]
    return keep, bounce


def _answers(rules, device, time, depth, rng):
    world = rules.world
    since, until = world.break_days
    day = time[:, 3] // DAY
    broken = (device == DEVICES.index(world.break_device)) & (day >= since) & (day < until)
    level = np.tile(np.array(world.satisfaction), (depth.size, 1))
    level[depth == 3, 3] = np.where(broken, world.satisfaction_broken, world.satisfaction_failed)[depth == 3]
    score = np.clip(np.rint(level + 0.9 * normal(rng.random(level.shape))), 1, 5)
    asked = np.arange(len(EVENTS)) <= depth[:, None]
    score = np.where(asked & (rng.random(level.shape) < np.array(world.answers)), score, 0)
    nps = np.clip(np.rint(world.nps_level + 2.2 * normal(rng.random(depth.size))), 0, 10)
    answered = (depth == 4) & (rng.random(depth.size) < world.nps_answers)
    return score, np.where(answered, nps, -1)
