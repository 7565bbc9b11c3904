"""The parameters of the made-up shop: what exists, whom it reaches, what it causes, what it costs.

Everything here is data. Take a preset, change it with `dataclasses.replace`, and
hand it to `simulate.shop(world=...)`.

A person is in one of four hidden stages: 0 unaware, 1 aware, 2 considering,
3 customer. Tuples of four numbers are by stage, tuples of three by segment.
"""

from dataclasses import dataclass, replace

from perfnb.errors import BadParameter

SEGMENTS = ("bargain", "researcher", "loyal")
DEVICES = ("mobile", "desktop", "tablet")
COUNTRIES = ("DE", "AT", "CH")
CURRENCY = "EUR"
DIRECT = "Direct"

NEVER = (0.0, 0.0, 0.0, 0.0)
ALWAYS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Mark:
    """One kind of event in people's lives: mostly the contact with one campaign."""

    channel: str = ""
    campaign: str | None = None
    rate: float = 0.0  # candidates per person and week, at the planned budget
    accept: tuple = NEVER  # chance by stage that a candidate happens, for a person in need
    idle: float = 1.0  # factor on that chance for a person without need
    segments: tuple = (1.0, 1.0, 1.0)  # factor on that chance by segment, at most 1
    effect: tuple = (0.0, 0.0)  # chance that it makes unaware aware, aware considering
    click: tuple = NEVER  # chance by stage that a contact is clicked
    engaged: float = 0.7  # chance that a visit looks at an item
    arrival: float = 0.0  # weight as the door through which people who decided to buy come in
    known: bool = False  # that door is open only to people who visited before
    lost: float = 0.0  # chance that the sale is lost where that door is shut
    returns: float = 1.0  # factor on World.own_arrival for people whom it moved
    budget: tuple = ()  # (day, factor) steps: from that day on the budget is so many times the plan
    cpm: float = 0.0  # cost per 1,000 impressions, per click, per order
    cpc: float = 0.0
    cpo: float = 0.0

    def __post_init__(self):
        chances = (*self.accept, self.idle, *self.segments, *self.effect, *self.click, self.engaged, self.lost)
        amounts = (self.rate, self.arrival, self.returns, *(factor for _, factor in self.budget))
        if not all(0 <= chance <= 1 for chance in chances):
            raise BadParameter(f"{self._name}: chances and factors on them must be between 0 and 1, found {chances}")
        if min(amounts) < 0:
            raise BadParameter(f"{self._name}: rate, arrival, returns and budget must not be negative, found {amounts}")

    @property
    def _name(self):
        return f"mark {self.channel or '(inner)'} {self.campaign or ''}".rstrip()


