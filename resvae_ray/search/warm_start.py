"""The first proposals of a search, taken from an earlier search on other data."""

from typing import Any

from resvae_ray import names
from resvae_ray.config import Config
from resvae_ray.errors import UsageError
from resvae_ray.files.place import AnyPath
from resvae_ray.search.run.run import Run
from resvae_ray.search.space import training_config

MOST = 5  # proposals: enough for several optima, and few beside the trials of a search


def proposals_like(run: AnyPath, config: Config) -> list[dict[str, Any]]:
    """The configurations of the best trials of an earlier RUN, the best first, as proposals for `config`.

    A field that the earlier search did not vary has the value that all its trials had. Proposals outside the space of
    `config` are left out.

    Raises:
        DataError: `run` is not a RUN, or its record is damaged.
        UsageError: no trial of it has a loss, or none lies in the space.
    """
    earlier = Run.open(run)
    usable = [record for record in earlier.records() if record.best_val_loss and record.state != names.FAILED]
    if not usable:
        raise UsageError(f"--like {run}: no trial of it has a loss; choose another RUN")
    ranked = sorted(usable, key=lambda record: (record.state != names.COMPLETE, record.best_val_loss))
    trained = [training_config(earlier.config, record.params) for record in ranked]
    proposals: list[dict[str, Any]] = []
    for each in trained:
        proposal = {name: getattr(each, name) for name in config.space}
        fits = all(domain.contains(proposal[name]) for name, domain in config.space.items())
        if fits and proposal not in proposals:
            proposals.append(proposal)
    if not proposals:
        raise UsageError(
            f"--like {run}: no trial of it lies in [space]; widen {_outside(config, trained[0])}, or leave --like out"
        )
    return proposals[: min(MOST, config.search.most_trials)]


def _outside(config: Config, best: Any) -> str:
    """The fields of the earlier best trial that lie outside the space, with their values."""
    values = {
        name: getattr(best, name) for name, domain in config.space.items() if not domain.contains(getattr(best, name))
    }
    texts = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return " and ".join(f"{name} (its best trial has {text})" for name, text in texts.items())
