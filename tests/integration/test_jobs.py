"""`import`, `split` and `check` as jobs on a real Ray, from and to an S3 server; the split is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from resvae_ray.data import features_writer
from resvae_ray.data.checking.check import check_features
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.files.place import BucketPlace, place

DIM, ROWS = 8, 400
FILES = 40
SMALL = {"FILE_BYTES": 4 * DIM * 10, "ROW_GROUP_BYTES": 4 * DIM * 10}  # files of 10 rows, a row group each
COMMAND = f"""
import sys
from resvae_ray.cli import main
from resvae_ray.data import features_writer
from resvae_ray.jobs import portions
vars(features_writer).update({SMALL})
portions.LARGE_BYTES = 1
sys.exit(main(sys.argv[1:]))
"""


def begin(*arguments):
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run(*arguments):
    process = begin(*arguments)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err


def kill_in_the_middle(process, folder):
    """Kills the command once some files are there; returns their names."""
    for _ in range(4000):
        assert process.poll() is None, process.communicate()[1]
        if sum(name.endswith(".parquet") for name in folder.file_names()) >= 5:
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    made = {name for name in folder.file_names() if name.endswith(".parquet")}
    assert 5 <= len(made) < FILES
    return made


def bytes_of(folder):
    folder = place(folder)
    return {name: (folder / name).read_bytes() for name in folder.file_names()}


@pytest.mark.timeout(600)  # Ray starts four times
def test_jobs_write_what_one_process_writes_and_survive_a_kill(bucket, make_features, tmp_path, monkeypatch):
    make_features(ROWS, DIM)
    for name, size in SMALL.items():
        monkeypatch.setattr(features_writer, name, size)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH")))))
    import_features(tmp_path / "features.parquet", f"{bucket}/features")
    import_features(f"{bucket}/features", tmp_path / "alone")
    split_features(f"{bucket}/features", tmp_path / "dataset")

    run("import", f"{bucket}/features", f"{bucket}/import")
    assert bytes_of(f"{bucket}/import") == bytes_of(tmp_path / "alone")

    target = BucketPlace(f"{bucket}/split")
    made = kill_in_the_middle(begin("split", f"{bucket}/features", target), target)
    written = {name: (target / name).written() for name in made}
    run("split", f"{bucket}/features", target)
    assert bytes_of(target) == bytes_of(tmp_path / "dataset")
    assert {name: (target / name).written() for name in made} == written
    assert Dataset.open(target).train_rows == 0.8 * ROWS

    process = begin("check", f"{bucket}/features", "--json")
    out, _ = process.communicate(timeout=200)
    alone = check_features(f"{bucket}/features")
    assert json.loads(out) == json.loads(json.dumps(alone.record()))
