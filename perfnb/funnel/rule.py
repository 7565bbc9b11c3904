"""What a funnel counts: its steps, its switches, the presets of products, and the line that says it all."""

import itertools
from dataclasses import dataclass, fields
from datetime import timedelta

from perfnb.engine import identifier, literal
from perfnb.errors import BadParameter
from perfnb.period import Period, duration

__all__ = ["PRESETS", "Exclusion", "Rule", "Step", "micros", "rule_of", "spelled"]

_CHOICES = {
    "order": ("ordered", "strict", "adjacent", "any", "any_after_first"),
    "entry": ("best", "first", "each", "sequential"),
    "ties": ("distinct", "sequence", "increase", "shared"),
    "open": ("closed", "first_touch", "union"),
    "follow_up": ("full", "inside"),
}

# The switches of five products as their documentation and tests of 2024 to 2026 say; "(not stated)" where they are
# silent and our default stands in. `orders` and `without` are what a product has and has not to offer.
PRESETS = {
    "posthog": {
        "switches": {"within": "14 days", "follow_up": "inside"},
        "effect": "remove",
        "orders": ("ordered", "strict", "any"),
        "without": ("step_within",),
        "silent": (),
    },
    "mixpanel": {
        "switches": {"within": "7 days", "entry": "first", "grace": "2 seconds"},
        "effect": "stop",
        "orders": ("ordered", "any"),
        "without": ("step_within", "optional"),
        "silent": ("follow_up",),
    },
    "amplitude": {
        "switches": {"within": "1 day", "resolution": "1 second"},
        "effect": "stop",
        "orders": ("ordered", "strict", "any_after_first"),
        "without": ("step_within",),
        "silent": (),
    },
    "ga4": {
        "switches": {"within": None},
        "effect": "stop",
        "orders": ("ordered", "adjacent"),
        "without": ("within", "exclude", "optional"),
        "silent": ("entry", "ties", "follow_up"),
    },
    "clickhouse": {
        "switches": {"ties": "shared"},
        "effect": "stop",
        "orders": ("ordered", "strict"),
        "without": ("step_within", "exclude", "optional"),
        "silent": (),
    },
}


@dataclass(frozen=True)
class Step:
    """A condition that an event meets: each column holds one of its values."""

    name: str
    where: tuple

    @classmethod
    def of(cls, said):
        """From an event name, a list of names (any of them), or {column: value or values} (all of them)."""
        if isinstance(said, str):
            return cls(said, (("event", (said,)),))
        if isinstance(said, (list, tuple, set, frozenset)) and said and all(isinstance(name, str) for name in said):
            names = list(dict.fromkeys(said))
            return cls(" / ".join(names), (("event", tuple(sorted(names))),))
        if isinstance(said, dict) and said and all(isinstance(name, str) for name in said):
            where = {column: _several(values) for column, values in said.items()}
            if all(where.values()):
                texts = [
                    " / ".join(map(str, values)) if column == "event" else f"{column} = {' / '.join(map(str, values))}"
                    for column, values in where.items()
                ]
                return cls(", ".join(texts), tuple(sorted((c, tuple(sorted(v, key=repr))) for c, v in where.items())))
        raise BadParameter(
            f"step {said!r}: expected an event name, a list of names, or a mapping such as "
            '{"event": "visit", "device": "mobile"}'
        )

    def sql(self):
        """SQL that is true of the events that meet it, and false or null of others."""
        return " AND ".join(_matches(column, values) for column, values in self.where)

    def apart(self, other):
        """Whether no event can meet both."""
        theirs = dict(other.where)
        return any(column in theirs and not set(values) & set(theirs[column]) for column, values in self.where)


@dataclass(frozen=True)
class Exclusion:
    """Events that break an attempt strictly between step `after` and step `before`; effect "stop" or "remove"."""

    step: Step
    after: int
    before: int
    effect: str


