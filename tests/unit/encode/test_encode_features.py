"""Choice of the model, allowed output paths, and handling of an incomplete output."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import Features
from resvae_ray.data.layout import ColumnChoice
from resvae_ray.data.schema import vector_type
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.encode.latents import Output, weights_hash
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.model.axes import fit_axes
from resvae_ray.model.network import ResVAE


@pytest.fixture
def features(make_features, tmp_path):
    (tmp_path / "features").mkdir()
    return make_features(40, 6).rename(tmp_path / "features" / "a.parquet").parent


def latents_in(folder):
    return np.stack(pq.read_table(folder / "a.parquet")["z"].to_pylist())


def test_a_model_that_replaced_another_under_its_name_encodes(model, features, tmp_path, encoded):
    """The process has already encoded with the other model."""
    encode_features(model, features, tmp_path / "first")
    torch.manual_seed(1)
    other = ResVAE(6, 16, 3).save_pretrained(tmp_path / "other")
    model.rename(tmp_path / "old")
    other.rename(model)
    encode_features(model, features, tmp_path / "second")
    x = torch.tensor(next(Features.open(features).batches()).features)
    with torch.inference_mode():
        expected = ResVAE.from_pretrained(model).encode(x)[0].numpy()
    assert np.allclose(latents_in(tmp_path / "second"), expected, atol=1e-6)
    assert not np.allclose(latents_in(tmp_path / "second"), latents_in(tmp_path / "first"), atol=1e-2)


def test_axes_are_written_beside_the_latents(model, features, tmp_path, encoded, make_dataset):
    dataset = make_dataset(60, 6)
    encode_features(model, features, tmp_path / "latents", axes=dataset)
    table = pq.read_table(tmp_path / "latents" / "a.parquet")
    fitted = fit_axes(ResVAE.from_pretrained(model), Dataset.open(dataset))
    z, axes = (np.stack(table[name].to_pylist()) for name in ("z", "axes"))
    assert table.schema.field("axes").type == vector_type(3)
    assert axes == pytest.approx(fitted.scores(z), abs=1e-6)
    plain = encode_features(model, features, tmp_path / "plain")
    assert plain == 40
    assert "axes" not in pq.read_table(tmp_path / "plain" / "a.parquet").column_names


def test_latents_along_other_axes_are_others(model, features, tmp_path, encoded, make_dataset):
    """A job resumes with the same DATASET only."""
    first = make_dataset(60, 6)
    encode_features(model, features, tmp_path / "latents", axes=first)
    encode_features(model, features, tmp_path / "latents", axes=first)
    other = tmp_path / "other"
    first.rename(tmp_path / "first")
    make_dataset(80, 6).rename(other)
    for axes in (None, other):
        with pytest.raises(UsageError, match="holds latents of another model, other features or other options"):
            encode_features(model, features, tmp_path / "latents", axes=axes)


def test_a_job_resumes_along_its_original_axes(model, features, tmp_path, encoded, make_dataset, monkeypatch):
    """Axes that another machine fits again may be rotated differently."""
    target, dataset = tmp_path / "latents", make_dataset(60, 6)
    encode_features(model, features, target, axes=dataset)
    whole = (target / "a.parquet").read_bytes()
    (target / "a.parquet").unlink()
    monkeypatch.setattr("resvae_ray.encode.encode_features.fit_axes", lambda *_: pytest.fail("fitted again"))
    encode_features(model, features, target, axes=dataset)
    assert (target / "a.parquet").read_bytes() == whole


@pytest.mark.parametrize(
    "damage", ['{"mean": [0.0]}', "[]", '{"mean": [0.0], "turn": [[1.0], [2.0]]}', '{"mean": [NaN], "turn": [[1.0]]}']
)
def test_damaged_axes_are_refused(damage, model, features, tmp_path, encoded, make_dataset):
    target, dataset = tmp_path / "latents", make_dataset(60, 6)
    encode_features(model, features, target, axes=dataset)
    (target / "a.parquet").unlink()
    (target / "_axes.json").write_text(damage)
    with pytest.raises(DataError, match=r"_axes.json: damaged; remove it and the latents beside it, and encode again"):
        encode_features(model, features, target, axes=dataset)


def test_a_job_whose_axes_are_lost_does_not_resume_along_others(model, features, tmp_path, encoded, make_dataset):
    target, dataset = tmp_path / "latents", make_dataset(60, 6)
    (features / "b.parquet").write_bytes((features / "a.parquet").read_bytes())
    encode_features(model, features, target, axes=dataset)
    (target / "b.parquet").unlink()
    (target / "_axes.json").unlink()
    with pytest.raises(DataError, match=r"_axes.json: missing, but latents along these axes are there; remove"):
        encode_features(model, features, target, axes=dataset)
    assert not (target / "_axes.json").exists()


def test_an_existing_target_is_refused_before_axes_are_fitted(
    model, features, tmp_path, encoded, make_dataset, monkeypatch
):
    target, dataset = tmp_path / "latents.parquet", make_dataset(60, 6)
    encode_features(model, features, target, axes=dataset)
    monkeypatch.setattr("resvae_ray.encode.encode_features.fit_axes", lambda *_: pytest.fail("fitted again"))
    with pytest.raises(UsageError, match="already there"):
        encode_features(model, features, target, axes=dataset)


def test_axes_of_another_width_leave_nothing_behind(model, features, tmp_path, encoded, make_dataset):
    with pytest.raises(DataError, match="vectors of 7 numbers, but the model takes 6"):
        encode_features(model, features, tmp_path / "latents", axes=make_dataset(60, 7))
    assert not (tmp_path / "latents").exists()


@pytest.mark.parametrize("latents", ["features/latents", "features/latents.parquet", "features/deeper/latents"])
def test_latents_in_the_folder_of_the_features_are_refused(latents, model, features, tmp_path, encoded):
    with pytest.raises(UsageError, match="lies in .*features, and would be read as a part of it"):
        encode_features(model, features, tmp_path / latents)
    assert [path.name for path in features.iterdir()] == ["a.parquet"]


def test_latents_in_the_folder_of_the_features_are_refused_in_a_bucket(model, features, encoded, bucket):
    with pytest.raises(UsageError, match="lies in s3://.*/features, and would be read as a part of it"):
        encode_features(model, f"{bucket}/features", f"{bucket}/features/latents")


@pytest.mark.parametrize("rows", [0, 10])
def test_an_incomplete_output_is_rebuilt_by_the_same_command(rows, model, features, tmp_path, encoded):
    target = tmp_path / "latents"
    encode_features(model, features, target)
    whole = latents_in(target)
    if rows:
        pq.write_table(pq.read_table(target / "a.parquet").slice(0, rows), target / "a.parquet")
    else:
        (target / "a.parquet").write_bytes(b"")
    with pytest.raises(JobError, match=f"{rows} rows instead of 40; run the same command again"):
        encode_features(model, features, target)
    assert encode_features(model, features, target) == 40
    assert (latents_in(target) == whole).all()


def expected_reconstruction(model, features):
    network = ResVAE.from_pretrained(model)
    x = torch.tensor(next(Features.open(features).batches()).features)
    with torch.inference_mode():
        return network.decode(network.encode(x)[0]).numpy()


def test_decoded_features_are_the_reconstruction_of_the_posterior_mean(model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "latents.parquet", Output(decoded=True, recon_error=True))
    table = pq.read_table(tmp_path / "latents.parquet")
    decoded = np.stack(table["decoded"].to_pylist())
    assert table.schema.field("decoded").type == vector_type(6)
    np.testing.assert_allclose(decoded, expected_reconstruction(model, features), atol=1e-6)
    x = next(Features.open(features).batches()).features
    np.testing.assert_allclose(table["recon_error"].to_numpy(), ((decoded - x) ** 2).sum(1), rtol=1e-5)


def test_the_metadata_name_the_model_that_decoded_and_keep_the_provenance(model, features, tmp_path, encoded):
    for target, output, latents in (
        ("mean", Output(decoded=True), "posterior mean"),
        ("draw", Output(sample=True, seed=3, decoded=True), "posterior sample, seed 3"),
    ):
        encode_features(model, features, tmp_path / target, output)
        found = Features.open(tmp_path / target, ColumnChoice(features_column="decoded"))
        assert found.dim == 6
        assert found.provenance["model"] == "SYNTHETIC"
        assert found.provenance["decoded"] == {"from": latents, "weights": weights_hash(model)}
    encode_features(model, features, tmp_path / "plain")
    assert "decoded" not in Features.open(tmp_path / "plain", ColumnChoice(features_column="z")).provenance


def test_an_interrupted_job_resumes_with_its_decoded_features_and_refuses_without(model, features, tmp_path, encoded):
    target = tmp_path / "latents"
    encode_features(model, features, target, Output(decoded=True))
    whole = (target / "a.parquet").read_bytes()
    (target / "a.parquet").unlink()
    with pytest.raises(UsageError, match="holds latents of another model, other features or other options"):
        encode_features(model, features, target)
    encode_features(model, features, target, Output(decoded=True))
    assert (target / "a.parquet").read_bytes() == whole


def test_a_job_that_began_before_decoded_features_existed_resumes(model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "latents")
    record = json.loads((tmp_path / "latents" / "_encoding.json").read_text())
    assert record["output"] == {"sample": False, "seed": 0, "logvar": False, "recon_error": False}


def test_a_column_of_that_name_among_the_features_is_refused(model, features, tmp_path, encoded):
    table = pq.read_table(features / "a.parquet")
    table = table.append_column("decoded", pa.array(["x"] * len(table)))
    pq.write_table(table, features / "a.parquet")
    with pytest.raises(DataError, match="a column 'decoded', which the latents need for themselves; rename it"):
        encode_features(model, features, tmp_path / "latents", Output(decoded=True))
    assert encode_features(model, features, tmp_path / "without") == 40
