"""Which rows validate when every class is to have its share: the draws of scikit-learn's StratifiedShuffleSplit.

They are the classes' shares of the training rows, then of the validation rows, then a permutation of each class, all
from one generator, so that `train_test_split(..., stratify=labels, random_state=seed)` puts the same rows on each side.
"""

import numpy as np


def stratified_choice(codes: np.ndarray, val_rows: int, seed: int) -> np.ndarray:
    """The places of the rows that validate.

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


def permutation(random: np.random.RandomState, count: int) -> np.ndarray:
    """The numbers below `count` in the order of `random.permutation(count)`, in half of its memory."""
    order = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    random.shuffle(order)
    return order
