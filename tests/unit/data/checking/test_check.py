import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from resvae_ray.config import TrainingConfig
from resvae_ray.data import features as features_module
from resvae_ray.data.checking.advice import advice
from resvae_ray.data.checking.check import check_features, outlier_dimensions
from resvae_ray.data.importers import import_features
from resvae_ray.errors import DataError, UsageError

REQUIRED = {
    *("rows", "dim", "missing", "nonfinite", "duplicate_ids", "duplicate_vectors", "constant_features"),
    *("total_variance", "components_60", "components_90", "outlier_dimensions", "labels", "warnings"),
}


@pytest.fixture(autouse=True)
def one_blas_thread():
    """Several wait for each other many times longer than they compute where the cores are busy."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def matrix():
    """(300, 20) float32: a few strong directions, and much smaller ones."""
    generator = np.random.default_rng(0)
    scales = 2.0 ** -np.arange(20)
    return (generator.normal(size=(300, 20)) * scales @ generator.normal(size=(20, 20)) + 5).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    def write_columns(matrix, name="f.parquet", **columns):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
        pq.write_table(
            pa.table({"id": [f"p{n}" for n in range(len(matrix))], "features": vectors} | columns), tmp_path / name
        )
        return tmp_path / name

    return write_columns


def components(matrix):
    """How many hold 60 % and 90 % of the variance, by scikit-learn's count."""
    pca = PCA(svd_solver="covariance_eigh").fit(matrix.astype(np.float64))
    return tuple(int((pca.explained_variance_ratio_.cumsum() < share).sum()) + 1 for share in (0.6, 0.9))


def test_the_loss_of_the_mean_is_on_the_papers_scale_whatever_the_batch_in_training(matrix, write, monkeypatch):
    expected = check_features(write(matrix)).spread.mean_loss
    monkeypatch.setattr(TrainingConfig, "batch_size", 64)
    assert check_features(write(matrix)).spread.mean_loss == expected


def test_one_protein_under_two_forms_of_its_id_is_reported(tmp_path, make_dataset):
    ids = ["P12345", "sp|P12345|AATM_RABIT", "P12345-2", "AATM_RABIT", "x a", "x b", "Q12345.1", "Q12345.2"]
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(16, dtype=np.float32)), 2)
    pq.write_table(pa.table({"id": ids, "features": column}), tmp_path / "f.parquet")
    check = check_features(tmp_path / "f.parquet")
    assert (check.duplicate_ids, check.duplicate_proteins) == (0, 2)
    assert any(text.startswith("2 rows have the UniProt accession of an earlier one") for text in check.warnings)


@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_figures_are_numpys_and_scikit_learns(batch_rows, matrix, write, monkeypatch):
    monkeypatch.setattr(features_module, "BATCH_BYTES", 80 * batch_rows)
    check = check_features(write(matrix))
    spread, exact = check.spread, matrix.astype(np.float64)
    assert (check.rows, check.dim, check.missing, check.nonfinite, check.problems) == (300, 20, 0, 0, [])
    assert spread.total_variance == pytest.approx(exact.var(0).sum(), rel=1e-10)
    assert spread.mean_loss == pytest.approx(32 * 1000 * exact.var(0).sum(), rel=1e-10)
    stds = exact.std(0)
    assert (spread.std_min, spread.std_median, spread.std_max) == pytest.approx(
        (stds.min(), np.median(stds), stds.max()), rel=1e-10
    )
    assert (check.components.components_60, check.components.components_90) == components(matrix)


def test_json_holds_plain_values(matrix, write):
    record = check_features(write(matrix, label=["a", "b"] * 150)).record()
    assert set(record) >= REQUIRED
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert record["labels"] == {"column": "label", "missing": 0, "counts": {"a": 150, "b": 150}}


@pytest.mark.parametrize("kind", ["list", "fixed", "wide", "tensor"])
def test_missing_and_non_finite_values_are_counted_and_located(kind, matrix, tmp_path):
    values = matrix[:9].tolist()
    values[4][2], values[6][1] = float("nan"), float("-inf")
    values[6][0] = float("inf")
    ids = ["p0", "", "p2", None, "p4", "p5", "p6", "p7", "p8"]
    if kind == "tensor":
        flat = pa.array(np.array(values, np.float32).reshape(-1))
        storage = pa.FixedSizeListArray.from_arrays(flat, 20)
        column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [20]), storage)
        table, missing = pa.table({"id": ids, "features": column}), 2
    else:
        values[5][3], missing = None, 3  # p5 lacks a value: missing, and no finite number
        if kind == "wide":
            table = pa.table({"id": ids} | {f"f{n}": [row[n] for row in values] for n in range(20)})
        else:
            size = 20 if kind == "fixed" else -1
            values[0], missing = None, 4
            table = pa.table({"id": ids, "features": pa.array(values, pa.list_(pa.float32(), size))})
    pq.write_table(table, tmp_path / "f.parquet")
    check = check_features(tmp_path / "f.parquet")
    assert (check.rows, check.missing, check.nonfinite) == (9, missing, 2 if kind == "tensor" else 3)
    first, place = check.first["missing"], check.first["nonfinite"]
    assert (first.row, first.id) == ((1, "p0") if kind in ("list", "fixed") else (2, ""))
    column = "f2" if kind == "wide" else "features[2]"
    assert (place.row, place.id, place.column) == (5, "p4", column)
    whole = [n for n in (0, 2, 5, 7, 8) if values[n] is not None and None not in values[n]]
    assert len(whole) == 9 - check.missing - 2
    assert check.spread.total_variance == pytest.approx(matrix[whole].astype(float).var(0).sum(), rel=1e-9)
    assert (
        check.problems[1]
        == f"{check.nonfinite} rows hold a value that is NaN, infinite or missing, the first is {place}"
    )


