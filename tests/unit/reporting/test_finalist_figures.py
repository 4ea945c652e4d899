import json

import pytest

from resvae_ray.errors import DataError
from resvae_ray.reporting.figures import figures
from resvae_ray.reporting.sections import finalist_rows
from resvae_ray.search.run.finalists import write_choice
from resvae_ray.search.run.run import Run


@pytest.fixture
def with_finalists(searched):
    """Trials 0 and 1 are finalists; of four trainings those in `losses` have ended."""

    def make(losses):
        path = searched([("complete", [9.0] * 9), ("pruned", [7.0]), ("complete", [20.0] * 9)])
        info = json.loads((path / "run.json").read_text())
        info["config"]["search"] |= {"trials": 3, "finalists": 2, "seeds": 2}
        (path / "run.json").write_text(json.dumps(info))
        for (number, repeat), loss in losses.items():
            folder = path / "finalists" / f"{number:04d}-{repeat}"
            folder.mkdir(parents=True)
            (folder / "result.json").write_text(json.dumps({"best_val_loss": loss}))
        run = Run.open(path)
        if losses:
            write_choice(path, run.finalists())
        return figures(run)

    return make


def test_the_losses_and_the_winner_are_shown(with_finalists):
    drawn = with_finalists({(1, 0): 12.0, (1, 1): 14.0, (0, 0): 9.5, (0, 1): 10.5})
    figure = drawn["finalists"]
    seeds, means, search = figure.data
    assert list(zip(seeds.x, seeds.y, strict=True)) == [
        (12.0, "trial 1"),
        (14.0, "trial 1"),
        (9.5, "trial 0"),
        (10.5, "trial 0"),
    ]
    assert list(means.x) == [13.0, 10.0]
    assert list(search.x) == [7.0, 9.0]
    assert "Trial 0 was chosen" in figure.layout.meta["reading"]
    rows = finalist_rows(drawn.findings.finalists)
    assert rows[1] == ["1", "7.00, stopped at epoch 1", "13.00", "1.41", "–", "2", "0"]
    assert rows[2] == ["0", "9.00", "10.00", "0.71", "+1.00", "2", "0"]


def test_before_all_have_ended_there_is_no_winner(with_finalists):
    figure = with_finalists({(1, 0): 12.0})["finalists"]
    assert "1 of 4 trainings have ended" in figure.layout.meta["reading"]


def test_it_says_when_none_has_been_trained(with_finalists):
    with pytest.raises(DataError, match="no finalist has been trained"):
        with_finalists({})["finalists"]


def test_a_search_without_finalists_has_no_such_figure(run_path):
    assert "finalists" not in figures(run_path)