@dataclass(frozen=True)
class World:
    """All parameters of one shop and its market; days count from 0 at the start."""

    marks: tuple
    hearsay: Mark  # word of mouth: moves people, leaves no trace
    forgetting: Mark  # moves people one stage down
    purchase: Mark  # an opportunity to buy: a decision, where accepted

    segment_share: tuple = (0.42, 0.38, 0.20)
    device_share: tuple = (0.58, 0.36, 0.06)
    country_share: tuple = (0.82, 0.10, 0.08)
    need_share: float = 0.16  # latent: in the market for what the shop sells; the confounder
    start_in_need: tuple = ((0.56, 0.33, 0.11, 0.0), (0.52, 0.33, 0.15, 0.0), (0.10, 0.44, 0.31, 0.15))
    start_idle: tuple = ((0.66, 0.30, 0.04, 0.0), (0.64, 0.31, 0.05, 0.0), (0.12, 0.55, 0.13, 0.20))

    media_use: float = 1.5  # shape of the gamma law of media use: smaller is more unequal
    fatigue: float = 6.0  # the n-th further contact with a channel works 1 / (1 + n / fatigue) as well
    own_arrival: float = 0.07  # chance that a decided person comes through what last moved them
    click_arrives: float = 0.94  # share of clicks that become visits
    headroom: float = 1.5  # budgets can be replayed up to so many times the plan

    weekdays: tuple = (1.06, 1.02, 0.98, 0.98, 0.92, 0.93, 1.11)  # from Monday
    season: tuple = ((0, 0.97), (35, 0.96), (60, 0.99), (70, 1.10), (91, 1.14))  # (day, level), linear between
    hours: tuple = (8, 5, 4, 5, 10, 20, 34, 46, 52, 55, 58, 58, 56, 54, 54, 58, 66, 80, 92, 90, 70, 44, 24, 14)

    item_to_cart: tuple = (0.03, 0.06, 0.17, 0.10)  # ordinary visits by stage
    cart_to_checkout: float = 0.12
    checkout_fails: float = 0.10  # of those who decided
    break_days: tuple = (14, 21)  # from, until: the checkout on phones is broken
    break_fails: float = 0.75
    break_device: str = "mobile"

    value_median: tuple = (72.0, 98.0, 88.0)  # of one order, by segment
    value_spread: float = 0.45  # standard deviation of its logarithm
    margin_share: tuple = (0.25, 0.45)
    price_wobble: float = 0.08  # media prices vary by day within this share

    answers: tuple = (0.03, 0.03, 0.10, 0.22, 0.30)  # share who rate visit, view_item, add_to_cart, checkout, order
    satisfaction: tuple = (3.9, 3.9, 3.7, 3.0, 4.2)  # mean before rounding to 1-5
    satisfaction_failed: float = 2.2  # checkout without order
    satisfaction_broken: float = 1.5  # checkout on the broken device in the break
    second_id: float = 0.0  # share who look around on another device than they buy on, under an id of its own
    refusal: tuple = (0.0, 0.0, 0.0)  # share by segment who refuse to be followed: of them, only orders are recorded
    nps_answers: float = 0.25
    nps_level: float = 7.9
    plan: tuple = (  # (kpi, target per person and day); revenue and cost in EUR
        ("visits", 0.0112),
        ("orders", 0.00078),
        ("revenue", 0.073),
        ("cost", 0.0072),
    )

    def __post_init__(self):
        if not all(0 <= share <= 1 for share in (self.second_id, *self.refusal)):
            raise BadParameter(
                f"world: second_id and refusal must be between 0 and 1, found {self.second_id}, {self.refusal}"
            )


