"""Does every row arrive once if import, split and encode are killed twice each, from and to an S3 server?

    python -m benchmarks.killed_jobs [--rows 1000000] [--dim 320] [--kills 2]

starts an S3 server on loopback (moto, which holds all objects in memory: four times the features) unless
AWS_ENDPOINT_URL names one, writes synthetic shards to it, runs the three verbs as Ray jobs and kills each with SIGKILL
when a third, and two thirds, of its files are there. It prints one line of JSON: for each verb its files, how many were
there at each kill, seconds, CPU seconds (of the server too if it is moto), rows, and whether the ids are those of the
source, each once. moto copies an object for each range of it that is read, 0.1 s of CPU for one of 150 MB: for more
than 100,000 rows take another server, such as s3rver.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from moto.server import ThreadedMotoServer

from benchmarks.import_split import blocks
from benchmarks.measuring import report
from resvae_ray.data.features import Features
from resvae_ray.data.features_writer import part_rows
from resvae_ray.data.hashes import hash_texts
from resvae_ray.data.schema import vectors
from resvae_ray.data.synthetic import BLOCK_ROWS
from resvae_ray.files.place import BucketPlace
from resvae_ray.model.network import ResVAE

SHARD_BLOCKS = 128  # blocks of synthetic rows in a shard
BUCKET = "s3://jobs"
# Below 2 GiB the verbs would run in one process.
COMMAND = """
import sys
from resvae_ray.cli import main
from resvae_ray.jobs import portions
portions.LARGE_BYTES = 1
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    """Runs the verbs and prints what became of the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=320)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    server = None if "AWS_ENDPOINT_URL" in os.environ else start_server()
    make_bucket()
    write_shards(options.rows, options.dim)
    torch.manual_seed(0)
    ResVAE(options.dim, 64, 16).save_pretrained(f"{BUCKET}/model")
    expected = np.sort(hashes_below("shards"))
    count = -(-options.rows // part_rows(options.dim))
    found = {
        "import": killed(options.kills, count, expected, "features", "import", "shards", "features"),
        "split": killed(options.kills, count, expected, "dataset", "split", "features", "dataset"),
        "encode": killed(options.kills, count, expected, "latents", "encode", "model", "features", "latents"),
    }
    report("does every row arrive once if the jobs are killed?", rows=options.rows, dim=options.dim, **found)
    if server:
        server.stop()


def start_server() -> ThreadedMotoServer:
    """Starts moto, and sets the environment that leads to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return server


def make_bucket() -> None:
    """Makes an empty bucket."""
    from pyarrow import fs

    server = os.environ["AWS_ENDPOINT_URL"]
    fs.S3FileSystem(endpoint_override=server, region="us-east-1", allow_bucket_creation=True).create_dir(BUCKET[5:])


def write_shards(rows: int, dim: int) -> None:
    """Features as a data set on the hub has them: many files, compressed."""
    tables = (
        pa.table({"id": ids, "label": labels, "features": vectors(matrix)}) for ids, labels, matrix in blocks(rows, dim)
    )
    number = 0
    while shard := list(islice(tables, SHARD_BLOCKS)):
        with BucketPlace(f"{BUCKET}/shards/{number:04d}.parquet").staged_file() as staging:
            pq.write_table(pa.concat_tables(shard), staging, compression="zstd", row_group_size=BLOCK_ROWS)
        number += 1


def hashes_below(name: str) -> np.ndarray:
    """A hash of each id."""
    return np.concatenate([hash_texts(ids) for ids in Features.open(f"{BUCKET}/{name}").ids()])


def killed(kills: int, count: int, expected: np.ndarray, target: str, verb: str, *names: str) -> dict[str, Any]:
    """Runs a verb, kills it on the way, resumes it, and says what is there in the end.

    Args:
        count: of the files that it makes, about.
    """
    started, cpu = time.monotonic(), cpu_seconds()
    there = []
    for number in range(kills):
        process = begin(verb, *names)
        least = max(1, count * (number + 1) // (kills + 1))
        while process.poll() is None and files_in(target) < least:
            time.sleep(0.1)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        there.append(files_in(target))
    if code := begin(verb, *names).wait():
        sys.exit(f"{verb}: exit code {code}")
    seconds, cpu = time.monotonic() - started, cpu_seconds() - cpu
    ids = hashes_below(target)
    return {
        "files": files_in(target),
        "files_at_kills": there,
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu, 1),
        "rows": len(ids),
        "every_row_once": bool(np.array_equal(np.sort(ids), expected)),
    }


def begin(verb: str, *names: str) -> subprocess.Popen[bytes]:
    """Starts the verb in a session of its own."""
    arguments = [f"{BUCKET}/{name}" for name in names]
    command = [sys.executable, "-c", COMMAND, verb, *arguments]
    return subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)


def files_in(name: str) -> int:
    """Number of Parquet files."""
    return sum(file.endswith(".parquet") for file in BucketPlace(f"{BUCKET}/{name}").file_names())


def cpu_seconds() -> float:
    """CPU seconds of all children that have ended, and of this process, which serves the bucket."""
    usages = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
