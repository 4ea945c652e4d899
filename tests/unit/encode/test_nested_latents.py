"""`encode --latents K` writes the first K latents, of a model that has nested ones."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.cli import main
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.encode.latents import Output
from resvae_ray.errors import UsageError
from resvae_ray.files.atomic import read_json
from resvae_ray.model.network import ResVAE


@pytest.fixture
def nested(tmp_path):
    torch.manual_seed(0)
    return ResVAE(6, 16, 4, nested=True).save_pretrained(tmp_path / "nested")


def column(path, name="z"):
    return np.array(pq.read_table(path)[name].to_pylist(), dtype=np.float32)


def test_they_are_the_first_of_all(nested, encoded, make_features, tmp_path):
    features = make_features(20, 6)
    encode_features(nested, features, tmp_path / "all.parquet", Output(logvar=True))
    encode_features(nested, features, tmp_path / "two.parquet", Output(logvar=True, recon_error=True, latents=2))
    for name in ("z", "logvar"):
        np.testing.assert_array_equal(
            column(tmp_path / "two.parquet", name), column(tmp_path / "all.parquet", name)[:, :2]
        )
    x, z = (
        torch.from_numpy(column(path, name)) for path, name in ((features, "features"), (tmp_path / "two.parquet", "z"))
    )
    with torch.no_grad():
        errors = (ResVAE.from_pretrained(nested).decode(z) - x).pow(2).sum(1).numpy()
    np.testing.assert_allclose(column(tmp_path / "two.parquet", "recon_error"), errors, rtol=1e-4)


def test_draws_and_axes_are_of_the_first_latents_too(nested, encoded, make_features, make_dataset, tmp_path):
    features, dataset = make_features(20, 6, "other.parquet"), make_dataset(60, 6)
    for name, latents in (("all", 0), ("two", 2)):
        output = Output(sample=True, seed=3, latents=latents)
        encode_features(nested, features, tmp_path / name, output, axes=dataset)
    drawn = [column(next((tmp_path / name).glob("*.parquet"))) for name in ("two", "all")]
    assert drawn[0].shape == (20, 2)
    np.testing.assert_array_equal(drawn[0], drawn[1][:, :2])
    assert column(next((tmp_path / "two").glob("*.parquet")), "axes").shape == (20, 2)


def test_a_model_without_nested_latents_gives_all_or_an_error(model, nested, encoded, make_features, tmp_path):
    features = make_features(20, 6)
    with pytest.raises(UsageError, match="the 3 latents of .*model are not nested, so the first 2 are not a code"):
        encode_features(model, features, tmp_path / "z.parquet", Output(latents=2))
    with pytest.raises(UsageError, match="--latents 5: .*nested has 4 latents; give 1 to 4"):
        encode_features(nested, features, tmp_path / "z.parquet", Output(latents=5))
    assert encode_features(model, features, tmp_path / "z.parquet", Output(latents=3)) == 20


def test_a_job_of_an_earlier_version_resumes(model, encoded, make_features, tmp_path):
    encode_features(model, make_features(20, 6), tmp_path / "z", Output())
    assert "latents" not in read_json(tmp_path / "z" / "_encoding.json")["output"]


def test_the_option_wants_a_number_of_latents(nested, make_features, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["encode", str(nested), str(make_features(20, 6)), str(tmp_path / "z"), "--latents", "0"])
    assert "it must be at least 1" in capsys.readouterr().err
