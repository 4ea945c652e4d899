import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from resvae_ray.data.features import Features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.splitting.split_rules import RULES, _that_fit, split_request
from resvae_ray.errors import DataError, UsageError


@pytest.fixture
def write(tmp_path):
    """Writes FEATURES with some columns; ids are p0, p1, … if none are given."""

    def write_columns(name="f.parquet", **columns):
        rows = len(next(iter(columns.values())))
        vectors = np.random.default_rng(0).normal(size=rows * 2).astype(np.float32)
        features = pa.FixedSizeListArray.from_arrays(pa.array(vectors), 2)
        pq.write_table(
            pa.table({"id": [f"p{n}" for n in range(rows)], "features": features} | columns), tmp_path / name
        )
        return tmp_path / name

    return write_columns


def sides(dataset):
    return [
        [name for batch in Features.open(dataset.path / side).ids() for name in batch.to_pylist()]
        for side in ("train", "val")
    ]


def label_of(path, column):
    table = pq.read_table(path, columns=["id", column])
    return dict(zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True))


class TestStratified:
    @pytest.mark.parametrize("seed", [0, 1, 17])
    @pytest.mark.parametrize("fraction", [0.1, 0.2, 0.37])
    @pytest.mark.parametrize("sizes", [(50, 50), (3, 80, 17, 17, 17), (200, 2, 2, 2, 31), (10,) * 10])
    def test_membership_is_scikit_learns(self, seed, fraction, sizes, write, tmp_path):
        labels = np.repeat([f"class {n}" for n in range(len(sizes))], sizes)
        np.random.default_rng(seed).shuffle(labels)
        path = write(label=labels.tolist())
        dataset = split_features(path, tmp_path / "d", rule="stratified", val_fraction=fraction, seed=seed)
        ids = np.array([f"p{n}" for n in range(len(labels))])
        train, val = train_test_split(ids, test_size=fraction, random_state=seed, stratify=labels)
        found = sides(dataset)
        assert (set(found[0]), set(found[1])) == (set(train), set(val))

    def test_by_another_column_with_rows_left_out(self, write, tmp_path):
        kinds = ["y", "x", "z", "x"] * 20
        path = write(kind=kinds)
        (tmp_path / "other.csv").write_text("id\np0\np5\np9\n")
        dataset = split_features(
            path, tmp_path / "d", rule="stratified", by="kind", exclude=tmp_path / "other.csv", drop=True
        )
        kept = [n for n in range(80) if n not in (0, 5, 9)]
        _, val = train_test_split(kept, test_size=0.2, random_state=0, stratify=[kinds[n] for n in kept])
        assert set(sides(dataset)[1]) == {f"p{n}" for n in val}
        assert dataset.split == {"rule": "stratified", "by": "kind", "val_fraction": 0.2, "seed": 0}

    def test_a_class_of_excluded_rows_is_not_counted(self, write, tmp_path):
        path = write(label=["gone", *["a", "b"] * 10])
        (tmp_path / "other.csv").write_text("id\np0\n")
        dataset = split_features(path, tmp_path / "d", rule="stratified", exclude=tmp_path / "other.csv", drop=True)
        assert (dataset.train_rows, dataset.val_rows) == (16, 4)

    def test_a_class_with_one_row_is_named(self, write, tmp_path):
        path = write(label=["rare", *["a"] * 9])
        with pytest.raises(DataError, match="only one row has the class 'rare'; a class needs 2"):
            split_features(path, tmp_path / "d", rule="stratified")

    def test_more_classes_than_rows_to_validate(self, write, tmp_path):
        path = write(label=list("aabbccdd"))
        with pytest.raises(DataError, match="6 rows to train on and 2 to validate cannot each hold the 4 classes"):
            split_features(path, tmp_path / "d", rule="stratified")

    def test_a_missing_label_is_named(self, write, tmp_path):
        with pytest.raises(DataError, match="row 4, column label: the value is missing"):
            split_features(write(label=["a", "b", "a", None, "b"]), tmp_path / "d", rule="stratified")