@dataclass(frozen=True)
class Rule:
    """The definition of a funnel.

    order        "ordered": anything may stand between steps; "strict": only repeats of the step just matched;
                 "adjacent": nothing; "any": the steps in any order, the window opens at any of them;
                 "any_after_first": in any order once step 1 is done
    entry        "best": the longest attempt from any entry; "first": only the unit's first step-1 event opens a
                 window; "each": one attempt per step-1 event; "sequential": a new attempt only after the last one
                 converted, timed out or met an exclusion
    within       from step 1 to the last step, both ends included; None: no limit
    step_within  from each step to the next, included: one limit, or a list of one per hop (None: no limit)
    ties         "distinct": equal times may stand in either order, an event fills one step; "sequence": the order of
                 the column `sequence`; "increase": steps strictly later than the one before; "shared": as distinct,
                 but one event may fill several steps. Strict and adjacent always need the sequence (without the
                 column: the order of names)
    grace        a step may lie this much before its predecessor; only for steps that exclude each other
    open         "closed": enter at step 1; "first_touch": enter at the step of the unit's earliest funnel event, then
                 skip nothing; "union": each step for itself
    exclude      events that break an attempt when they lie strictly between two of its steps: a name, a mapping, or a
                 list of such; a mapping may say after (a step number), before (default: the next step) and effect;
                 without after, from the first to the last step. "stop": the unit keeps the level reached; "remove":
                 it leaves the funnel unless another clean attempt gets as deep
    optional     numbers of steps that may be left out
    follow_up    "full": what follows an entry counts however late; "inside": only events before the period ends
    period       a Period bounds step 1
    unit         the column that is counted, or a list of columns
    sequence     the column that decides ties under "sequence"
    resolution   times are cut to this ("1 second"); None: as they are
    """

    steps: tuple
    order: str = "ordered"
    entry: str = "best"
    within: str | timedelta | None = "7 days"
    step_within: str | timedelta | tuple | list | None = None
    ties: str = "distinct"
    grace: str | timedelta | None = None
    open: str = "closed"
    exclude: object = ()
    optional: tuple | list = ()
    follow_up: str = "full"
    period: Period | None = None
    unit: str | tuple | list = "user_id"
    sequence: str = "sequence"
    resolution: str | timedelta | None = None
    silent: tuple = ()

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(map(repr, choices))
                raise BadParameter(f"{name} {getattr(self, name)!r}: expected one of {expected}")
        if any(number not in range(2, self.count + 1) for number in self.optional):
            raise BadParameter(
                f"optional {list(self.optional)!r}: expected numbers of steps from 2 to {self.count}; "
                "step 1 opens the window"
            )
        self._refuse()

    @property
    def count(self):
        """The number of steps."""
        return len(self.steps)

    @property
    def window(self):
        """`within` in microseconds, or None."""
        return micros(self.within)

    @property
    def limits(self):
        """The limit of each hop in microseconds, or None."""
        if isinstance(self.step_within, (list, tuple)):
            return tuple(micros(limit) for limit in self.step_within)
        return (micros(self.step_within),) * (self.count - 1)

    @property
    def required(self):
        """The numbers of the steps that are not optional."""
        return [k for k in range(1, self.count + 1) if k not in self.optional]

    @property
    def conditions(self):
        """The different conditions among the steps, in the order of their first step."""
        return list({step.where: step for step in self.steps}.values())

    @property
    def marks(self):
        """Per step, the number of its condition."""
        places = {step.where: number for number, step in enumerate(self.conditions, start=1)}
        return [places[step.where] for step in self.steps]

    @property
    def plain(self):
        """Whether no event can fill two of the steps."""
        return all(one.apart(other) for one, other in itertools.combinations(self.steps, 2))

    @property
    def in_rows(self):
        """Whether events stand in a total order, not by instants."""
        return self.ties == "sequence" or self.order in ("strict", "adjacent")

    @property
    def attempts(self):
        """Whether attempts are counted, not units."""
        return self.entry in ("each", "sequential")

    @property
    def any_order(self):
        """Whether steps are counted in whatever order they are done."""
        return self.order in ("any", "any_after_first")

    @property
    def stepwise(self):
        """Whether units go from step to step, and from step 1 on."""
        return self.open == "closed" and not (self.attempts or self.any_order)

    @property
    def keys(self):
        """The columns that make a unit."""
        return (self.unit,) if isinstance(self.unit, str) else tuple(self.unit)

    @property
    def names(self):
        """What the rows of a result are called: the steps, or how many of them are done."""
        if self.any_order:
            return [f"{k} / {self.count}" for k in range(1, self.count + 1)]
        return [step.name for step in self.steps]

    @property
    def columns(self):
        """The columns that a log must have."""
        tested = [*self.steps, *(exclusion.step for exclusion in self.exclude)]
        found = [*self.keys, "timestamp", "event", *(column for step in tested for column, _ in step.where)]
        return list(dict.fromkeys([*found, *([self.sequence] if self.ties == "sequence" else [])]))

    @property
    def definition(self):
        """All of it in a line, to stand under a result."""
        said = [
            self._told("open", {"first_touch": "open at the first funnel event", "union": "each step for itself"}),
            self._told(
                "order", {"strict": "strict order", "any": "any order", "any_after_first": "any order after step 1"}
            ),
        ]
        if self.open == "union":
            return ", ".join([said[0], *self._around()])
        entries = {
            "best": "best entry",
            "first": "first entry",
            "each": "each entry",
            "sequential": "sequential entries",
        }
        if self.open == "closed":
            said.append(self._told("entry", entries))
        said.append("no window" if self.within is None else f"{spelled(self.within)} inclusive")
        if any(self.limits):
            limits = [spelled(timedelta(microseconds=w)) if w is not None else "no window" for w in self.limits]
            said.append(f"step limits {' / '.join(limits if len(set(limits)) > 1 else limits[:1])} inclusive")
        ties = {name: f"ties {name}" for name in ("distinct", "increase", "shared")} | {"sequence": "ties in sequence"}
        said.append("ties in sequence" if self.in_rows else self._told("ties", ties))
        if self.grace is not None and not self.any_order:
            said.append(f"{spelled(self.grace)} grace")
        for one in self.exclude:
            where = f"after step {one.after}" + (f" to {one.before}" if one.before > one.after + 1 else "")
            said.append(f"{one.step.name} excluded {where} ({one.effect})")
        said.extend(f"step {number} optional" for number in self.optional)
        return ", ".join([*said, *self._around()])

    def _told(self, name, words):
        value = getattr(self, name)
        stated = " (not stated by the product)" if name in self.silent else ""
        return words.get(value, value) + stated

    def _around(self):
        said = []
        if self.resolution is not None:
            said.append(f"times cut to {spelled(self.resolution)}")
        if self.keys != ("user_id",):
            said.append(f"unit {' + '.join(self.keys)}")
        if self.period is not None:
            said.append(f"entries {self.period}")
            if self.follow_up == "inside":
                said.append("followed inside the period only")
        return said

    def _refuse(self):
        """What the switches cannot mean together."""
        any_order = self.any_order
        total = self.order in ("strict", "adjacent")
        limited = any(limit is not None for limit in self.limits)
        apart = "steps that exclude each other: one event may meet two of these"
        removing = any(one.effect == "remove" for one in self.exclude)
        plainly = self.ties == "sequence" or self.plain
        for wrong, said in (
            (any_order and (limited or self.exclude or self.optional), "any order has no hops: no step_within, "
             "exclude or optional"),
            (any_order and not self.plain, f"any order needs {apart}"),
            (any_order and self.ties == "increase", "steps in any order have no predecessor to be later than"),
            (any_order and self.attempts, 'any order counts units: entry "best" or "first"'),
            (any_order and self.open != "closed", 'any order is open by itself: open "closed"'),
            (total and self.ties in ("increase", "shared"), f'order {self.order!r} needs ties "sequence"'),
            (total and self.optional, f"order {self.order!r} cannot leave a step out"),
            (total and self.attempts, f'order {self.order!r} counts units: entry "best" or "first"'),
            (self.open != "closed" and (self.attempts or self.optional), f"open {self.open!r} has one entry per unit "
             "and no optional steps"),
            (self.open == "union" and (limited or self.exclude), "each step for itself has no hops: no step_within "
             "or exclude"),
            (self.open == "first_touch" and removing, 'an open funnel knows effect "stop" only'),
            (self.optional and isinstance(self.step_within, (list, tuple)), "with optional steps: one step_within "
             "for all hops"),
            (self.optional and removing, 'with optional steps: effect "stop" only'),
            (self.attempts and self.optional, "attempts have no optional steps"),
            (self.attempts and not plainly, f'attempts under ties {self.ties!r} need {apart}; or ties "sequence"'),
            (self.attempts and limited and self.ties == "sequence", "attempts with step_within need ties "
             '"distinct" or "increase"'),
            (self.attempts and removing, 'attempts know effect "stop" only'),
            (self.entry == "each" and self.exclude, 'excluded events need entry "best", "first" or "sequential"'),
            (self.entry == "sequential" and limited, 'step_within needs entry "best", "first" or "each"'),
            (self.grace is not None and (self.in_rows or self.ties != "distinct"), 'grace is for ties "distinct"'),
            (self.grace is not None and not self.plain, f"grace needs {apart}"),
            (self.grace is not None and self.attempts, 'grace needs entry "best" or "first"'),
        ):  # fmt: skip
            if wrong:
                raise BadParameter(f"{said}. Found {self.definition}")


