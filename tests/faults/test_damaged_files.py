"""Files with broken bytes, in every format: read as they were or refused in words, in bounded time and memory.

Where a format has checksums of what is read, a broken file that is read must give what the whole one gives. Elsewhere a
changed number or letter is a number or letter like any other; these are counted.
"""

import gzip
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from damage import damaged
from formats import FORMATS
from reader import DIED, GREEDY, HUNG, READ, REFUSED
from rounds import count, tries

from resvae_ray.config import Config
from resvae_ray.config_file import config_to_toml
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.model.network import ResVAE

pytestmark = pytest.mark.timeout(3600)

SAME, OTHER_VALUES, OTHER_ROWS = "read as it was", "read with other values", "read with other rows"
CHECKED = (".npz", ".gz", ".xlsx", ".pt", "features")  # have checksums of all that is read
HDF5 = (".h5", ".hdf5", ".h5ad")  # read in a process that may hang or die, see importers/apart.py
LINES = (".csv", ".tsv", ".txt", ".fasta")  # a cut between two lines cannot be detected


def fate(outcome, whole):
    if outcome.kind != READ:
        return outcome.kind
    if outcome.rows == whole:
        return SAME
    return OTHER_VALUES if len(outcome.rows) == len(whole) else OTHER_ROWS


def allowed(name):
    """The outcomes that a format allows."""
    fates = {SAME, REFUSED}
    if not name.endswith(CHECKED):
        fates.add(OTHER_VALUES)
    if name.endswith(LINES):
        fates.add(OTHER_ROWS)
    # HDF5 makes room for a text as long as four damaged bytes say; the bounds are those of its process.
    return fates | ({HUNG, DIED, GREEDY} if name.endswith(HDF5) else set())


def put_to_the_test(reader, way, source, place, number, may=None):
    """Reads broken copies of the file `place`, which is `source` or a part of it, and counts their fates."""
    may = may or allowed(source.name)
    whole, expected = place.read_bytes(), reader.read(way, source)
    assert expected.kind == READ, expected
    fates: Counter = Counter()
    for seed in range(number):
        how, content = damaged(whole, (zlib.crc32(place.name.encode()), seed))
        place.write_bytes(content)
        outcome = reader.read(way, source)
        met = fate(outcome, expected.rows)
        fates[met] += 1
        assert met in may, (how, seed, met, outcome.text[-2000:], outcome.peak_mb)
        assert met != REFUSED or source.name in outcome.text, (how, seed, outcome.text)
        assert "\n" not in outcome.text.strip(), (how, seed, outcome.text)
    count(f"{way} {source.name}", fates)


@pytest.fixture
def rows():
    matrix = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    return matrix, [f"P{number:02d}" for number in range(20)], ["a", "b"] * 10


@pytest.mark.parametrize("name", FORMATS)
def test_import(name, rows, reader, tmp_path):
    source = tmp_path / name
    FORMATS[name].write(source, *rows)
    place = max(source.rglob("*.p*t*")) if source.is_dir() else source
    put_to_the_test(reader, "import", source, place, tries(8, 350))


@pytest.mark.parametrize("way", ["features", "check"])
def test_our_own_features(way, reader, tmp_path):
    """Pages have checksums, so every change in the rows is detected."""
    source = tmp_path / "features"
    source.mkdir()
    with FeaturesWriter(source, 6, {"model": "SYNTHETIC"}) as writer:
        for batch in synthetic_batches(300, 6, 0):
            writer.write(batch)
    put_to_the_test(reader, way, source, source / "part-00000.parquet", tries(20, 1000 if way == "features" else 200))


@pytest.mark.parametrize("name", ["a.fasta", "a.fasta.gz", "a.csv", "a.tsv.gz"])
def test_proteins(name, reader, tmp_path):
    sign = "\t" if ".tsv" in name else ","
    records = [(f"P{n:02d}", "MKVLAAGIVGLLLAQWERTYHPSDFNC"[n % 9 :] * 3) for n in range(20)]
    table = f"id{sign}sequence\n" + "".join(f"{name}{sign}{letters}\n" for name, letters in records)
    text = "".join(f">{n} some protein\n{s}\n" for n, s in records) if "fasta" in name else table
    source = tmp_path / name
    source.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    put_to_the_test(reader, "proteins", source, source, tries(8, 250))


@pytest.mark.parametrize("part", ["config.json", "model.safetensors"])
def test_model(part, reader, tmp_path):
    model = ResVAE(6, 8, 3).save_pretrained(tmp_path / "model")
    put_to_the_test(reader, "model", model, model / part, tries(10, 200), {SAME, REFUSED})


def test_config(reader, tmp_path):
    source = tmp_path / "search.toml"
    source.write_text(config_to_toml(Config()))
    put_to_the_test(reader, "config", source, source, tries(10, 200), {SAME, REFUSED, OTHER_VALUES})


@pytest.mark.parametrize("part", ["dataset.json", "train/part-00000.parquet"])
def test_dataset(part, make_dataset, reader):
    dataset: Path = make_dataset(60, 6)
    may = {SAME, REFUSED, *([OTHER_VALUES] if part == "dataset.json" else [])}
    put_to_the_test(reader, "dataset", dataset, dataset / part, tries(10, 200), may)


@pytest.mark.parametrize("part", ["run.json", "study.journal", "epochs.jsonl"])
def test_run(part, searched, reader):
    run: Path = searched([("complete", [9.0, 8.0, 7.0]), ("pruned", [9.5]), ("failed", [])])
    put_to_the_test(reader, "run", run, run / part, tries(10, 200), {SAME, REFUSED, OTHER_VALUES})


@pytest.mark.parametrize("part", ["resume.safetensors", "best-0002.safetensors"])
def test_checkpoint(part, reader, tmp_path):
    """A trial with a broken checkpoint reports it and starts from scratch."""
    folder = tmp_path / "trial"
    whole = reader.read("save", folder)
    assert whole.kind == READ, whole
    assert (folder / part).exists(), list(folder.iterdir())
    put_to_the_test(reader, "resume", folder, folder / part, tries(10, 200), {SAME, REFUSED})
