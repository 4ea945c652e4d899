"""`check`: inspects FEATURES, reports whether they are usable, and predicts how well a Res-VAE can compress them."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported, out of sight of a type checker.

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from resvae_ray.config import PAPER_BATCH, PAPER_METRIC
from resvae_ray.data.checking.advice import LATENTS, advice
from resvae_ray.data.checking.check_result import GOOD_R2, MOST_CLASSES, Check, Components, Labels, Spread
from resvae_ray.data.checking.spectrum import components_for, linear_r2, sufficient_beta, usable_latents
from resvae_ray.data.checking.survey import Location, Survey, place_of, repeated_vectors, survey
from resvae_ray.data.features import Features
from resvae_ray.data.hashes import Repeats, find_repeats
from resvae_ray.data.moments import Moments
from resvae_ray.data.row_texts import hashed, sequence_column, texts_of
from resvae_ray.data.same_protein import ProteinIds, accession_hashes
from resvae_ray.errors import UsageError
from resvae_ray.progress import Progress, silent

MOST_BETA = 1e30  # far beyond any use; what it is multiplied with stays finite
OUTLIER = 6.0  # robust standard deviations from the median feature; of 1,280 normal ones none is so far out
MAD_TO_STD = 1.4826  # a median absolute deviation times this is the standard deviation of a normal distribution


def check_features(features: str | Path, *, beta: float = PAPER_METRIC.beta, progress: Progress = silent) -> Check:
    """Reads FEATURES, or both sides of a DATASET, in one pass and returns their statistics.

    Memory: 24 bytes per row, plus the matrices of moments.py, whose size does not depend on the number of rows.

    Args:
        beta: the weight of the reconstruction loss in the planned training.
        progress: called with the number of rows read so far.

    Raises:
        UsageError: beta is not above 0, or not finite.
        DataError: no FEATURES there, a damaged file, text among the numbers, vectors of two widths.
    """
    require_beta(beta)
    source = Features.open(features)
    return check_of(source, survey(source, progress), beta)


def require_beta(beta: float) -> None:
    """
    Raises:
        UsageError: beta is not above 0, or not finite.
    """
    if not 0 < beta <= MOST_BETA:
        raise UsageError(f"--beta {beta}: it must be above 0, and {MOST_BETA:g} at most")


def check_of(source: Features, found: Survey, beta: float) -> Check:
    """The statistics of FEATURES whose vectors have been surveyed; reads the ids, labels and sequences."""
    with threadpool_limits(1, "blas"):
        components = _components(found.moments, beta)
    ids = find_repeats(hashed(source.ids(), source.rows))
    column = sequence_column(source)
    sequences = find_repeats(hashed(texts_of(source, column), source.rows)) if column else None
    check = Check(
        path=source.path,
        rows=source.rows,
        dim=source.dim,
        beta=beta,
        missing=found.missing,
        nonfinite=found.nonfinite,
        duplicate_ids=ids.rows,
        duplicate_vectors=repeated_vectors(source, found),
        duplicate_proteins=_repeated_accessions(source),
        duplicate_sequences=sequences.rows if sequences else None,
        labels=_labels(source),
        spread=_spread(found.moments, beta),
        components=components,
        first=_first(source, found, ids),
    )
    latents = [LATENTS] if source.layout.of_latents else []
    return replace(check, warnings=(*latents, *advice(check)))


def _first(source: Features, found: Survey, ids: Repeats) -> dict[str, Location]:
    repeated = place_of(source, ids.first[0]) if ids.first else None
    places = {"missing": found.first_missing, "nonfinite": found.first_nonfinite, "duplicate_ids": repeated}
    return {what: place for what, place in places.items() if place is not None}


def _repeated_accessions(source: Features) -> int:
    """Rows whose id has the UniProt accession of an earlier row; 0 if all ids are written in one form."""
    ids = ProteinIds(source.ids)
    return 0 if ids.plain else find_repeats(accession_hashes(ids, source.rows)).rows


def _labels(source: Features) -> Labels | None:
    if (column := source.layout.label) is None:
        return None
    counts: Counter[str] = Counter()
    missing = 0
    for texts in texts_of(source, column):
        for entry in pc.value_counts(texts).to_pylist() if len(counts) <= MOST_CLASSES else ():
            counts[entry["values"]] += entry["counts"]
        missing += pc.sum(pc.equal(texts, "")).as_py() or 0
    del counts[""]
    return Labels(column, missing, dict(counts.most_common()) if len(counts) <= MOST_CLASSES else None)


def _spread(moments: Moments, beta: float) -> Spread | None:
    if moments.rows < 2:
        return None
    total = float(moments.variance.sum())
    std = np.sqrt(moments.variance)
    outliers = outlier_dimensions(moments.mean, std)
    return Spread(
        constant_features=np.flatnonzero(moments.low == moments.high).tolist(),
        outlier_dimensions=outliers.tolist(),
        outlier_share=float(moments.variance[outliers].sum() / total) if total else 0.0,
        std_min=float(std.min()),
        std_median=float(np.median(std)),
        std_max=float(std.max()),
        total_variance=total,
        mean_loss=PAPER_BATCH * beta * total,
    )


def _components(moments: Moments, beta: float) -> Components | None:
    if moments.rows < 2 or not moments.variance.any() or (eigenvalues := moments.eigenvalues()) is None:
        return None
    return Components(
        components_60=components_for(eigenvalues, 0.6),
        components_90=components_for(eigenvalues, 0.9),
        usable_latents=usable_latents(eigenvalues, beta),
        linear_r2=linear_r2(eigenvalues, beta),
        sufficient_beta=sufficient_beta(eigenvalues, GOOD_R2),
    )


def outlier_dimensions(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """The features (positions) that language models set apart from all others (Kovaleva et al. 2021, arXiv:2105.06990).

    A feature is one if its mean is over 6 robust standard deviations (1.4826 times the median absolute deviation) from
    the median of all means (D), or its standard deviation by as much above theirs (D). Median and MAD, because
    the outliers themselves would inflate a mean and a standard deviation.
    """
    far = (np.abs(_robust(mean)) > OUTLIER) | (_robust(std) > OUTLIER)
    return np.flatnonzero(far)


def _robust(values: np.ndarray) -> np.ndarray:
    """The distances from the median in robust standard deviations; 0 where most values are equal."""
    distances = values - np.median(values)
    scale = MAD_TO_STD * np.median(np.abs(distances))
    return distances / scale if scale else np.zeros_like(distances)
