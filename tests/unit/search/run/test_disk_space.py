"""No training exceeds its disk estimate, and a search does not start without enough disk space."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from resvae_ray.config import Config, Domain, TrainingConfig
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.place import place
from resvae_ray.model import checkpoint
from resvae_ray.model.training import Training
from resvae_ray.search.run import disk_space as disk
from resvae_ray.search.run.disk_space import RECORDS_BYTES, require_space, space_needed

DIM, LR = 64, {"lr": Domain(1e-4, 1e-3)}


def config(trials=1, **training):
    return replace(
        Config(), space=LR, training=TrainingConfig(**training), search=replace(Config().search, trials=trials)
    )


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_trial_takes_no_more_while_it_is_saved(average, tmp_path, monkeypatch):
    rows = ResidentRows(torch.randn(40, DIM))
    mine = config(hidden_dim=256, z_dim=16, epochs=4, lr=1e-3, average=average)
    training, seen = Training(mine.training, rows, rows), []
    flush = safetensors.torch.save_file

    def save(*arguments, **more):
        flush(*arguments, **more)
        seen.append(size(tmp_path))

    monkeypatch.setattr(safetensors.torch, "save_file", save)
    for _ in training.epochs():
        training.save(tmp_path)
    bound = space_needed(mine, DIM, 1) - RECORDS_BYTES
    weights = size(tmp_path) - checkpoint.resume_path(tmp_path).stat().st_size
    assert 0.8 * (bound - 2 * weights) < max(seen) <= bound - 2 * weights, "two models are in the bound too"


def test_fifty_trials_of_the_papers_search():
    """The README quotes this figure."""
    assert 2.2e9 < space_needed(Config(), 1280, 8) < 2.3e9


@pytest.mark.parametrize("domain", [Domain(8, 512), Domain(choices=(512, 8))])
def test_the_largest_network_counts(domain):
    known = config(hidden_dim=512)
    assert space_needed(replace(known, space=LR | {"hidden_dim": domain}), DIM, 1) == space_needed(known, DIM, 1)


def test_trials_and_finalists_keep_their_weights():
    one = space_needed(config(), DIM, 1)
    assert space_needed(config(trials=3), DIM, 1) - one == 2 * disk._weight_bytes(config(), DIM)
    search = replace(config().search, finalists=2, seeds=3)
    assert space_needed(replace(config(), search=search), DIM, 1) - one == 6 * disk._weight_bytes(config(), DIM)


def test_too_little_space(tmp_path, monkeypatch, capsys):
    needed = space_needed(config(), DIM, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    require_space(place(tmp_path / "a" / "run"), config(), DIM, 1)
    assert "run: takes at most 0." in capsys.readouterr().err
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(JobError, match=r"run: the search may take 0\.\d\d GB there, .* and 0\.\d\d GB are free; make"):
        require_space(place(tmp_path / "a" / "run"), config(), DIM, 1)
    (tmp_path / "a" / "run" / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "a" / "run" / "trials" / "0000" / "best-0001.safetensors").write_bytes(b"it is there already")
    require_space(place(tmp_path / "a" / "run"), config(), DIM, 1)


@pytest.mark.parametrize("width", [2**62, 10**20])
def test_a_network_of_uncountable_size_is_refused(width, tmp_path):
    config = Config(space={"z_dim": Domain(choices=(3, width))})
    with pytest.raises(UsageError, match=f"z_dim up to {width}: 64 bits cannot count"):
        require_space(place(tmp_path / "run"), config, 8, 1)


def test_paused_trials_keep_their_state():
    """Of a search that promotes, every trial may be paused at the same time."""
    stopping = config(trials=50, hidden_dim=256)
    promoting = replace(stopping, search=replace(stopping.search, scheduler="promote"))
    more = space_needed(promoting, DIM, 2) - space_needed(stopping, DIM, 2)
    weights = space_needed(replace(stopping, search=replace(stopping.search, trials=51)), DIM, 2)
    weights -= space_needed(stopping, DIM, 2)
    assert more == 48 * 3 * weights
