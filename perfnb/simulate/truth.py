"""What each channel caused: the same people, with the channel and without it."""

from dataclasses import dataclass, field

import numpy as np

from perfnb.simulate.draw import Candidates, People, normal
from perfnb.simulate.play import LOST, ORDERED, Played, play
from perfnb.simulate.rules import Rules


@dataclass
class Ledger:
    """Differences between worlds, summed over the chunks: by channel, and without all advertising."""

    orders: dict = field(default_factory=dict)
    cents: dict = field(default_factory=dict)
    differing: dict = field(default_factory=dict)
    without_advertising: int = 0

    def add(self, channel, orders, cents, differing):
        for book, amount in ((self.orders, orders), (self.cents, cents), (self.differing, differing)):
            book[channel] = book.get(channel, 0) + int(amount)


def order_cents(people: People, candidates: Candidates, rules: Rules, orders):
    """The value of the orders in cents: log-normal by segment, fixed by the candidate."""
    median = np.array(rules.world.value_median)[people.segment[candidates.who[orders]]]
    return np.rint(100 * median * np.exp(rules.world.value_spread * normal(candidates.value[orders])))


def compare(people: People, candidates: Candidates, rules: Rules, factors, played: Played, ledger: Ledger):
    """Enter what one chunk of people did because of each channel.

    Only those who met the channel are replayed: the others cannot differ.
    """
    base = played.decision[played.outcome == ORDERED]
    met = rules.channel[candidates.mark[played.contact]]
    through = np.where(played.outcome == LOST, -1, rules.channel[played.arrival])
    for k, channel in enumerate(rules.channels):
        if k == rules.channel[rules.direct]:
            continue
        off = np.where(rules.channel == k, 0.0, factors)
        touched = _touched(people, candidates, played, met == k, through == k)
        ledger.add(channel, *_difference(people, candidates, rules, off, touched, base))

    paid = rules.tracked
    off = np.where(paid, 0.0, factors)
    advertised = paid[candidates.mark[played.contact]]
    touched = _touched(people, candidates, played, advertised, paid[played.arrival])
    caused, _, _ = _difference(people, candidates, rules, off, touched, base)
    ledger.without_advertising += base.size - int(caused)


def _touched(people, candidates, played, contacts, decisions):
    touched = np.zeros(people.size, bool)
    touched[candidates.who[played.contact[contacts]]] = True
    touched[candidates.who[played.decision[decisions]]] = True
    return touched


def _difference(people, candidates, rules, factors, touched, base):
    """(orders, cents, people whose orders differ) of these people: with everything, less under these budgets."""
    some, theirs = people.only(touched), candidates.only(touched)
    again = play(some, theirs, rules, factors)
    without = again.decision[again.outcome == ORDERED]
    base = base[touched[candidates.who[base]]]
    count = np.bincount((np.cumsum(touched) - 1)[candidates.who[base]], minlength=some.size)
    count_without = np.bincount(theirs.who[without], minlength=some.size)
    cents = order_cents(people, candidates, rules, base).sum()
    cents_without = order_cents(some, theirs, rules, without).sum()
    return base.size - without.size, cents - cents_without, (count != count_without).sum()
