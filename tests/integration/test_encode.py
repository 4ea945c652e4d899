"""Each row is encoded once, under its own id."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.data import features_writer as writer_module
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.encode.latents import Output
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.model.network import ResVAE

pytestmark = pytest.mark.usefixtures("ray_here")
DIM = 6


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return ResVAE(DIM, 16, 3).save_pretrained(tmp_path / "model")


@pytest.fixture
def features(make_features, tmp_path, monkeypatch):
    """A folder with files of 30 rows in row groups of 7, two levels deep."""
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 7)
    monkeypatch.setattr(writer_module, "FILE_BYTES", 4 * DIM * 30)
    whole = Features.open(make_features(100, DIM))
    folder = tmp_path / "features"
    (folder / "more").mkdir(parents=True)
    with FeaturesWriter(folder, DIM, {"model": "SYNTHETIC"}) as writer:
        for batch in whole.batches():
            writer.write(batch)
    (folder / "part-00001.parquet").rename(folder / "more" / "part-00001.parquet")
    return folder


def expected(model, features):
    """Ids to latents, by a plain loop over the rows."""
    network = ResVAE.from_pretrained(model)
    with torch.no_grad():
        return {
            name: network.encode(torch.tensor(batch.features[i : i + 1]))[0][0].numpy()
            for batch in Features.open(features).batches()
            for i, name in enumerate(batch.ids.to_pylist())
        }


def read(latents):
    return pq.read_table(latents, partitioning=None).to_pandas()


def test_ids_and_columns_stay_with_their_rows(model, features, tmp_path):
    assert encode_features(model, features, tmp_path / "latents") == 100
    files = sorted(str(p.relative_to(tmp_path / "latents")) for p in (tmp_path / "latents").rglob("*.parquet"))
    assert files == ["more/part-00001.parquet", "part-00000.parquet", "part-00002.parquet"]
    table = read(tmp_path / "latents")
    known = expected(model, features)
    assert sorted(table.id) == sorted(known)
    for name, z in zip(table.id, table.z, strict=True):
        np.testing.assert_allclose(z, known[name], rtol=1e-4, atol=1e-5)
    labels = {
        n: b.others["label"][i].as_py()
        for b in Features.open(features).batches()
        for i, n in enumerate(b.ids.to_pylist())
    }
    assert dict(zip(table.id, table.label, strict=True)) == labels
    schema = pq.read_schema(tmp_path / "latents" / "part-00000.parquet")
    assert schema.field("z").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
    assert json.loads(schema.metadata[b"resvae_ray"]) == {"model": "SYNTHETIC"}


def test_one_file_and_the_same_bytes_again(model, features, tmp_path):
    encode_features(model, features, tmp_path / "a.parquet")
    encode_features(model, features, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert list(read(tmp_path / "a.parquet").id) == [
        n for ids in Features.open(features).ids() for n in ids.to_pylist()
    ]
    assert not list(tmp_path.glob(".*"))


def test_draws_depend_on_the_seed(model, features, tmp_path):
    for name, output in (("mean", Output()), ("a", Output(True, 1)), ("b", Output(True, 1)), ("c", Output(True, 2))):
        encode_features(model, features, tmp_path / f"{name}.parquet", replace(output, logvar=True))
    mean, a, b, c = (read(tmp_path / f"{name}.parquet") for name in ("mean", "a", "b", "c"))
    assert np.array_equal(np.stack(a.z), np.stack(b.z))
    assert not np.array_equal(np.stack(a.z), np.stack(c.z))
    draws = (np.stack(a.z) - np.stack(mean.z)) / np.exp(np.stack(mean.logvar) / 2)
    assert abs(draws.mean()) < 0.2
    assert 0.8 < draws.std() < 1.2


def test_reconstruction_error(model, features, tmp_path):
    encode_features(model, features, tmp_path / "a.parquet", Output(recon_error=True))
    table = read(tmp_path / "a.parquet")
    network = ResVAE.from_pretrained(model)
    x = torch.from_numpy(np.concatenate([batch.features for batch in Features.open(features).batches()]))
    with torch.no_grad():
        error = (network.decode(network.encode(x)[0]) - x).pow(2).sum(1).numpy()
    np.testing.assert_allclose(table.recon_error, error, rtol=1e-4)


def test_only_missing_parts_are_encoded(model, features, tmp_path):
    encode_features(model, features, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    record = json.loads((tmp_path / "cut" / "_encoding.json").read_text())
    record.pop("done")
    (tmp_path / "cut" / "_encoding.json").write_text(json.dumps(record))
    (tmp_path / "cut" / "more" / "part-00001.parquet").unlink()
    kept = (tmp_path / "cut" / "part-00000.parquet").stat().st_mtime_ns
    seen = []
    encode_features(model, features, tmp_path / "cut", progress=lambda rows, total: seen.append((rows, total)))
    assert len(seen) == 2
    assert 0 < seen[0][0] < 100
    assert seen[1] == (100, 100)
    assert (tmp_path / "cut" / "part-00000.parquet").stat().st_mtime_ns == kept
    for path in (tmp_path / "whole").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_a_large_file_becomes_several_units_with_the_same_draws(model, features, tmp_path, monkeypatch):
    encode_features(model, features, tmp_path / "a.parquet")
    monkeypatch.setattr("resvae_ray.encode.units.FILE_BYTES", 4 * DIM * 14)
    assert encode_features(model, features, tmp_path / "parts") == 100
    assert len(list((tmp_path / "parts").rglob("*.parquet"))) > 5
    a, parts = read(tmp_path / "a.parquet"), read(tmp_path / "parts")
    merged = a.set_index("id").loc[parts.id]
    np.testing.assert_allclose(np.stack(merged.z), np.stack(parts.z), rtol=1e-5, atol=1e-6)


def test_one_file_started_with_other_settings_is_restarted(model, features, tmp_path):
    """The package creates the parts folder itself, so it cannot ask the user to remove it."""
    for options in (Output(), Output(logvar=True)):
        parts = tmp_path / ".a.parquet.parts"
        parts.mkdir(exist_ok=True)
        (parts / "_encoding.json").write_text('{"model": "another"}')
        (parts / "part-00000.parquet").write_text("of another model")
        encode_features(model, features, tmp_path / "a.parquet", options)
        assert ("logvar" in read(tmp_path / "a.parquet")) == options.logvar
        assert not parts.exists()
        (tmp_path / "a.parquet").unlink()


def test_features_that_changed_in_place_are_detected(model, features, tmp_path):
    encode_features(model, features, tmp_path / "latents")
    (features / "part-00000.parquet").touch()
    with pytest.raises(UsageError, match="holds latents of another model, other features"):
        encode_features(model, features, tmp_path / "latents")


def test_another_job_in_the_same_folder_is_refused(model, features, tmp_path):
    encode_features(model, features, tmp_path / "latents")
    with pytest.raises(UsageError, match="another model, other features or other options"):
        encode_features(model, features, tmp_path / "latents", Output(sample=True))
    with pytest.raises(UsageError, match="already there"):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "file").touch()
        encode_features(model, features, tmp_path / "mine")


def test_a_dataset_is_encoded_on_both_sides(model, make_dataset, tmp_path):
    dataset = make_dataset(50, DIM)
    assert encode_features(model, dataset, tmp_path / "latents") == 50
    assert len(read(tmp_path / "latents" / "val")) == 10


def test_another_width_is_refused(model, make_features, tmp_path):
    with pytest.raises(DataError, match="vectors of 5 numbers, but the model .* takes 6"):
        encode_features(model, make_features(20, 5), tmp_path / "latents")
    assert not (tmp_path / "latents").exists()


def test_a_damaged_file_is_named_and_the_rest_is_kept(model, features, tmp_path):
    broken = features / "more" / "part-00001.parquet"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:50] + bytes(200) + whole[250:])
    with pytest.raises(DataError, match="part-00001.parquet"):
        encode_features(model, features, tmp_path / "latents")
    assert not (tmp_path / "latents" / "more" / "part-00001.parquet").exists()
    broken.write_bytes(whole)
    assert encode_features(model, features, tmp_path / "latents") == 100
    assert sorted(read(tmp_path / "latents").id) == sorted(expected(model, features))


def test_bad_files_are_skipped_and_encoded_when_they_are_mended(model, features, tmp_path):
    encode_features(model, features, tmp_path / "undisturbed")
    first, second = features / "part-00000.parquet", features / "more" / "part-00001.parquet"
    whole = {path: path.read_bytes() for path in (first, second)}
    first.write_bytes(whole[first][:-9])
    second.write_bytes(whole[second][:50] + bytes(200) + whole[second][250:])
    told = []
    with pytest.raises(JobError, match="2 files could not be read"):
        encode_features(model, features, tmp_path / "latents", on_bad_file=told.append)
    listed = json.loads((tmp_path / "latents.skipped.json").read_text())
    assert {entry["file"] for entry in listed} == {str(first), str(second)}
    assert {entry["reason"] for entry in listed} == {str(error) for error in told}
    assert [path.name for path in (tmp_path / "latents").rglob("*.parquet")] == ["part-00002.parquet"]
    for path, content in whole.items():
        path.write_bytes(content)
    assert encode_features(model, features, tmp_path / "latents") == 100
    assert not (tmp_path / "latents.skipped.json").exists()
    for path in (tmp_path / "undisturbed").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "latents" / path.relative_to(tmp_path / "undisturbed")).read_bytes()


def test_nan_is_named(model, tmp_path, matrix):
    matrix[8, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), DIM)
    pq.write_table(pa.table({"id": [f"P{i}" for i in range(20)], "features": column}), tmp_path / "nan.parquet")
    with pytest.raises(DataError, match=r"row 9 \(id P8\), column features\[2\]: nan"):
        encode_features(model, tmp_path / "nan.parquet", tmp_path / "latents")


def test_a_column_that_the_latents_need_is_refused(model, tmp_path, matrix):
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), DIM)
    pq.write_table(
        pa.table({"id": [f"P{i}" for i in range(20)], "features": column, "z": [1] * 20}), tmp_path / "f.parquet"
    )
    with pytest.raises(DataError, match="column 'z'"):
        encode_features(model, tmp_path / "f.parquet", tmp_path / "latents")


def test_ten_thousand_rows(model, make_features, tmp_path):
    path = make_features(10_000, DIM, "many.parquet")
    encode_features(model, path, tmp_path / "many-latents.parquet")
    table = pd.read_parquet(tmp_path / "many-latents.parquet")
    assert list(table.id) == [name for ids in Features.open(path).ids() for name in ids.to_pylist()]
