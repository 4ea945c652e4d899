"""Searches and encodings on three hosts, without failures, and with hosts and drivers lost midway."""

from pathlib import Path

import pytest
from cluster import Cluster, wait
from hosts import HEAD, WORKERS
from work import account, encoded, hosts_at_work, wait_for_move, wait_for_trial, write_search

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


def test_doctor_finds_the_cluster_well(cluster: Cluster):
    said = cluster.on_head(f"python -m resvae_ray doctor --address auto --storage {cluster.folder}").stdout
    assert [line.split()[1] for line in said.splitlines()] == ["ok"] * 6, said
    assert f"{cluster.folder} is written and read by 3 " in said
