"""Which rows validate: each rule turns FEATURES into a mask, True for the validation side.

A rule is a function `rule(source, keep, request)`: `keep` (n, bool) marks the rows that are not left out; the result
(n, bool) selects some of them. To add a rule, write its function and its line in RULES; define its flag in
`_add_split` of cli/data_verbs.py.

A rule needs 8 to 20 bytes of memory per row: it holds texts as hashes or codes and never reads the features.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resvae_ray.data.features import Features
from resvae_ray.data.hashes import members
from resvae_ray.data.layout import some_names
from resvae_ray.data.other_tables import id_list
from resvae_ray.data.row_texts import coded, column_called, hashed, require_texts
from resvae_ray.data.same_protein import ProteinIds, match_ids
from resvae_ray.errors import DataError, UsageError
from resvae_ray.names import LABEL

VAL_FRACTION = 0.2
NEEDED = {"group": "--group COLUMN: the column of groups", "given": "--val-ids FILE: the file of ids"}


@dataclass(frozen=True)
class SplitRequest:
    """A rule by its name in RULES and what it goes by.

    Attributes:
        rule: a key of RULES.
        by: the column of the groups or the labels, or the file of ids.
        val_fraction: of the rows that are to validate.
        seed: of the draw, or the salt of the hash.
    """

    rule: str = "random"
    by: str = ""
    val_fraction: float = VAL_FRACTION
    seed: int = 0

    def val_rows(self, rows: int) -> int:
        """Number of validation rows: the fraction of `rows`, rounded up as in scikit-learn."""
        return math.ceil(self.val_fraction * rows)

    def validation_rows(self, source: Features, keep: np.ndarray) -> np.ndarray:
        """Which rows validate (n, bool), among those to `keep` (n, bool).

        Raises:
            DataError: too few rows for one of the sides, or rows that the rule cannot place.
            UsageError: the column does not exist.
        """
        is_val = RULES[self.rule](source, keep, self)
        rows, val = int(keep.sum()), int(is_val.sum())
        if rows - val < 2 or val < 1:
            raise DataError(
                f"{source.path}: {rows} rows give {rows - val} for training and {val} for validation; "
                "at least 2 and 1 are needed"
            )
        return is_val

    def record(self) -> dict[str, Any]:
        """The rule with all that it depends on, for dataset.json."""
        unused = {"given": ("val_fraction", "seed"), "random": ("by",), "hash": ("by",)}.get(self.rule, ())
        return {key: value for key, value in asdict(self).items() if key not in unused}


def split_request(
    rule: str = "random", by: str | None = None, val_fraction: float | None = None, seed: int | None = None
) -> SplitRequest:
    """The rule as the user asked for it; what is None has its default.

    Raises:
        UsageError: no such rule, a rule without its column or file, a fraction or seed out of range.
    """
    if rule not in RULES:
        raise UsageError(f"split rule {rule!r}: expected one of {', '.join(RULES)}")
    if rule == "given" and not (val_fraction is None and seed is None):
        raise UsageError("--val-ids says which rows validate; leave out --val-fraction and --seed")
    if rule in NEEDED and not by:
        raise UsageError(f"{NEEDED[rule]} is missing")
    fraction, seed = VAL_FRACTION if val_fraction is None else val_fraction, seed or 0
    if not 0 < fraction < 1:
        raise UsageError(f"--val-fraction {fraction}: expected a fraction between 0 and 1, such as 0.2")
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: expected a whole number from 0 to {2**32 - 1}")
    return SplitRequest(rule, by or (LABEL if rule == "stratified" else ""), fraction, seed)


def random_rows(source: Features, keep: np.ndarray, request: SplitRequest) -> np.ndarray:
    """The first of a random permutation: the rows of scikit-learn's `train_test_split(test_size, random_state)`."""
    rows = int(keep.sum())
    return _among(keep, permutation(np.random.RandomState(request.seed), rows)[: request.val_rows(rows)])


def whole_groups(source: Features, keep: np.ndarray, request: SplitRequest) -> np.ndarray:
    """No group on both sides; of the groups in a random order, each validates that still fits into the fraction.

    The rows that validate miss the fraction by at most half of the smallest group that trains, or are the smallest
    group where all are larger than the fraction; the order of the rows does not matter. scikit-learn's
    GroupShuffleSplit takes the fraction of the *groups*, regardless of their sizes, which is wrong here: with one large
    family the validation side would have a few rows, or nearly all of them.
    """
    groups = hashed(require_texts(source, column_called(source, request.by), keep), len(keep))
    names, sizes = np.unique(groups[keep], return_counts=True)
    order = permutation(np.random.RandomState(request.seed), len(names))
    return keep & members(groups, names[_that_fit(sizes, order, request.val_rows(int(keep.sum())))])


def _that_fit(sizes: np.ndarray, order: np.ndarray, target: int) -> np.ndarray:
    """Which groups (g, bool) come to nearly `target` rows, taken in `order` if they fit into what is left of it."""
    chosen = np.zeros(len(sizes), dtype=bool)
    left, waiting = target, order
    while len(waiting := waiting[sizes[waiting] <= left]):
        taken = waiting[: np.searchsorted(np.cumsum(sizes[waiting]), left, side="right")]
        chosen[taken] = True
        left -= int(sizes[taken].sum())
        waiting = waiting[len(taken) :]
    rest = order[~chosen[order]]
    smallest = rest[sizes[rest].argmin()] if len(rest) > 1 else None
    if smallest is not None and (left == target or sizes[smallest] - left < left):
        chosen[smallest] = True
    return chosen


