"""Unreadable files are skipped, reported and listed; once repaired, they are encoded as usual."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from resvae_ray.cli import main
from resvae_ray.data import features_writer as writer_module
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.encode.encode_features import encode_features
from resvae_ray.encode.latents import Output
from resvae_ray.encode.units import units_of
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.files.place import BucketPlace

DIM = 6
ALL = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]


@pytest.fixture
def features(make_features, tmp_path, monkeypatch):
    """A folder with three files, of 35, 35 and 30 rows in row groups of 7."""
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 7)
    monkeypatch.setattr(writer_module, "FILE_BYTES", 4 * DIM * 30)
    whole, folder = Features.open(make_features(100, DIM)), tmp_path / "features"
    folder.mkdir()
    with FeaturesWriter(folder, DIM, {"model": "SYNTHETIC"}) as writer:
        for batch in whole.batches():
            writer.write(batch)
    return folder


def no_parquet(path):
    path.write_bytes(b"not Parquet")


def no_footer(path):
    path.write_bytes(path.read_bytes()[:-20])


def broken_page(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:50] + bytes(200) + whole[250:])


def broken_last_page(path):
    """Damages the last page of the vector column, in the last row group."""
    metadata = pq.read_metadata(path)
    place = metadata.row_group(metadata.num_row_groups - 1).column(1).data_page_offset + 40
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes(30) + whole[place + 30 :])


def another_width(path):
    matrix = np.ones((3, DIM + 1), np.float32)
    rewrite(path, matrix, [f"X{row}" for row in range(3)])


def not_a_number(path):
    batch = next(Features.open(path).batches())
    matrix = batch.features.copy()
    matrix[8, 2] = np.nan
    rewrite(path, matrix, batch.ids.to_pylist())


def rewrite(path, matrix, ids):
    import pyarrow as pa

    path.unlink()
    with FeaturesWriter(path, matrix.shape[1], {"model": "SYNTHETIC"}) as writer:
        writer.write(FeatureBatch(pa.array(ids), matrix, pa.table({"label": ["a"] * len(ids)})))


def skip(model, features, latents, **options):
    """Encodes without the bad files and returns the messages about them."""
    told = []
    with pytest.raises(JobError, match="could not be read") as error:
        encode_features(model, features, latents, on_bad_file=told.append, **options)
    assert str(latents) + ".skipped.json" in str(error.value)
    return [str(one) for one in told]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


@pytest.mark.parametrize("damage", [no_parquet, no_footer, broken_page, another_width, not_a_number])
@pytest.mark.parametrize("number", [0, 2])
def test_a_bad_file_is_skipped_reported_listed_and_later_encoded(damage, number, model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "undisturbed", Output(sample=True))
    bad = features / ALL[number]
    whole = bad.read_bytes()
    damage(bad)
    encoded.clear()
    told = skip(model, features, tmp_path / "latents", output=Output(sample=True))
    assert encoded == [name for name in ALL if name != bad.name]
    assert len(told) == 1
    assert str(bad) in told[0]
    listed = json.loads((tmp_path / "latents.skipped.json").read_text())
    assert [(entry["file"], entry["reason"]) for entry in listed] == [(str(bad), told[0])]
    assert sorted(content(tmp_path / "latents")) == encoded
    assert "done" not in json.loads((tmp_path / "latents" / "_encoding.json").read_text())

    bad.write_bytes(whole)
    encoded.clear()
    assert encode_features(model, features, tmp_path / "latents", Output(sample=True)) == 100
    assert encoded == [bad.name]
    assert content(tmp_path / "latents") == content(tmp_path / "undisturbed")
    assert not (tmp_path / "latents.skipped.json").exists()
    assert json.loads((tmp_path / "latents" / "_encoding.json").read_text())["done"]


def test_a_bad_file_in_a_bucket(model, features, tmp_path, encoded, bucket):
    encode_features(model, features, tmp_path / "undisturbed")
    there, whole = BucketPlace(f"{bucket}/features"), {name: (features / name).read_bytes() for name in ALL}
    for name in ALL:
        (there / name).write_bytes(whole[name] if name != ALL[1] else whole[name][:-20])
    latents, listed = f"{bucket}/out/latents", BucketPlace(f"{bucket}/out/latents.skipped.json")
    told = skip(model, str(there), latents)
    assert len(told) == 1
    assert ALL[1] in told[0]
    assert [entry["reason"] for entry in json.loads(listed.read_bytes())] == told

    (there / ALL[1]).write_bytes(whole[ALL[1]])
    encoded.clear()
    assert encode_features(model, str(there), latents) == 100
    assert encoded == [ALL[1]]
    assert not listed.exists()
    found = {name: (BucketPlace(latents) / name).read_bytes() for name in ALL}
    assert found == content(tmp_path / "undisturbed")


def test_a_bad_file_ends_the_job_if_nothing_else_was_said(model, features, tmp_path, encoded):
    broken_page(features / ALL[1])
    with pytest.raises(DataError, match=ALL[1]):
        encode_features(model, features, tmp_path / "latents")
    assert not (tmp_path / "latents.skipped.json").exists()


def test_still_bad(model, features, tmp_path, encoded):
    """No file is encoded twice, and a file that now fails for another reason is listed with that reason."""
    broken_page(features / ALL[1])
    skip(model, features, tmp_path / "latents")
    encoded.clear()
    no_parquet(features / ALL[1])
    told = skip(model, features, tmp_path / "latents")
    assert encoded == []
    assert [entry["reason"] for entry in json.loads((tmp_path / "latents.skipped.json").read_text())] == told


def test_several_files(model, features, tmp_path, encoded):
    for damage, name in ((no_footer, ALL[0]), (not_a_number, ALL[1])):
        damage(features / name)
    told = skip(model, features, tmp_path / "latents")
    assert encoded == [ALL[2]]
    assert len(told) == 2


def test_no_file_is_left(model, features, tmp_path, encoded):
    for name in ALL:
        no_footer(features / name)
    with pytest.raises(DataError, match=r"none of 3 files can be read; .*part-00000.parquet: not a readable"):
        encode_features(model, features, tmp_path / "latents", on_bad_file=lambda error: None)
    assert not (tmp_path / "latents").exists()


def test_bad_row_groups_of_a_large_file_are_skipped(model, make_features, tmp_path, encoded, monkeypatch):
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 7)
    monkeypatch.setattr("resvae_ray.encode.units.FILE_BYTES", 4 * DIM * 14)
    features = make_features(40, DIM)
    whole = features.read_bytes()
    encode_features(model, features, tmp_path / "undisturbed")
    broken_last_page(features)
    skip(model, features, tmp_path / "latents")
    assert [entry["row_groups"] for entry in json.loads((tmp_path / "latents.skipped.json").read_text())] == [[4, 5]]
    assert sorted(content(tmp_path / "latents")) == ["features-00000.parquet", "features-00002.parquet"]

    # Mended, its row groups may hold other rows than before: none of its rows is taken for known.
    features.write_bytes(whole)
    encoded.clear()
    encode_features(model, features, tmp_path / "latents")
    assert len(encoded) == 3
    assert content(tmp_path / "latents") == content(tmp_path / "undisturbed")


def test_row_groups_of_an_untouched_file_are_not_encoded_again(model, make_features, tmp_path, encoded, monkeypatch):
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 7)
    monkeypatch.setattr("resvae_ray.encode.units.FILE_BYTES", 4 * DIM * 14)
    features = make_features(40, DIM)
    broken_last_page(features)
    skip(model, features, tmp_path / "latents")
    encoded.clear()
    skip(model, features, tmp_path / "latents")
    assert encoded == []


def test_one_file_of_latents(model, features, tmp_path, encoded):
    encode_features(model, features, tmp_path / "undisturbed.parquet")
    whole = (features / ALL[1]).read_bytes()
    broken_page(features / ALL[1])
    skip(model, features, tmp_path / "latents.parquet")
    assert pq.read_metadata(tmp_path / "latents.parquet").num_rows == 65
    encoded.clear()
    skip(model, features, tmp_path / "latents.parquet")
    assert encoded == []
    (features / ALL[1]).write_bytes(whole)
    encode_features(model, features, tmp_path / "latents.parquet")
    assert encoded == [ALL[1]]
    assert (tmp_path / "latents.parquet").read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*latents*")) == ["latents.parquet"]
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(UsageError, match="already there"):
        encode_features(model, features, tmp_path / "latents.parquet")


def test_skipped_files_are_not_mixed_with_another_job(model, features, tmp_path, encoded):
    broken_page(features / ALL[1])
    skip(model, features, tmp_path / "latents.parquet")
    with pytest.raises(UsageError, match="already there"):
        encode_features(model, features, tmp_path / "latents.parquet", Output(logvar=True))
    os.utime(features / ALL[0])  # not the one that was skipped
    with pytest.raises(UsageError, match="already there"):
        encode_features(model, features, tmp_path / "latents.parquet")
    skip(model, features, tmp_path / "latents")
    os.utime(features / ALL[0], ns=(1, 1))
    with pytest.raises(UsageError, match="other features"):
        encode_features(model, features, tmp_path / "latents")


@pytest.mark.parametrize("latents", ["latents", "latents.parquet"])
@pytest.mark.parametrize("done", [1, 2])
def test_mended_after_a_job_that_was_killed(done, latents, model, features, tmp_path, encoded):
    """The list of skipped files survives, wherever the job was killed."""
    whole = (features / ALL[0]).read_bytes()
    broken_page(features / ALL[0])
    encoded.after[done] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt if done < 2 else JobError):
        encode_features(model, features, tmp_path / latents, on_bad_file=lambda error: None)
    before = list(encoded)
    encoded.after.clear()
    encoded.clear()
    (features / ALL[0]).write_bytes(whole)
    assert encode_features(model, features, tmp_path / latents) == 100
    assert encoded == [name for name in ALL if name not in before]


def test_missing_skipped_file(model, features, tmp_path, encoded):
    broken_page(features / ALL[2])
    skip(model, features, tmp_path / "latents")
    (features / ALL[2]).unlink()
    assert encode_features(model, features, tmp_path / "latents") == 70


def test_a_first_file_that_brings_other_columns_with_it(model, features, tmp_path, encoded):
    """A repaired file must match the columns of the others, or LATENTS would hold two kinds of files."""
    no_footer(features / ALL[0])
    skip(model, features, tmp_path / "latents")
    tables = [pq.read_table(features / ALL[number]) for number in (1, *range(1, len(ALL)))]
    pq.write_table(tables[0].append_column("more", tables[0].column("id")), features / ALL[0])
    with pytest.raises(DataError, match=f"{ALL[1]}: no column 'more', which .*{ALL[0]} has"):
        encode_features(model, features, tmp_path / "latents")
    for name, table in zip(ALL, tables, strict=True):
        pq.write_table(table.append_column("more", table.column("id")), features / name)
    with pytest.raises(UsageError, match="other features"):
        encode_features(model, features, tmp_path / "latents")


def test_a_list_without_its_latents_is_forgotten(model, features, tmp_path, encoded):
    (tmp_path / "latents.skipped.json").write_text('[{"file": "a", "row_groups": null, "reason": "b"}]')
    assert encode_features(model, features, tmp_path / "latents") == 100
    assert not (tmp_path / "latents.skipped.json").exists()


@pytest.mark.parametrize("text", ["{}x", "[1]", '[{"name": "a"}]', "7"])
def test_a_damaged_list_is_reported(text, model, features, tmp_path, encoded):
    (tmp_path / "latents.skipped.json").write_text(text)
    with pytest.raises(DataError, match="latents.skipped.json"):
        encode_features(model, features, tmp_path / "latents")


def test_a_damaged_model_is_not_a_bad_file(model, features, tmp_path, encoded):
    (model / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="model.safetensors"):
        encode_features(model, features, tmp_path / "latents", on_bad_file=lambda error: None)
    assert not (tmp_path / "latents.skipped.json").exists()


def test_names_do_not_depend_on_what_can_be_read(model, features, tmp_path, encoded):
    """For a glob, names are relative to the folder that all its files share."""
    for name, folder in zip(ALL, "abc", strict=True):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (features / name).rename(tmp_path / folder / "deep" / "x.parquet")
    whole = (tmp_path / "a" / "deep" / "x.parquet").read_bytes()
    no_footer(tmp_path / "a" / "deep" / "x.parquet")
    no_footer(tmp_path / "b" / "deep" / "x.parquet")
    skip(model, tmp_path / "?" / "deep" / "*.parquet", tmp_path / "latents")
    assert encoded == ["c/deep/x.parquet"]
    (tmp_path / "a" / "deep" / "x.parquet").write_bytes(whole)
    skip(model, tmp_path / "?" / "deep" / "*.parquet", tmp_path / "latents")
    assert encoded == ["c/deep/x.parquet", "a/deep/x.parquet"]


def test_a_part_with_the_name_of_another_file_is_refused(make_features, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 4 * DIM * 7)
    monkeypatch.setattr("resvae_ray.encode.units.FILE_BYTES", 4 * DIM * 14)
    (tmp_path / "f").mkdir()
    make_features(40, DIM, "f/a.parquet")
    make_features(5, DIM, "f/a-00002.parquet")
    source = Features.open(tmp_path / "f")
    with pytest.raises(DataError, match=r"a-00002.parquet and .*a.parquet: both would become a-00002.parquet"):
        units_of(source, source.files)


def test_the_command(model, features, tmp_path, encoded, capsys):
    broken_page(features / ALL[1])
    arguments = ["encode", str(model), str(features), str(tmp_path / "latents")]
    assert main([*arguments, "--on-bad-file", "skip"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"skipped: {features / ALL[1]}: ")
    assert "1 file could not be read and is listed in" in lines[1]
    assert len(lines) == 2
    assert main(arguments) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
