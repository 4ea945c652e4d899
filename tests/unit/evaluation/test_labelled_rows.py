"""Selection of the rows for a probe."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray.data.features import Features
from resvae_ray.evaluation.labelled_rows import TEST, choose_rows, draw, label_codes


def rows(**counts):
    """Classes a, b, c … as 0, 1, 2 …; x means unlabelled."""
    return np.concatenate([np.full(count, "xabcdef".index(name) - 1) for name, count in counts.items()])


def test_probes_learn_from_training_rows_and_are_judged_on_validation_rows():
    found = choose_rows(rows(x=1, a=10, b=9), rows(x=3, a=2, b=4), 1000, 0)
    np.testing.assert_array_equal(found.fit.positions, np.arange(1, 20))
    np.testing.assert_array_equal(found.fit.codes, rows(a=10, b=9))
    np.testing.assert_array_equal(found.test.positions, np.arange(3, 9))
    np.testing.assert_array_equal(found.test.codes, rows(a=2, b=4))
    assert (found.fit.of, found.test.of, found.unlabelled, found.classes) == (19, 6, 4, 2)


def test_classes_with_too_few_training_rows_are_left_out_on_both_sides_and_counted():
    found = choose_rows(rows(a=30, b=5, c=4), rows(a=3, c=30, d=2), 1000, 0)
    assert set(found.fit.codes) == {0, 1}
    assert set(found.test.codes) == {0}
    assert (found.dropped_classes, found.dropped_rows) == (2, 4 + 30 + 2), "c and d"
    assert found.classes == 1


def test_too_many_rows_of_a_side_are_drawn_by_the_seed():
    train, val = rows(a=500, b=500), rows(a=300, b=5, c=2)
    first, again, other = (choose_rows(train, val, 100, seed) for seed in (0, 0, 1))
    assert (len(first.fit.codes), first.fit.of) == (100, 1000)
    assert (len(first.test.codes), first.test.of) == (100, 305)
    for side in ("fit", "test"):
        positions = [getattr(found, side).positions for found in (first, again, other)]
        np.testing.assert_array_equal(positions[0], positions[1])
        assert not np.array_equal(positions[0], positions[2])
        assert (np.diff(positions[0]) > 0).all()


def test_nothing_to_probe():
    for train, val in ((rows(x=9), rows(x=3)), (rows(a=9), rows(a=3)), (np.arange(9), np.arange(9, 12))):
        assert choose_rows(train, val, 100, 0).classes < 2


def test_all_rows_if_they_are_few():
    np.testing.assert_array_equal(draw(5, 5, 0, TEST), np.arange(5))
    assert len(set(draw(10**9, 50, 3, TEST).tolist())) == 50


def test_labels_become_numbers_that_both_sides_share(tmp_path):
    vectors = pa.array([[1.0]] * 5, pa.list_(pa.float32(), 1))
    known = {}
    for name, labels, expected in (
        ("a", ["x", None, "y", "", "x"], [0, -1, 1, -1, 0]),
        ("b", ["z", "y", None, "y", "x"], [2, 1, -1, 1, 0]),
    ):
        table = pa.table({"id": [f"{name}{n}" for n in range(5)], "features": vectors, "label": labels})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
        codes = label_codes(Features.open(tmp_path / f"{name}.parquet"), known)
        np.testing.assert_array_equal(codes, expected)
    assert set(known) == {"x", "y", "z"}