def test_places_are_rows_of_their_file(matrix, write, tmp_path):
    (tmp_path / "many").mkdir()
    write(matrix[:100], "many/a.parquet")
    bad = matrix[100:].copy()
    bad[150, 3] = np.nan
    write(bad, "many/b.parquet", id=["p7", *(f"q{n}" for n in range(199))])
    check = check_features(tmp_path / "many")
    assert str(check.first["nonfinite"]).startswith("row 151 (id q149), column features[3] of ")
    place = check.first["duplicate_ids"]
    assert (place.row, place.id, place.file) == (1, "p7", str(tmp_path / "many" / "b.parquet"))
    assert check.duplicate_ids == 1
    assert "1 rows repeat the id of an earlier one" in check.problems[1]


def test_repeated_vectors_and_sequences(matrix, write):
    matrix[[40, 90]] = matrix[3]
    matrix[41] = -0.0
    matrix[42] = 0.0
    sequences = [f"M{n}" for n in range(297)] + ["M0", None, "m 1*"]
    check = check_features(write(matrix, seq=sequences))
    assert (check.duplicate_ids, check.duplicate_vectors, check.duplicate_sequences) == (0, 3, 2)
    assert any("3 rows repeat the vector" in text for text in check.warnings)
    assert any("--group sequence" in text for text in check.warnings)
    assert check_features(write(matrix)).duplicate_sequences is None


def test_constant_features(matrix, write):
    matrix[:, [4, 7]] = 0.1, -3e5
    check = check_features(write(matrix))
    assert check.spread.constant_features == [4, 7]
    assert any("2 features are constant" in text for text in check.warnings)


def test_outlier_dimensions():
    generator = np.random.default_rng(0)
    mean, std = generator.normal(0, 0.1, 1280), np.exp(generator.normal(np.log(0.034), 0.17, 1280))
    assert not len(outlier_dimensions(mean, std))
    mean[[7, 1160]] = 1.0, -9.28
    std[[9, 1160]] = 0.30, 0.30
    assert outlier_dimensions(mean, std).tolist() == [7, 9, 1160]
    assert not len(outlier_dimensions(np.zeros(5), np.ones(5)))


def test_the_papers_outliers_are_found(shared):
    table = pd.read_csv(shared / "data" / "esm2_650m_cls_marginals.csv")
    assert outlier_dimensions(table["mean"].to_numpy(), table["std"].to_numpy()).tolist() == [234, 736, 876, 1160]


@pytest.mark.parametrize(("rows", "total", "constant"), [(1, None, None), (5, 0.0, [0, 1, 2])])
def test_nothing_to_measure(rows, total, constant, write):
    check = check_features(write(np.full((rows, 3), 2.5, np.float32)))
    assert any("nothing to compress" in text for text in check.warnings)
    assert not any("too many" in text for text in check.warnings)
    record = check.record()
    assert (record["total_variance"], record["constant_features"]) == (total, constant)
    assert (record["components_60"], record["linear_r2"]) == (None, None)


def test_features_too_wide_for_their_components(matrix, write, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.moments.LARGEST_MATRIX", 19)
    check = check_features(write(matrix))
    assert check.components is None
    assert check.spread.total_variance == pytest.approx(matrix.astype(float).var(0).sum(), rel=1e-10)
    assert any("300 rows of 20 features are too many for their principal components" in w for w in check.warnings)


def test_features_as_wide_as_segments(write):
    """One square matrix of this width would take 19 GiB."""
    wide = np.random.default_rng(0).normal(size=(6, 51200)).astype(np.float32)
    check = check_features(write(wide))
    assert check.spread.total_variance == pytest.approx(wide.astype(float).var(0).sum(), rel=1e-9)
    assert (check.components.components_60, check.components.components_90) == (3, 5)


def test_a_variance_that_the_kld_outweighs(matrix, write):
    small = ((matrix - 5) * 1e-3).astype(np.float32)
    check = check_features(write(small))
    (text,) = [text for text in check.warnings if "KLD wins" in text]
    assert check.components.linear_r2 < 0.6
    enough = check.components.sufficient_beta
    assert f"set beta = {enough:g} in [training]" in text
    assert check_features(write(small), beta=enough).components.linear_r2 >= 0.9
    scaled = (small * (enough / 1000) ** 0.5).astype(np.float32)
    assert check_features(write(scaled)).components.linear_r2 == pytest.approx(
        check_features(write(small), beta=enough).components.linear_r2, rel=1e-4
    )
    assert not any("KLD wins" in text for text in check_features(write(scaled)).warnings)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((30, 300), "30 rows: fewer than a batch of 32"),
        ((200, 300), "200 rows for 300 features"),
        ((100, 40), "tries up to 50 latents"),
        ((300, 100), "tries 250 to 1000 hidden units"),
    ],
)
def test_shapes_that_disappoint(shape, message, write):
    check = check_features(write(np.random.default_rng(0).normal(size=shape).astype(np.float32)))
    assert any(message in text for text in check.warnings)