def hashed_ids(source: Features, keep: np.ndarray, request: SplitRequest) -> np.ndarray:
    """A protein's side follows from its id and the seed alone, so it stays there when rows are added or moved.

    It validates if the first 8 bytes of BLAKE2b of its id, salted with the seed, as a little-endian number are below
    `val_fraction * 2**64`; so the fraction is met as chance has it.
    """
    limit = np.uint64(min(int(request.val_fraction * 2**64), 2**64 - 1))
    salt = request.seed.to_bytes(4, "little")
    return keep & np.concatenate([_salted(ids, salt) < limit for ids in source.ids()])


def _salted(ids: pa.Array, salt: bytes) -> np.ndarray:
    texts = pc.fill_null(ids, "").to_pylist()
    digests = (hashlib.blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in texts)
    return np.frombuffer(b"".join(digests), "<u8")


def stratified_rows(source: Features, keep: np.ndarray, request: SplitRequest) -> np.ndarray:
    """Each class with its share on both sides: the rows of `train_test_split(..., stratify=labels)`, labels as text."""
    column = column_called(source, request.by)
    codes, labels = coded(require_texts(source, column, keep), len(keep))
    codes = codes[keep]
    counts = np.bincount(codes, minlength=len(labels))
    if alone := [labels[code] for code in np.flatnonzero(counts == 1)]:
        raise DataError(
            f"{source.path}: column {column}: only one row has the class {some_names(alone)}; a class needs 2 to "
            "stand on both sides: merge or remove small classes"
        )
    val = request.val_rows(len(codes))
    if min(val, len(codes) - val) < (classes := np.count_nonzero(counts)):
        raise DataError(
            f"{source.path}: {len(codes) - val} rows to train on and {val} to validate cannot each hold the "
            f"{classes} classes of column {column}; change --val-fraction, or merge small classes"
        )
    return _among(keep, stratified_choice((np.cumsum(counts > 0) - 1)[codes], val, request.seed))


def stratified_choice(codes: np.ndarray, val_rows: int, seed: int) -> np.ndarray:
    """The places of the rows that validate, when every class is to have its share: as StratifiedShuffleSplit draws.

    It draws the classes' shares of the training rows, then of the validation rows, then a permutation of each class,
    all from one generator.

    Args:
        codes: the class of each row (n), numbered from 0 in the order of the labels; no class is without rows.
        val_rows: how many validate.
    """
    random = np.random.RandomState(seed)
    counts = np.bincount(codes)
    train_shares = shares(counts, len(codes) - val_rows, random)
    val_shares = shares(counts - train_shares, val_rows, random)
    by_class = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    return np.concatenate(
        [
            rows[permutation(random, len(rows))[train : train + val]]
            for rows, train, val in zip(by_class, train_shares, val_shares, strict=True)
        ]
    )


def shares(counts: np.ndarray, draws: int, random: np.random.RandomState) -> np.ndarray:
    """How many of `draws` rows each class (k) gives: its proportion rounded down, the rest to the largest remainders.

    Ties are drawn, and drawn also where all of them win, because scikit-learn draws there.
    """
    exact = counts / counts.sum() * draws
    whole = np.floor(exact)
    remainders = exact - whole
    left = int(draws - whole.sum())
    for remainder in np.unique(remainders)[::-1]:
        if left <= 0:
            break
        tied = np.flatnonzero(remainders == remainder)
        winners = random.choice(tied, size=min(len(tied), left), replace=False)
        whole[winners] += 1
        left -= len(winners)
    return whole.astype(int)


def given_ids(source: Features, keep: np.ndarray, request: SplitRequest) -> np.ndarray:
    """The rows whose ids a file lists; ids are compared in the forms of same_protein.py."""
    return keep & (listed_forms(source, request.by) >= 0)


def listed_forms(source: Features, path: str) -> np.ndarray:
    """The answer of `match_ids` (n) for a list of ids.

    Raises:
        DataError: it cannot be read, lists no ids, some that are not there, or numbers of rows.
    """
    table, column = id_list(path)
    if table.has_columns and table.is_numbered(column):
        raise DataError(
            f"{path}: its ids are row numbers, which belong to one table; list ids, or numbers one per line in a text"
        )
    listed, ours = ProteinIds(lambda: _not_empty(table.ids(column))), ProteinIds(source.ids)
    count = sum(map(len, _not_empty(table.ids(column))))
    if not count:
        raise DataError(f"{path}: it lists no ids")
    unknown = match_ids(listed, ours, count) < 0
    if unknown.any():
        names = pa.concat_arrays(list(_not_empty(table.ids(column)))).filter(pa.array(unknown)).unique().to_pylist()
        kinds = "" if ours.kind.name == listed.kind.name else f"; these are {listed.kind}, those are {ours.kind}"
        raise DataError(f"{path}: {len(names):,} of its ids are not in {source.path}: {some_names(names)}{kinds}")
    return match_ids(ours, listed, source.rows)


def _not_empty(pieces: Iterable[pa.Array]) -> Iterator[pa.Array]:
    return (texts.filter(pc.not_equal(pc.fill_null(texts, ""), "")) for texts in pieces)


def permutation(random: np.random.RandomState, count: int) -> np.ndarray:
    """The numbers below `count` in the order of `random.permutation(count)`, in half of its memory."""
    order = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    random.shuffle(order)
    return order


Rule = Callable[[Features, np.ndarray, SplitRequest], np.ndarray]

RULES: dict[str, Rule] = {
    "random": random_rows,
    "group": whole_groups,
    "hash": hashed_ids,
    "stratified": stratified_rows,
    "given": given_ids,
}


def _among(keep: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Marks (n, bool) the rows at the positions `chosen` among those to keep."""
    of_kept = np.zeros(int(keep.sum()), dtype=bool)
    of_kept[chosen] = True
    is_val = np.zeros(len(keep), dtype=bool)
    is_val[keep] = of_kept
    return is_val
