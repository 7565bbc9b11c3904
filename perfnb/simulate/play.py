"""Replay a chunk of people in one world: everyone's first candidate, everyone's second, ..."""

from dataclasses import dataclass

import numpy as np

from perfnb.simulate.draw import Candidates, People
from perfnb.simulate.rules import DAY, Rules

LOST, FAILED, ORDERED = 0, 1, 2


@dataclass(frozen=True)
class Played:
    """What happened: indices into the candidates, in the order of the replay."""

    contact: np.ndarray  # accepted contacts (and forgetting)
    stage: np.ndarray  # the person's stage at that contact
    decision: np.ndarray  # accepted purchase opportunities
    decider: np.ndarray  # the person's stage then
    arrival: np.ndarray  # the mark through which they came
    outcome: np.ndarray  # LOST, FAILED (in the checkout) or ORDERED


@dataclass
class State:
    """Where these people are now."""

    stage: np.ndarray
    visited: np.ndarray  # were they ever on the site
    mover: np.ndarray  # the mark that moved them last
    met: np.ndarray  # contacts so far, by channel


def play(people: People, candidates: Candidates, rules: Rules, factors) -> Played:
    """Replay these people where every mark has `factors` times its planned budget.

    The random numbers belong to the candidates, so that two worlds differ only by
    what the budgets cause.
    """
    c = candidates
    state = State(
        stage=people.stage.copy(),
        visited=np.zeros(people.size, bool),
        mover=np.full(people.size, len(rules.marks), np.int8),
        met=np.zeros((people.size, len(rules.channels) + 1), np.uint8),
    )
    afforded = rules.chance(factors).ravel()[c.mark.astype(np.int32) * rules.days + c.time // DAY]
    accept = rules.accept.ravel()
    row = (c.mark.astype(np.int32) * rules.accept.shape[1] + people.kind[c.who]) * 4
    contacts, decisions = [], []
    for begin, end in zip(c.blocks[:-1], c.blocks[1:], strict=True):
        chance = accept[row[begin:end] + state.stage[: end - begin]] * afforded[begin:end]
        who = np.flatnonzero(c.accept[begin:end] < chance)
        buys = c.mark[who + begin] == rules.purchase
        if buys.any():
            decisions.append(_decide(state, people, c, rules, factors, who[buys] + begin))
            who = who[~buys]
        contacts.append(_meet(state, c, rules, who + begin))
    return Played(*_joined(contacts, 2), *_joined(decisions, 4))


def _meet(state, c, rules, at):
    """People meet a campaign, hear of the shop, or forget it."""
    who, mark = c.who[at], c.mark[at]
    before = state.stage[who]
    # fatigue counts within a channel: a channel without effect must not tire people of the others
    channel = rules.channel[mark]
    times = state.met[who, channel]
    up = c.move[at] < rules.effect[mark, before] / (1 + times / rules.world.fatigue)
    state.met[who, channel] = np.minimum(times, 254) + 1
    state.visited[who] |= c.click[at] < rules.visit[mark, before]
    state.stage[who] = before + up - (mark == rules.forgetting)
    state.mover[who[up]] = mark[up]
    return at, before


def _decide(state, people, c, rules, factors, at):
    """People decide to buy: through which door do they come, and do they order?"""
    who, day = c.who[at], c.time[at] // DAY
    before, mover = state.stage[who], state.mover[who]
    own, u = rules.own[mover], c.click[at].astype(float)
    doors = rules.arrivals[state.visited[who].astype(np.int8), day]
    other = ((u - own) / np.maximum(1 - own, 1e-9))[:, None] >= doors[:, :-1]
    arrival = np.where(u < own, mover, other.sum(axis=1))

    is_open = np.minimum(factors[arrival], 1.0)
    shut = c.move[at] >= is_open
    lost = shut & (c.move[at] >= 1 - (1 - is_open) * rules.lost[arrival])
    arrival = np.where(shut, rules.direct, arrival)
    fails = c.fail[at] < rules.fails[people.device[who], day]
    outcome = np.where(lost, LOST, np.where(fails, FAILED, ORDERED))
    state.stage[who] = np.where(outcome == ORDERED, 3, before)
    state.visited[who] |= ~lost
    return at, before, arrival, outcome


def _joined(parts, columns):
    if not parts:
        return (np.empty(0, np.int64),) * columns
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
