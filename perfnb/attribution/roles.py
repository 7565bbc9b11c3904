"""What a channel does in the paths that convert: open, assist, close, or all of it alone."""

import numpy as np
import pandas as pd

from perfnb.attribution.paths import coded

ROLES = ("opens", "assists", "closes", "alone")


def roles(source, **counting):
    """The part that each channel plays in the paths of the conversions.

    `source` is a touchpoints Table, counted by `counting` (see `journey.Counting`), or
    a table of paths.

    Returns one row per channel: channel, conversions (whose path has it), share_of_all
    (0-1, of all conversions; paths have several channels, so these add up to more than
    one), and of its conversions how many it opens (first, others after it), assists
    (others before and after it), closes (last, others before it) and carries alone; one
    that it opens and closes around others counts half to each. Then the same as shares
    of its conversions: share_opens, share_assists, share_closes, share_alone (0-1).
    Most conversions first.
    """
    paths = coded(source, grouped=False, converted=True, **counting)
    size, rows = len(paths.names), paths.length.size
    columns = ["channel", "conversions", "share_of_all", *ROLES, *(f"share_{role}" for role in ROLES)]
    if not size or not paths.conversions.sum():
        return pd.DataFrame(columns=columns)
    row, code = paths.members()
    first, last = paths.codes[paths.starts[:-1]], paths.codes[paths.starts[1:] - 1]
    alone = np.bincount(row, minlength=rows)[row] == 1
    opens, closes = (first[row] == code) & ~alone, (last[row] == code) & ~alone
    half = np.where(opens & closes, 0.5, 1.0)
    paid = paths.conversions[row]
    parts = {"opens": opens * half, "assists": ~(opens | closes | alone), "closes": closes * half, "alone": alone}
    table = pd.DataFrame({"channel": paths.names, "conversions": np.bincount(code, paid, size)})
    table["share_of_all"] = table["conversions"] / (paths.conversions.sum() + paths.untouched[0].sum())
    for role in ROLES:
        table[role] = np.bincount(code, paid * parts[role], size)
    for role in ROLES:
        table[f"share_{role}"] = table[role] / table["conversions"].where(table["conversions"] > 0)
    return table.sort_values(["conversions", "channel"], ascending=[False, True], ignore_index=True)[columns]
