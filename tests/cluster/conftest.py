"""One cluster of three hosts for all tests; they share a folder, as a mounted file system would be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import Bucket
from cluster import Cluster
from hosts import Hosts, why_not
from work import write_features

from resvae_ray.data.splitting.split import split_features
from resvae_ray.files.place import Place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with Hosts(tmp_path_factory.mktemp("cluster")) as hosts:
        cluster = Cluster(hosts)
        cluster.up()
        yield cluster


@pytest.fixture(scope="session")
def bucket(cluster: Cluster) -> Iterator[Bucket]:
    made = Bucket(cluster.hosts)
    yield made
    made.close()


@pytest.fixture(scope="session")
def dataset(cluster: Cluster) -> Place:
    write_features(cluster.folder / "searched.parquet", 600, 0)
    return split_features(cluster.folder / "searched.parquet", cluster.folder / "dataset").path


@pytest.fixture(scope="session")
def model(cluster: Cluster, dataset: Place) -> Place:
    """A MODEL with random weights."""
    import torch

    from resvae_ray.model.network import ResVAE

    torch.manual_seed(0)
    return ResVAE(32, 16, 4).save_pretrained(cluster.folder / "model", {"best_val_loss": 1.0, "best_epoch": 1})


@pytest.fixture(scope="session")
def features(cluster: Cluster) -> Path:
    """FEATURES of 100,000 proteins in 200 files."""
    folder = cluster.folder / "features"
    folder.mkdir()
    for number in range(200):
        write_features(folder / f"part-{number:03d}.parquet", 500, 500 * number)
    return folder
