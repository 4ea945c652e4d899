import numpy as np

from resvae_ray.data.features import Features
from resvae_ray.data.importers import import_features
from resvae_ray.data.synthetic import LABELS, RANK, synthetic_batches, write_synthetic_csv


def test_it_has_the_sizes_of_the_papers_training_set():
    features = np.concatenate([batch.features for batch in synthetic_batches(3000)])
    assert features.shape == (3000, 1280)
    assert 1.5 < features.var(0).sum() < 2.0
    assert 0.030 < np.median(features.std(0)) < 0.038
    assert -9.4 < features.mean(0).min() < -9.1
    share = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    assert 0.55 < share[:RANK].sum() / share.sum() < 0.80
    assert share[RANK + 40 :].max() / share.sum() < 0.01


def test_it_is_the_same_for_the_same_seed_however_much_is_drawn():
    few = next(synthetic_batches(1024, 8))
    many = next(synthetic_batches(5000, 8))
    np.testing.assert_array_equal(few.features, many.features)
    assert few.ids == many.ids
    assert not np.array_equal(few.features, next(synthetic_batches(1024, 8, seed=1)).features)


def test_it_says_what_it_is(tmp_path):
    write_synthetic_csv(tmp_path / "a.csv", 50, 5)
    import_features(tmp_path / "a.csv", tmp_path / "a.parquet")
    batch = next(Features.open(tmp_path / "a.parquet").batches())
    np.testing.assert_array_equal(batch.features, next(synthetic_batches(50, 5)).features)
    assert all(name.startswith("SYN") for name in batch.ids.to_pylist())
    assert set(batch.others.column("label").to_pylist()) <= set(LABELS)
    assert all(name.startswith("synthetic") for name in LABELS)
