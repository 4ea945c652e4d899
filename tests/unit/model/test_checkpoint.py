"""Paths of the files that a training writes."""

from resvae_ray.model.checkpoint import best_path, newest_best


def test_the_newest_best_is_the_one_of_the_latest_epoch(tmp_path):
    for epoch in (9999, 10000, 7):
        best_path(tmp_path, epoch).touch()
    assert newest_best(tmp_path) == best_path(tmp_path, 10000)
