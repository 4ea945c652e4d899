"""Schedules of the learning rate and of the weight of the KLD.

Both depend on the completed fraction of the training (0 to 1), counted in rows. The curve does not depend on the batch
size, and a resumed training computes it from the epoch and the batch alone.
"""

import math

from resvae_ray.config import TrainingConfig

ONE_CYCLE_RISE = 0.3  # of the training, where no warm-up is given
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1e-4  # of lr
WSD_DECAY = 0.2  # of the training


def learning_rate(config: TrainingConfig, done: float) -> float:
    """The learning rate when the fraction `done` of the training is over.

    - constant: lr throughout.
    - cosine: half a cosine from lr to 0 (Loshchilov & Hutter 2017, arXiv:1608.03983).
    - one_cycle: up from lr / 25 over the first 30 %, down to lr / 10,000 (Smith & Topin 2018, arXiv:1708.07120).
    - wsd: lr, then down to 0 over the last 20 % as 1 - sqrt (Hägele et al. 2024, arXiv:2405.18392).

    All but one_cycle rise in a line from 0 to lr over the warm-up, if there is one.
    """
    if config.schedule == "one_cycle":
        return config.lr * _one_cycle(done, config.warmup or ONE_CYCLE_RISE)
    if done < config.warmup:
        return config.lr * done / config.warmup
    if config.schedule == "cosine":
        return config.lr * _cosine((done - config.warmup) / (1 - config.warmup))
    if config.schedule == "wsd" and done > 1 - WSD_DECAY:
        return config.lr * (1 - math.sqrt((done - (1 - WSD_DECAY)) / WSD_DECAY))
    return config.lr


def kld_weight(config: TrainingConfig, done: float) -> float:
    """The weight of the KLD in the loss, rising in a line to 1 (Bowman et al. 2016, arXiv:1511.06349)."""
    return min(1.0, done / config.kld_warmup) if config.kld_warmup else 1.0


def _cosine(part: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * part))


def _one_cycle(done: float, rise: float) -> float:
    if done < rise:
        return 1 - (1 - ONE_CYCLE_START) * _cosine(done / rise)
    return ONE_CYCLE_END + (1 - ONE_CYCLE_END) * _cosine((done - rise) / (1 - rise))