def _campaigns() -> tuple:
    seeks = {"accept": (0.16, 0.60, 1.0, 0.15), "idle": 0.14, "segments": (0.9, 1.0, 0.5)}
    return (
        Mark(
            "Paid Search", "Generic | Exact", 0.30, **seeks, effect=(0.50, 0.20), click=(0.15, 0.15, 0.15, 0.08),
            engaged=0.80, arrival=0.075, lost=0.25, cpc=1.60,
        ),
        Mark(
            "Paid Search", "Generic | Broad", 0.24, (0.50, 0.80, 1.0, 0.3), 0.30, (0.9, 1.0, 0.5), (0.30, 0.06),
            (0.09, 0.09, 0.07, 0.05), 0.62, arrival=0.009, lost=0.15, budget=((63, 3.6),), cpc=0.85,
        ),
        Mark(
            "Paid Search", "Shopping | Bestseller", 0.30, **seeks, effect=(0.42, 0.18),
            click=(0.14, 0.14, 0.16, 0.10), engaged=0.92, arrival=0.045, lost=0.20, cpc=1.05,
        ),
        Mark(
            "Brand Search", "Brand | Exact", 0.36, (0.0, 0.12, 1.0, 0.35), 0.12, effect=(0.0, 0.04),
            click=(0.0, 0.40, 0.42, 0.30), engaged=0.82, arrival=0.26, lost=0.06, cpc=0.38,
        ),
        Mark(
            "Brand Search", "Brand + Category", 0.18, (0.0, 0.12, 1.0, 0.2), 0.12, effect=(0.0, 0.05),
            click=(0.0, 0.34, 0.34, 0.25), engaged=0.84, arrival=0.07, lost=0.08, cpc=0.55,
        ),
        Mark(
            "Paid Social", "Prospecting | Reels", 0.28, ALWAYS, 0.9, (1.0, 0.9, 0.6), (0.24, 0.060),
            (0.016, 0.020, 0.012, 0.006), 0.55, cpm=18.0,
        ),
        Mark(
            "Paid Social", "Lookalike 1 %", 0.18, ALWAYS, 0.55, (1.0, 0.9, 0.7), (0.32, 0.090),
            (0.028, 0.034, 0.020, 0.010), 0.62, cpm=24.0,
        ),
        Mark(
            "Display", "Programmatic | Contextual", 0.24, ALWAYS, 0.8, (0.9, 1.0, 0.8), (0.16, 0.050),
            (0.009, 0.009, 0.006, 0.004), 0.42, cpm=7.0, returns=0.3,
        ),
        Mark(
            "Display", "Native | Küche & Garten", 0.10, ALWAYS, 0.7, (0.7, 1.0, 0.7), (0.24, 0.070),
            (0.018, 0.020, 0.012, 0.006), 0.52, cpm=11.0, returns=0.3,
        ),
        Mark(
            "Paid Video", "YouTube | Bumper 6 s", 0.18, ALWAYS, 1.0, (1.0, 0.9, 0.8), (0.30, 0.055),
            (0.014, 0.012, 0.0, 0.0), 0.45, cpm=14.0, returns=0.0,
        ),
        Mark(
            "Paid Video", "Connected TV | DE AT CH", 0.09, ALWAYS, 1.0, (0.9, 1.0, 1.0), (0.42, 0.080),
            (0.008, 0.008, 0.0, 0.0), 0.50, cpm=34.0, returns=0.0,
        ),
        Mark(
            "Retargeting", "Dynamic | Cart 7 d", 0.40, (0.0, 0.0, 1.0, 0.10), 0.35, effect=(0.0, 0.0),
            click=(0.0, 0.0, 0.045, 0.020), engaged=0.88, arrival=0.060, known=True, lost=0.10, cpm=12.0,
        ),
        Mark(
            "Retargeting", "Dynamic | Product 30 d", 0.40, (0.0, 0.25, 1.0, 0.30), 0.35, effect=(0.0, 0.035),
            click=(0.0, 0.025, 0.032, 0.015), engaged=0.84, arrival=0.060, known=True, lost=0.08, cpm=10.0,
        ),
        Mark("Affiliates", "Gutscheinportale", arrival=0.105, known=True, lost=0.09, cpo=7.5),
        Mark("Affiliates", "Cashback", arrival=0.045, known=True, lost=0.12, cpo=6.0),
        Mark(
            "Email", "Newsletter | Weekly", 0.60, (0.0, 0.06, 0.22, 1.0), 0.7, (0.6, 0.5, 1.0), (0.0, 0.060),
            (0.0, 0.030, 0.045, 0.060), 0.72, arrival=0.055, known=True, lost=0.08, cpm=3.0,
        ),
        Mark(
            "Email", "Cart Reminder", 0.10, (0.0, 0.0, 1.0, 0.1), 0.30, effect=(0.0, 0.0),
            click=(0.0, 0.0, 0.16, 0.10), engaged=0.90, arrival=0.035, known=True, lost=0.12, cpm=4.0,
        ),
        Mark(
            "Organic Search", None, 0.085, (0.15, 0.50, 1.0, 0.35), 0.16, effect=(0.70, 0.22),
            click=ALWAYS, engaged=0.74, arrival=0.09, lost=0.15,
        ),
        Mark(
            DIRECT, None, 0.070, (0.0, 0.35, 1.0, 0.60), 0.25, click=ALWAYS, engaged=0.70, arrival=0.24,
        ),
    )  # fmt: skip


