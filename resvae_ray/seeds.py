"""Every stream of random numbers in the project, one line each.

A stream's seed is derived from what it is for (the user's seed, the trial, the epoch, …), never carried along: whatever
is resumed, skipped or rerun draws the numbers that it would have drawn undisturbed, and no state has to be stored.
"""

import numpy as np

PROPOSAL = 1  # (seed, trial): what TPE draws for one trial
BRACKET = 2  # (seed, trial): ASHA's bracket of a trial
TRIAL = 3  # (seed, trial): the seed of a trial's training
WEIGHTS = 4  # (trial seed): initial weights
SHUFFLE = 5  # (trial seed, epoch[, window]): the order of the training rows
NOISE = 6  # (trial seed, epoch): dropout and latent noise in training
VALIDATION = 7  # (block): latent noise in validation; the same for all trials, epochs and seeds
LATENTS = 8  # (seed, name of the output file, block): latents drawn by `encode --sample`
SYNTHETIC = 9  # (seed, block): the synthetic data set
FINALIST = 10  # (seed, trial, repeat): the seed of a finalist's training
PROBE_ROWS = 11  # (seed[, what]): which rows `evaluate` takes, where there are too many
PROJECTOR = 12  # (seed): which rows TensorBoard's projector shows, where there are too many
SHOWN_ROWS = 13  # (rows): which of many proteins a report shows
AXES_ROWS = 14  # (rows): on which of many training rows axes are fitted
BOOTSTRAP = 15  # (seed): how often each row counts in the samples behind an interval of `evaluate`
COMPONENT_ROWS = 16  # (rows): of which of many training rows the principal components are computed


def derive(stream: int, *parts: int) -> int:
    """A seed from 0 to 2**63 - 1 for a stream and what it is drawn for."""
    return int(np.random.SeedSequence([stream, *parts]).generate_state(1, np.uint64)[0] >> 1)