def rule_of(steps, semantics=None, **switches):
    """The Rule of these steps and switches, over those of a preset; what is said outright counts."""
    known = {field.name for field in fields(Rule)} - {"steps", "silent"}
    for name in switches:
        if name not in known:
            raise BadParameter(f"{name}: no switch of a funnel; expected one of {', '.join(sorted(known))}")
    if isinstance(steps, (str, dict)) or len(steps) < 1:
        raise BadParameter(f"steps {steps!r}: expected a list of event names, lists of names or mappings, in order")
    effect, silent = "stop", ()
    if semantics is not None:
        effect, silent, switches = _preset(semantics, switches)
    steps = tuple(Step.of(step) for step in steps)
    said = switches.get("exclude") or ()
    listed = said if isinstance(said, (list, tuple)) else [said]
    exclude = tuple(_exclusion(one, len(steps), effect) for one in listed)
    hops = switches.get("step_within")
    if isinstance(hops, (list, tuple)) and len(hops) != len(steps) - 1:
        raise BadParameter(f"step_within {list(hops)!r}: expected one limit per hop, so {len(steps) - 1}")
    optional = switches.get("optional") or ()
    optional = tuple(sorted({optional} if isinstance(optional, int) else set(optional)))
    return Rule(steps, **(switches | {"exclude": exclude, "optional": optional, "silent": silent}))


