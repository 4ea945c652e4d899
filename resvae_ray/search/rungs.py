"""The rungs of ASHA, as epochs."""

import math

from resvae_ray.config import Config


def rung_epochs(config: Config) -> list[int]:
    """The epochs at which trials are compared before their end, in order: grace * factor ** k."""
    search, epochs = config.search, config.training.epochs
    rungs, milestone = [], float(search.grace)
    while milestone < epochs:
        rungs.append(math.ceil(milestone))
        milestone *= search.reduction_factor
    return sorted({rung for rung in rungs if rung < epochs})