class TestGroup:
    @pytest.mark.parametrize("seed", range(4))
    def test_no_group_on_both_sides_and_the_fraction_met(self, seed, write, tmp_path):
        clusters = np.random.default_rng(seed).zipf(1.6, 600).clip(max=80).astype(str).tolist()
        path = write(cluster=clusters)
        dataset = split_features(path, tmp_path / "d", rule="group", by="cluster", seed=seed)
        cluster = label_of(path, "cluster")
        train, val = ({cluster[name] for name in side} for side in sides(dataset))
        assert not train & val
        assert train | val == set(clusters)
        smallest = min(clusters.count(name) for name in train)
        assert abs(dataset.val_rows - 120) <= smallest / 2
        assert dataset.split == {"rule": "group", "by": "cluster", "val_fraction": 0.2, "seed": seed}

    def test_it_does_not_depend_on_the_order_of_rows_and_batches(self, write, tmp_path, monkeypatch):
        clusters = np.random.default_rng(0).integers(0, 40, 300).astype(str)
        one = split_features(write(cluster=clusters.tolist()), tmp_path / "one", rule="group", by="cluster")
        monkeypatch.setattr("resvae_ray.data.parquet_pieces.ID_BATCH_ROWS", 7)
        order = np.random.default_rng(1).permutation(300)
        moved = write("m.parquet", id=[f"p{n}" for n in order], cluster=clusters[order].tolist())
        other = split_features(moved, tmp_path / "two", rule="group", by="cluster")
        assert [set(side) for side in sides(one)] == [set(side) for side in sides(other)]

    def test_the_seed_matters(self, write, tmp_path):
        path = write(cluster=[str(n // 3) for n in range(90)])
        made = {
            frozenset(sides(split_features(path, tmp_path / str(seed), rule="group", by="cluster", seed=seed))[1])
            for seed in range(4)
        }
        assert len(made) == 4

    def test_groups_larger_than_the_fraction(self, write, tmp_path):
        path = write(cluster=["a"] * 50 + ["b"] * 30 + ["c"] * 40)
        dataset = split_features(path, tmp_path / "d", rule="group", by="cluster", val_fraction=0.1)
        assert dataset.val_rows == 30

    def test_one_group_alone_cannot_be_split(self, write, tmp_path):
        with pytest.raises(DataError, match="9 rows give 9 for training and 0 for validation"):
            split_features(write(cluster=["a"] * 9), tmp_path / "d", rule="group", by="cluster")

    def test_a_missing_group_is_named(self, write, tmp_path):
        path = write(cluster=["a", "b", "", "a", None])
        with pytest.raises(DataError, match="f.parquet: row 3, column cluster: the value is missing"):
            split_features(path, tmp_path / "d", rule="group", by="cluster")
        (tmp_path / "other.csv").write_text("id\np2\np4\n")
        split_features(path, tmp_path / "d", rule="group", by="cluster", exclude=tmp_path / "other.csv", drop=True)

    def test_an_unknown_column_is_named(self, write, tmp_path):
        with pytest.raises(UsageError, match="no column 'clusters'; the columns are 'id', 'cluster'"):
            split_features(write(cluster=list("abc")), tmp_path / "d", rule="group", by="clusters")

    def test_numbers_and_other_spellings_of_the_column(self, write, tmp_path):
        path = write(Cluster=[1, 1, 2, 2, 3, 3])
        assert split_features(path, tmp_path / "d", rule="group", by="cluster").val_rows == 2
        path = write("g.parquet", seq=["M", "M", "MA", "MA", "MB", "MB"])
        assert split_features(path, tmp_path / "e", rule="group", by="sequence").sequences_on_both_sides == 0

    @pytest.mark.parametrize("seed", range(20))
    def test_the_chosen_groups_are_those_of_a_walk_one_by_one(self, seed):
        generator = np.random.default_rng(seed)
        sizes, target = generator.integers(1, 30, 25), int(generator.integers(5, 200))
        order, left, expected = generator.permutation(25), target, set()
        for group in order:
            if sizes[group] <= left:
                expected.add(int(group))
                left -= sizes[group]
        chosen = set(np.flatnonzero(_that_fit(sizes, order, target)).tolist())
        assert expected <= chosen
        assert len(chosen - expected) <= 1
        assert abs(sizes[list(chosen)].sum() - target) <= left


class TestHash:
    def test_a_protein_stays_on_its_side(self, write, tmp_path):
        names = [f"P{n:05d}" for n in range(400)]
        small = split_features(write("a.parquet", id=names[:250]), tmp_path / "a", rule="hash", seed=3)
        grown = [names[n] for n in np.random.default_rng(0).permutation(400)]
        large = split_features(write("b.parquet", id=grown), tmp_path / "b", rule="hash", seed=3)
        for before, after in zip(sides(small), sides(large), strict=True):
            assert set(before) < set(after)
        assert large.split == {"rule": "hash", "val_fraction": 0.2, "seed": 3}

    def test_its_rule_is_written_down_and_does_not_change(self, write, tmp_path):
        """The side of a protein must be the same in every version: BLAKE2b, salted, as the docstring says."""
        import hashlib

        names = [f"P{n:05d}" for n in range(300)]
        dataset = split_features(write(id=names), tmp_path / "d", rule="hash", val_fraction=0.3, seed=258)
        salt = bytes([2, 1, 0, 0])
        digests = {name: hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest() for name in names}
        expected = [name for name in names if int.from_bytes(digests[name], "little") / 2**64 < 0.3]
        assert sides(dataset)[1] == expected
        assert 60 < len(expected) < 120

    def test_the_seed_salts_it(self, write, tmp_path):
        path = write(id=[f"P{n}" for n in range(100)])
        one, two = (split_features(path, tmp_path / str(seed), rule="hash", seed=seed) for seed in (0, 1))
        assert sides(one) != sides(two)


class TestGiven:
    def test_a_text_file(self, write, tmp_path):
        (tmp_path / "val").write_bytes(b"\xef\xbb\xbfp3\r\n\r\n p7 \np3\n")
        dataset = split_features(write(label=["x"] * 10), tmp_path / "d", rule="given", by=tmp_path / "val")
        assert sides(dataset)[1] == ["p3", "p7"]
        assert dataset.split == {"rule": "given", "by": str(tmp_path / "val")}

    @pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "parquet"])
    def test_a_table(self, ending, write, tmp_path):
        table = pd.DataFrame({"Entry": ["p3", "p7"], "note": ["a", "b"]})
        path = tmp_path / f"val.{ending}"
        if ending == "parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
        dataset = split_features(write(label=["x"] * 10), tmp_path / "d", rule="given", by=path)
        assert sides(dataset)[1] == ["p3", "p7"]

    def test_unknown_ids_are_named(self, write, tmp_path):
        (tmp_path / "val.txt").write_text("p3\nq1\nq2\nq1\n")
        with pytest.raises(DataError, match=r"val.txt: 2 of its ids are not in .*f.parquet: 'q1', 'q2'"):
            split_features(write(label=["x"] * 10), tmp_path / "d", rule="given", by=tmp_path / "val.txt")
        assert not (tmp_path / "d").exists()

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("val.txt", "", "it lists no ids"),
            ("val.csv", "what\np3\n", "no id column; the columns are 'what'"),
            ("val.bin", b"\xff\xfe\x00", "neither text nor a format that is read"),
            ("absent.txt", None, "absent.txt: no such file"),
            ("absent.csv", None, "absent.csv"),
        ],
    )
    def test_bad_lists(self, name, content, message, write, tmp_path):
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=message):
            split_features(write(label=["x"] * 10), tmp_path / "d", rule="given", by=tmp_path / name)

    def test_listed_rows_that_are_left_out_do_not_validate(self, write, tmp_path):
        (tmp_path / "val.txt").write_text("p3\np7\n")
        (tmp_path / "other.csv").write_text("id\np3\n")
        dataset = split_features(
            write(label=["x"] * 10),
            tmp_path / "d",
            rule="given",
            by=tmp_path / "val.txt",
            exclude=tmp_path / "other.csv",
            drop=True,
        )
        assert (sides(dataset)[1], dataset.train_rows, dataset.excluded) == (["p7"], 8, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "clusters"}, "expected one of random, group, hash, stratified, given"),
        ({"rule": "group"}, "--group COLUMN: the column of groups is missing"),
        ({"rule": "given"}, "--val-ids FILE: the file of ids is missing"),
        ({"rule": "given", "by": "x", "seed": 0}, "leave out --val-fraction and --seed"),
        ({"rule": "given", "by": "x", "val_fraction": 0.2}, "leave out --val-fraction and --seed"),
        ({"rule": "hash", "val_fraction": 1.0}, "--val-fraction 1.0"),
        ({"rule": "hash", "seed": 2**32}, "--seed 4294967296"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(UsageError, match=message):
        split_request(**options)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_recorded_and_makes_the_same_again(rule, write, tmp_path):
    path = write(label=list("aabbb") * 8, cluster=[str(n // 4) for n in range(40)])
    (tmp_path / "val.txt").write_text("p1\np2\n")
    by = {"group": "cluster", "given": tmp_path / "val.txt"}.get(rule)
    one = split_features(path, tmp_path / "one", rule=rule, by=by)
    recorded = json.loads((tmp_path / "one" / "dataset.json").read_text())["split"]
    again = split_features(path, tmp_path / "two", **recorded)
    assert recorded["rule"] == rule
    assert again.fingerprint == one.fingerprint