def _default() -> World:
    return World(
        marks=_campaigns(),
        hearsay=Mark(rate=0.06, accept=ALWAYS, effect=(0.50, 0.20)),
        forgetting=Mark(rate=0.10, accept=(0.0, 0.8, 1.0, 0.0)),
        purchase=Mark(rate=0.13, accept=(0.0, 0.0, 1.0, 0.16), idle=0.05),
    )


def _benign() -> World:
    """Everyone is as likely to meet, click and buy; who is moved by a campaign comes back through it."""
    world = _default()
    marks = tuple(
        mark
        if mark.channel == DIRECT
        else replace(
            mark,
            idle=1.0,
            accept=ALWAYS if mark.rate else NEVER,
            rate=min(mark.rate, 0.14) * (0.25 if mark.campaign is None else 1.0),
            segments=(1.0, 1.0, 1.0),
            effect=(0.03, 0.03) if mark.rate else (0.0, 0.0),
            click=ALWAYS if mark.campaign is None else (0.05, 0.05, 0.05, 0.05),
            arrival=mark.arrival * 0.1,
            returns=1.0,
        )
        for mark in world.marks
    )
    return replace(
        world,
        marks=marks,
        hearsay=replace(world.hearsay, rate=0.002),
        forgetting=replace(world.forgetting, rate=0.02),
        purchase=replace(world.purchase, rate=0.040, idle=1.0),
        start_in_need=((0.1, 0.9, 0.0, 0.0),) * 3,
        start_idle=((0.1, 0.9, 0.0, 0.0),) * 3,
        own_arrival=0.95,
    )


def _with(world: World, changes: dict) -> World:
    """The world with the marks of these channels changed."""
    return replace(world, marks=tuple(replace(mark, **changes.get(mark.channel, {})) for mark in world.marks))


def _harvest() -> World:
    """Retargeting follows those who are about to buy anyway, bills their clicks, and causes nothing."""
    meets = {"rate": 0.60, "accept": (0.0, 0.0, 1.0, 0.10), "idle": 0.20, "click": (0.0, 0.0, 0.16, 0.06)}
    bills = {"cpm": 0.0, "cpc": 0.70}
    return _with(_default(), {"Retargeting": {**meets, "effect": (0.0, 0.0), "arrival": 0.25, "lost": 0.0, **bills}})


def _brand() -> World:
    """Video and social make the demand, without clicks or returns; it types the brand's name into a search box."""
    return _with(
        _default(),
        {
            "Paid Video": {"effect": (0.55, 0.16), "returns": 0.0},
            "Paid Social": {"effect": (0.40, 0.12), "returns": 0.0},
            "Brand Search": {"accept": (0.0, 0.30, 1.0, 0.30), "effect": (0.0, 0.0), "arrival": 0.50, "lost": 0.02},
        },
    )


def _delays() -> World:
    """Between what moves people and their order lie weeks, often more than the usual look-back of 30 days."""
    world = _default()
    return replace(world, purchase=replace(world.purchase, rate=0.05), forgetting=replace(world.forgetting, rate=0.01))


PRESETS = {
    "default": _default,
    "benign": _benign,
    "harvest": _harvest,
    "brand": _brand,
    "delays": _delays,
    "cross_device": lambda: replace(_default(), second_id=0.55),
    "consent": lambda: replace(_default(), refusal=(0.45, 0.40, 0.15)),
}


def preset(name: str) -> World:
    """The world of that name.

    "default" (strong confounding), "benign" (last click nearly right), "harvest"
    (retargeting that causes nothing), "brand" (brand search that catches what
    video and social made), "delays" (weeks between cause and order). Two are the
    default world, badly observed: "cross_device" (people look on one device and
    buy on another) and "consent" (many refuse to be followed).
    """
    if name not in PRESETS:
        raise BadParameter(f"preset: unknown {name!r}; there are {', '.join(map(repr, PRESETS))}")
    return PRESETS[name]()