def test_few_training_rows_are_memorised_whatever_the_width(matrix, write):
    check = check_features(write(matrix))
    for rows, told in ((39, False), (40, True), (800, True), (1249, True), (1250, False)):
        found = [text for text in advice(replace(check, rows=rows)) if "memorises" in text]
        assert bool(found) is told, rows
    (text,) = [text for text in advice(replace(check, rows=800)) if "memorises" in text]
    assert text.startswith("about 640 training rows: ")
    assert "batch_size = 32" in text


def test_a_width_beyond_the_default_search(matrix, write):
    check = check_features(write(matrix))
    assert any("2,001 features: the default search" in text for text in advice(replace(check, dim=2001)))
    assert not any("default search" in text for text in advice(replace(check, dim=2000)))


def test_nan_that_pandas_wrote_as_missing(matrix, write, tmp_path):
    matrix[7, 2] = np.nan
    table = pd.DataFrame(matrix, columns=[f"e{n}" for n in range(20)]).assign(id=[f"p{n}" for n in range(300)])
    table.to_parquet(tmp_path / "wide.parquet")
    table.assign(features=list(matrix))[["id", "features"]].to_parquet(tmp_path / "list.parquet")
    for name, column in (("wide", "e2"), ("list", "features[2]")):
        check = check_features(tmp_path / f"{name}.parquet")
        assert (check.missing, check.nonfinite) == (1, 1)
        assert (check.first["nonfinite"].row, check.first["nonfinite"].column) == (8, column)


def test_a_common_shape_warns_of_nothing(write):
    matrix = np.random.default_rng(0).normal(size=(1300, 320)).astype(np.float32)
    assert check_features(write(matrix, label=["a", "b"] * 650)).warnings == ()


def test_labels(matrix, write, monkeypatch):
    check = check_features(write(matrix, label=["a"] * 297 + ["b", None, ""]))
    assert (check.labels.missing, check.labels.counts) == (2, {"a": 297, "b": 1})
    assert any("2 rows have no label" in text for text in check.warnings)
    monkeypatch.setattr("resvae_ray.data.checking.check.MOST_CLASSES", 20)
    check = check_features(write(matrix, label=[str(n) for n in range(300)]))
    assert check.labels.counts is None
    assert any("different labels" in text for text in check.warnings)


def test_both_sides_of_a_dataset(make_dataset):
    assert check_features(make_dataset(50, 6)).rows == 50


def test_unreadable_input(matrix, write, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        check_features(tmp_path / "absent.parquet")
    for beta in (0, -1, float("nan"), float("inf"), 1e300):
        with pytest.raises(UsageError, match=f"--beta {re.escape(str(beta))}"):
            check_features(write(matrix), beta=beta)
    vectors = pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["a", "b"], "features": vectors}), tmp_path / "widths.parquet")
    with pytest.raises(DataError, match="row 2, column features: 1 numbers, but 2 in row 1"):
        check_features(tmp_path / "widths.parquet")


@pytest.mark.parametrize(
    ("name", "array", "found"),
    [("amp_esm2_8m_mean320", "embeddings", (5, 25, 173, 0.979)), ("tem1_esm2_8m_mean320", "emb", (6, 36, 2, 0.344))],
)
def test_real_embeddings(name, array, found, shared, tmp_path):
    source = shared / "data" / f"{name}.npz"
    import_features(source, tmp_path / "f.parquet")
    check = check_features(tmp_path / "f.parquet")
    spread, matrix = check.spread, np.load(source)[array]
    assert (check.components.components_60, check.components.components_90) == components(matrix)
    figures = (
        check.components.components_60,
        check.components.components_90,
        check.components.usable_latents,
        round(check.components.linear_r2, 3),
    )
    assert figures == found
    assert any("KLD wins" in text for text in check.warnings) == name.startswith("tem1")
    assert spread.total_variance == pytest.approx(matrix.astype(float).var(0).sum(), rel=1e-9)
