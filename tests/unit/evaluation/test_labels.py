"""Which rows a probe gets."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resvae_ray.data.features import Features
from resvae_ray.evaluation.probe import choose_rows, draw, label_codes


def rows(**counts):
    """Classes a, b, c … as 0, 1, 2 …; x is no label."""
    return np.concatenate([np.full(count, "xabcdef".index(name) - 1) for name, count in counts.items()])


def test_validation_rows_where_each_class_has_enough():
    found = choose_rows(rows(a=100, b=100), rows(x=3, a=25, b=40), 1000, 0)
    assert found.sides == ("val",)
    assert (found.of, found.unlabelled, found.dropped_rows, found.classes) == (65, 3, 0, 2)
    assert found.positions.min() == 3, "rows without a label are not probed"
    np.testing.assert_array_equal(found.codes, rows(a=25, b=40))


def test_all_rows_where_one_class_has_not():
    found = choose_rows(rows(a=100, b=10), rows(a=100, b=24), 1000, 0)
    assert found.sides == ("train", "val")
    assert "a class has only 24 among the validation rows and 25 are wanted" in found.reason
    assert found.of == 234
    np.testing.assert_array_equal(found.codes, rows(a=100, b=10, c=0).tolist() + rows(a=100, b=24).tolist())


def test_classes_too_small_for_the_folds_are_left_out_and_counted():
    found = choose_rows(rows(a=30, b=30, c=4), rows(a=30, b=30, d=2), 1000, 0)
    assert found.sides == ("val",), "classes that nobody can probe do not call for the training rows"
    assert (found.dropped_classes, found.dropped_rows, found.classes) == (1, 2, 2)
    found = choose_rows(rows(a=30, b=6, c=4, d=4), rows(a=30, b=3, d=2), 1000, 0)
    assert found.sides == ("train", "val")
    assert (found.dropped_classes, found.dropped_rows, found.classes) == (1, 4, 3), "c, but not d: 4 and 2 rows"


def test_too_many_rows_are_drawn_by_the_seed():
    train, val = rows(a=500, b=5), rows(a=500, b=500, c=2)
    first, again, other = (choose_rows(train, val, 100, seed) for seed in (0, 0, 1))
    assert first.of == 1002
    assert len(first.codes) + first.dropped_rows == 100
    np.testing.assert_array_equal(first.positions, again.positions)
    assert not np.array_equal(first.positions, other.positions)
    assert (np.diff(first.positions) > 0).all()
    assert first.dropped_classes == 1, "counted though no row of it may have been drawn"


def test_nothing_to_probe():
    for train, val in ((rows(x=9), rows(x=3)), (rows(a=9), rows(a=3)), (np.arange(9), np.arange(9, 12))):
        assert choose_rows(train, val, 100, 0).classes < 2


def test_all_rows_if_they_are_few():
    np.testing.assert_array_equal(draw(5, 5, 0), np.arange(5))
    assert len(set(draw(10**9, 50, 3).tolist())) == 50


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