def micros(within):
    """A duration as whole microseconds; None for none."""
    return None if within is None else round(duration(within) / timedelta(microseconds=1))


def _preset(semantics, said):
    if semantics not in PRESETS:
        raise BadParameter(f"semantics {semantics!r}: expected one of {', '.join(map(repr, PRESETS))}")
    preset = PRESETS[semantics]
    order = said.get("order", "ordered")
    if order == "any" and "any_after_first" in preset["orders"]:
        order = "any_after_first"
    way_out = f"Leave semantics={semantics!r} out to combine switches freely"
    if order not in preset["orders"]:
        raise BadParameter(f"order {order!r}: {semantics} offers {', '.join(preset['orders'])}. {way_out}")
    for name in preset["without"]:
        if said.get(name):
            raise BadParameter(f"{name} {said[name]!r}: {semantics} has none. {way_out}")
    if "within" not in preset["switches"] | said:
        raise BadParameter(f"within: {semantics} has no default window; say one, as within='7 days'")
    silent = tuple(name for name in preset["silent"] if name not in said)
    return preset["effect"], silent, {**preset["switches"], **said, "order": order}


def _exclusion(said, count, effect):
    keys = {"after": 1, "before": None, "effect": effect}
    given = dict(said) if isinstance(said, dict) else {}
    places = {name: given.pop(name, usual) for name, usual in keys.items()}
    if places["before"] is None:
        places["before"] = places["after"] + 1 if isinstance(said, dict) and "after" in said else count
    if not 1 <= places["after"] < places["before"] <= count:
        raise BadParameter(
            f"exclude {said!r}: expected steps 1 <= after < before <= {count}, "
            f"found after {places['after']}, before {places['before']}"
        )
    if places["effect"] not in ("stop", "remove"):
        raise BadParameter(f"exclude {said!r}: effect {places['effect']!r}, expected 'stop' or 'remove'")
    if isinstance(said, dict) and list(given) == ["event"]:
        given = given["event"]
    return Exclusion(Step.of(given if isinstance(said, dict) else said), **places)


def _several(values):
    if isinstance(values, (list, tuple, set, frozenset)):
        return tuple(dict.fromkeys(values))
    return (values,)


def _matches(column, values):
    known = [value for value in values if value is not None]
    parts = []
    if known:
        named = ", ".join(map(literal, known))
        listed = f"IN ({named})" if len(known) > 1 else f"= {named}"
        parts.append(f"{identifier(column)} {listed}")
    if len(known) < len(values):
        parts.append(f"{identifier(column)} IS NULL")
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"


def spelled(window):
    """A duration in the largest unit that it is a whole number of: "7 days", "1008 minutes"."""
    seconds = duration(window).total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)):
        if seconds % size == 0 or unit == "seconds":
            count = f"{seconds / size:g}"
            return f"{count} {unit if count != '1' else unit.removesuffix('s')}"
