"""The verbs on three hosts, without failures, and with hosts and drivers lost midway."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bucket import Bucket
from cluster import Cluster, Submitted, wait
from hosts import HEAD, WORKERS
from small import ROWS_IN_A_FILE
from tiny_esm import write_tiny_esm
from work import account, encoded, hosts_at_work, wait_for_move, wait_for_trial, write_proteins, write_search

from resvae_ray import names
from resvae_ray.search.run.run import Run


@pytest.fixture
def run(cluster: Cluster, request: pytest.FixtureRequest) -> Path:
    return cluster.folder / "runs" / request.node.name.strip("]").replace("[", "-")


@pytest.fixture
def search(cluster: Cluster, dataset: Path, run: Path):
    """Begins a search of 20 trials on the cluster."""

    def begin(*flags: object):
        return cluster.begin("tune", dataset, run, *flags)

    config = write_search(cluster.folder / "search.toml")
    return lambda *flags: begin("--config", config, *flags)


def test_search(cluster: Cluster, search, run: Path):
    search().finish()
    account(run)
    assert hosts_at_work(run) <= set(WORKERS)


@pytest.mark.parametrize("loss", ["cut", "kill"])
def test_search_continues_without_a_host(cluster: Cluster, search, run: Path, loss: str):
    job = search()
    number, host = wait_for_trial(run, job)
    getattr(cluster.hosts, loss)(host)
    seconds = wait_for_move(run, number, host)
    print(f"{loss}: trial {number} resumed elsewhere after {seconds:.1f} s")
    {"cut": cluster.hosts.heal, "kill": cluster.hosts.start}[loss](host)
    job.finish()
    account(run)
    cluster.wait_for_nodes(HEAD, *WORKERS)


def test_search_resumes_after_its_driver_was_killed(cluster: Cluster, search, dataset: Path, run: Path):
    job = search()
    wait_for_trial(run, job)
    cluster.kill_driver()
    code, printed = job.end()
    assert code, printed
    assert any(record.state == names.RUNNING for record in Run.open(run).records())
    cluster.submit("tune", dataset, run, "--resume")
    account(run)


def test_search_outlives_the_laptop(cluster: Cluster, search, run: Path):
    job = search()
    wait_for_trial(run, job)
    job.close_laptop()
    search().finish()
    account(run)
    assert len(Run.open(run).info["sessions"]) == 1


@pytest.mark.parametrize("loss", ["", "cut", "kill"])
def test_encode(cluster: Cluster, model: Path, features: Path, loss: str):
    latents = cluster.folder / f"latents-{loss or 'undisturbed'}"
    job = cluster.begin("encode", model, features, latents)
    if loss:
        wait(lambda: len(list(latents.glob("*.parquet"))) >= 5, 300, "nothing is encoded")
        getattr(cluster.hosts, loss)(WORKERS[0])
        assert len(list(latents.glob("*.parquet"))) < 200
    job.finish()
    encoded(features, latents)
    if loss:
        {"cut": cluster.hosts.heal, "kill": cluster.hosts.start}[loss](WORKERS[0])
        cluster.wait_for_nodes(HEAD, *WORKERS)


def test_from_sequences_to_latents_in_a_bucket_with_a_host_cut_off_in_each_step(cluster: Cluster, bucket: Bucket):
    ids = write_proteins(cluster.folder / "p.fasta", 1000)
    bucket.put("p.fasta", cluster.folder / "p.fasta")
    esm, fetched = write_tiny_esm(cluster.folder / "esm2_tiny"), cluster.folder / "fetched"

    def end_without_a_host(job: Submitted, folder: str, ending: str, most: int) -> None:
        """Cuts a worker off once a few files are there, and waits for the end of the job."""

        def made() -> int:
            return sum(name.endswith(ending) for name in bucket.names(folder))

        wait(lambda: made() >= 2 or not job.running, 300, f"nothing in {folder}")
        cluster.hosts.cut(WORKERS[0])
        assert job.running, job.end()
        assert made() < most
        job.finish()
        cluster.hosts.heal(WORKERS[0])
        cluster.wait_for_nodes(HEAD, *WORKERS)

    def ids_in(folder: str) -> list[str]:
        files = sorted(bucket.fetch(folder, fetched / folder).rglob("*.parquet"))
        return [name for file in files for name in pq.read_table(file, columns=[names.ID])[names.ID].to_pylist()]

    options = ("--model", esm, "--pooling", "mean", "--workers", 4)
    job = cluster.begin("embed", f"{bucket}/p.fasta", f"{bucket}/features", *options)
    end_without_a_host(job, ".features.embedding", ".npy", 15)
    assert ids_in("features") == ids
    assert len(bucket.names("features")) == len(ids) // ROWS_IN_A_FILE
    assert not any(bucket.names(".features.embedding"))

    job = cluster.begin("split", f"{bucket}/features", f"{bucket}/dataset")
    end_without_a_host(job, "dataset", ".parquet", len(ids) // ROWS_IN_A_FILE)
    assert sorted(ids_in("dataset")) == ids
    assert len(ids_in("dataset/train")) == 0.8 * len(ids)

    config = write_search(cluster.folder / "search.toml")
    job = cluster.begin("tune", f"{bucket}/dataset", f"{bucket}/run", "--config", config)
    copies = cluster.hosts.home(HEAD) / ".cache/resvae_ray/runs"
    wait(lambda: bool(list(copies.glob(f"*/run/{names.RUN_FILE}"))) or not job.running, 300, "no search")
    (copy,) = copies.glob("*/run")
    number, host = wait_for_trial(copy, job)
    cluster.hosts.cut(host)
    wait_for_move(copy, number, host)
    cluster.hosts.heal(host)
    job.finish()
    account(bucket.fetch("run", fetched / "run"))
    cluster.wait_for_nodes(HEAD, *WORKERS)

    job = cluster.begin("encode", f"{bucket}/run/model", f"{bucket}/features", f"{bucket}/latents")
    end_without_a_host(job, "latents", ".parquet", len(ids) // ROWS_IN_A_FILE)
    assert ids_in("latents") == ids


def test_doctor_finds_the_cluster_well(cluster: Cluster):
    said = cluster.on_head(f"python -m resvae_ray doctor --address auto --storage {cluster.folder}").stdout
    assert [line.split()[1] for line in said.splitlines()] == ["ok"] * 6, said
    assert f"{cluster.folder} is written and read by 3 " in said
