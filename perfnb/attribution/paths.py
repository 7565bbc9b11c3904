"""Paths as numbers, from events or from a table of paths: what the data-driven models count on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from perfnb import journey
from perfnb.errors import BadParameter, MissingColumns

GROUPS = 64
_WORD = 52  # touchpoints that a float tells apart as bits
_DENSE = 10_000_000  # cells of a lookup table that may be made instead of a search
_DEALT = 64  # paths of more persons are dealt to the groups in one draw, the others person by person


@dataclass(frozen=True)
class Coded:
    """Paths as numbers, one row per path and group of persons.

    names        touchpoint labels, sorted; code k means names[k]
    codes        all touches of all rows one after another, in order of time, repeats kept
    starts       row i is codes[starts[i]:starts[i + 1]]; one more than rows
    conversions  that end such a path; `nulls`: such paths without a conversion; `value` of the conversions
    group        0 to GROUPS - 1: the group of persons that a row is of
    untouched    (conversions, value) without a touch, each by group
    definition   how journeys were counted, in a line
    """

    names: tuple
    codes: np.ndarray
    starts: np.ndarray
    conversions: np.ndarray
    nulls: np.ndarray
    value: np.ndarray
    group: np.ndarray
    untouched: tuple
    has_value: bool
    currency: str | None
    definition: str

    @property
    def told(self):
        """What a result says beside its credit: see `noise.columns`."""
        return {name: getattr(self, name) for name in ("untouched", "has_value", "currency", "definition")}

    @property
    def length(self):
        """Touches by row."""
        return np.diff(self.starts)

    @property
    def row(self):
        """The row of each touch."""
        return np.repeat(np.arange(self.length.size), self.length)

    def cells(self):
        """(row, code, cell of each touch): what touchpoints there are in each row, each once."""
        size = max(len(self.names), 1)
        cell, count = numbered(self.row * np.int64(size) + self.codes, self.length.size * size, tight=True)
        row, code = np.empty(count, np.int64), np.empty(count, np.int64)
        row[cell], code[cell] = self.row, self.codes
        return row, code, cell

    def members(self):
        """(row, code) of every touchpoint of every row, each once, by row."""
        cell = np.sort(self.row * np.int64(max(len(self.names), 1)) + self.codes)
        return np.divmod(cell[np.diff(cell, prepend=-1) > 0], max(len(self.names), 1))

    def sets(self):
        """Each set of touchpoints once: their codes one after another, where each begins, and which one a row has."""
        row, code = self.members()
        number = np.zeros(self.length.size, np.int64)
        for first in range(0, len(self.names), _WORD):
            inside = (code >= first) & (code < first + _WORD)
            word, seen = pd.factorize(np.bincount(row[inside], 2.0 ** (code[inside] - first), number.size))
            number = word if first == 0 else pd.factorize(number * len(seen) + word)[0]
        size = np.bincount(row, minlength=number.size)
        ends = np.cumsum(size)
        one = np.empty(int(number.max(initial=-1)) + 1, np.int64)
        one[number] = np.arange(number.size)
        begins = np.cumsum(size[one]) - size[one]
        takes = np.repeat(ends[one] - size[one] - begins, size[one]) + np.arange(size[one].sum())
        return code[takes], begins, number


def coded(source, *, grouped=True, converted=False, **counting):
    """`source` as `Coded`: a touchpoints Table, counted as `journey.Counting` says, or a table of paths.

    A table of paths is a DataFrame with columns path ("a > b > c"), conversions, and
    where known nulls and value (of all the path's conversions), as `journey.paths`
    gives. Its persons are not known one by one: with `grouped` they are dealt to the
    groups at random, always in the same way. Without it all are of one group; with
    `converted` only the paths that end in a conversion are looked at.
    """
    if isinstance(source, pd.DataFrame):
        if counting:
            raise BadParameter(
                f"paths: {', '.join(counting)} can be chosen only while events are counted into paths: "
                "give it to journey.paths"
            )
        converts = pd.to_numeric(source["conversions"]) > 0 if converted and "conversions" in source else slice(None)
        return _from_table(source[converts], grouped)
    looked_at = counting | {"nulls": "none"} if converted else counting
    found = journey.path_counts(source, grouped=grouped, **looked_at)
    groups = found["part"].map(group_of).to_numpy(int) if grouped else np.zeros(len(found), int)
    paths = pa.array(found["path"], pa.string())
    counts = (found[name].to_numpy(float) for name in ("conversions", "nulls", "value"))
    said = {"currency": source.currency("value"), "definition": journey.Counting(**counting).definition}
    return _coded(paths, *counts, groups, separator=journey.BETWEEN, **said)


def persons_known(source):
    """Whether the persons behind the journeys of a source can be told apart: in events, not in a table of paths."""
    return not isinstance(source, pd.DataFrame)


def group_of(digits):
    """The group of persons that the first digits of a person's hash stand for."""
    return int(digits, 16) % GROUPS if isinstance(digits, str) and digits else 0


def _from_table(paths, grouped):
    missing = [name for name in ("path", "conversions") if name not in paths]
    if missing:
        raise MissingColumns(
            f"paths: missing column {', '.join(missing)}; found {', '.join(map(str, paths.columns)) or 'none'}. "
            'Expected path ("a > b > c"), conversions and, where known, nulls and value'
        )
    counts = []
    for name in ("conversions", "nulls", "value"):
        given = (
            pd.to_numeric(paths[name]) if name in paths else pd.Series(0.0 if name == "nulls" else np.nan, paths.index)
        )
        counts.append(given.to_numpy(float, na_value=np.nan if name == "value" else 0.0))
        if name != "value" and not (np.isfinite(counts[-1]).all() and (counts[-1] >= 0).all()):
            raise BadParameter(f"paths: column {name} holds a negative or infinite number; expected counts of paths")
    conversions, nulls, value = counts
    wrong = (conversions == 0) & (np.nan_to_num(value) != 0)
    if wrong.any():
        where = paths["path"].iloc[int(np.flatnonzero(wrong)[0])]
        raise BadParameter(f"paths: {where!r} has a value and no conversion, {int(wrong.sum())} such paths in all")
    text = _texts(paths["path"])
    tight = pc.match_substring(text, ">")
    if pc.any(tight).as_py() and not pc.any(pc.match_substring(text, journey.SEPARATOR)).as_py():
        first = text.filter(tight)[0].as_py()
        raise BadParameter(f"paths: {first!r}: expected spaces around '>', as 'a > b'")
    group = np.zeros(len(paths), int)
    if grouped:
        row, group, conversions, nulls, value = _dealt(conversions, nulls, value)
        text = (text, row)
    currency = paths["currency"].dropna().unique() if "currency" in paths else []
    if len(currency) > 1:
        raise BadParameter(f"paths: amounts in {', '.join(sorted(currency))}: sums over two currencies mean nothing")
    known = currency[0] if len(currency) else None
    said = {"currency": known, "definition": "paths as given"}
    return _coded(text, conversions, nulls, value, group, separator=journey.SEPARATOR, **said)


def _texts(paths):
    """The paths as text, null for those without a touch."""
    text = pa.array(paths, from_pandas=True)
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text  # large columns come in chunks
    text = text.cast(pa.string())
    bare = pc.utf8_trim_whitespace(text)
    without = pc.or_(pc.equal(bare, ""), pc.equal(bare, journey.NO_TOUCH))
    return pc.if_else(without, pa.scalar(None, pa.string()), text)


def _coded(paths, conversions, nulls, value, group, *, separator, **said):
    paths, row = paths if isinstance(paths, tuple) else (paths, np.arange(len(paths)))
    untouched = paths.is_null().to_numpy(zero_copy_only=False)
    parts = pc.split_pattern(paths.fill_null(""), separator)
    flat = parts.flatten()
    # In a table by hand spaces may stand around a touch; names from events are as they are everywhere else.
    flat = (pc.utf8_trim_whitespace(flat) if separator == journey.SEPARATOR else flat).dictionary_encode()
    names = flat.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    codes, offsets = rank[flat.indices.to_numpy()], parts.offsets.to_numpy().astype(np.int64)
    has_value = not np.isnan(value).all()
    value = np.nan_to_num(value)
    alone = untouched[row]
    no_touch = tuple(np.bincount(group[alone], amount[alone], GROUPS) for amount in (conversions, value))
    row = row[~alone]
    length = (offsets[1:] - offsets[:-1])[row]
    starts = np.concatenate([[0], np.cumsum(length)])
    if len(row) != len(paths) or untouched.any():
        codes = codes[np.repeat(offsets[row] - starts[:-1], length) + np.arange(starts[-1])]
    used = np.flatnonzero(np.bincount(codes, minlength=len(names)))  # the empty name of paths without a touch goes
    names = tuple(names[order[k]] for k in used)
    if "" in names:
        raise BadParameter("paths: a path has an empty touch, as 'a >  > b'. Give it a name, or take it out")
    codes = np.searchsorted(used, codes).astype(np.int32)
    amounts = (amount[~alone] for amount in (conversions, nulls, value))
    return Coded(names, codes, starts, *amounts, group[~alone], no_touch, has_value, **said)


def numbered(keys, size, *, tight=False):
    """(numbers from 0 instead of keys below `size`, how many there are)."""
    if size <= _DENSE and not tight:
        return keys, size
    if size <= _DENSE:
        used = np.flatnonzero(np.bincount(keys, minlength=size))
        table = np.zeros(size, np.int64)
        table[used] = np.arange(used.size)
        return table[keys], used.size
    places, kinds = pd.factorize(keys)
    return places.astype(np.int64), kinds.size


def _dealt(conversions, nulls, value):
    """Rows of paths by group: (row, group, conversions, nulls, value), each person dealt to a group at random."""
    dice = np.random.default_rng(0)
    rows = []
    for column, counts in enumerate((conversions, nulls)):
        whole = np.floor(counts).astype(np.int64)
        many = np.flatnonzero(whole > _DEALT)
        few = np.repeat(np.arange(counts.size), np.where(whole > _DEALT, 0, whole))
        dealt = dice.multinomial(whole[many], np.full(GROUPS, 1 / GROUPS))
        part = np.flatnonzero(counts > whole)  # of weights that are no counts
        rows.append(
            pd.DataFrame(
                {
                    "row": np.concatenate([np.repeat(many, GROUPS), few, part]),
                    "group": np.concatenate(
                        [
                            np.tile(np.arange(GROUPS), many.size),
                            dice.integers(GROUPS, size=few.size),
                            dice.integers(GROUPS, size=part.size),
                        ]
                    ),
                    "n": np.concatenate([dealt.ravel(), np.ones(few.size), (counts - whole)[part]]),
                    "column": column,
                }
            )
        )
    found = pd.concat(rows)
    key = found["row"].to_numpy() * GROUPS + found["group"].to_numpy()
    cells, place = np.unique(key, return_inverse=True)
    sums = [np.bincount(place, found["n"] * (found["column"] == column), cells.size) for column in (0, 1)]
    row, group = np.divmod(cells, GROUPS)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(conversions > 0, value / conversions, 0.0)
    keep = (sums[0] > 0) | (sums[1] > 0)
    worth = np.where(np.isnan(value).all(), np.nan, sums[0] * np.nan_to_num(each)[row])
    return row[keep], group[keep], sums[0][keep], sums[1][keep], worth[keep]
