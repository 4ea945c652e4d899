"""Warnings about FEATURES that are usable but will give poor results: one function per warning."""

from collections.abc import Callable

from resvae_ray.config import Config
from resvae_ray.data.checking.check_result import MOST_CLASSES, Check
from resvae_ray.data.layout import some_names
from resvae_ray.names import LATENT

ENOUGH_R2 = 0.6  # about what the paper's model explains of its features' variance
MUCH = 0.5  # of the total variance, in a few outlier dimensions
TRAINED = 0.8  # of the rows, by default
ENOUGH_ROWS = 1000  # training rows; at 640 batches of 32 help, at 2,189 they hurt
LATENTS = f"the vectors are called {LATENT!r}, as the latents of `encode` are; a model is trained on features"


def advice(check: Check) -> list[str]:
    """The warnings that apply."""
    return [text for rule in RULES if (text := rule(check)) is not None]


def _collapse(check: Check) -> str | None:
    """The posterior collapses where the KLD outweighs what the latents save; see spectrum.py."""
    if (spread := check.spread) is None or (found := check.components) is None or found.linear_r2 >= ENOUGH_R2:
        return None
    scale = (found.sufficient_beta / check.beta) ** 0.5
    return (
        f"the total variance {spread.total_variance:.3g} is so small that at beta {check.beta:g} the KLD wins: "
        f"{found.usable_latents} latents are worth it, and explain {found.linear_r2:.0%} of the variance at best "
        f"(linear theory); a best_val_loss near {spread.mean_loss:,.0f} means that the model predicts the mean; set "
        f"beta = {found.sufficient_beta:g} in [training], or multiply the features by {scale:.2g}"
    )


def _no_variance(check: Check) -> str | None:
    if check.spread is not None and check.spread.total_variance:
        return None
    return "no two whole rows differ: there is nothing to compress"


def _no_components(check: Check) -> str | None:
    """Too many rows of too many features for the memory; see moments.py."""
    if check.components is not None or check.spread is None or not check.spread.total_variance:
        return None
    return (
        f"{check.rows:,} rows of {check.dim:,} features are too many for their principal components: how many hold "
        "the variance, and whether the KLD outweighs it, is not known"
    )


def _few_rows(check: Check) -> str | None:
    batch = Config().training.batch_size
    if TRAINED * check.rows >= batch:
        return None
    return f"{check.rows:,} rows: fewer than a batch of {batch} is left to train on"


def _memorised(check: Check) -> str | None:
    """Fewer training rows than a network needs; measured in benchmarks/RESULTS.md, "Few rows"."""
    rows = round(TRAINED * check.rows)
    if rows >= ENOUGH_ROWS or rows < Config().training.batch_size:
        return None
    return (
        f"about {rows:,} training rows: a network memorises them and explains much less of unseen rows; train with "
        "batch_size = 32, and compare with PCA (`evaluate`), which needs fewer rows"
    )


def _few_rows_per_feature(check: Check) -> str | None:
    if check.rows >= check.dim:
        return None
    return (
        f"{check.rows:,} rows for {check.dim:,} features: a search will choose what fits these rows by chance, and the "
        "components are of these rows alone"
    )


def _width(check: Check) -> str | None:
    """Widths outside the range of the paper's search."""
    (_, most_latents), (fewest_units, most_units) = _tried("z_dim"), _tried("hidden_dim")
    start = f"{check.dim:,} features: the default search, made for 1,280, tries"
    if most_latents >= check.dim:
        return f"{start} up to {most_latents:g} latents; set z_dim and hidden_dim in [space]"
    if fewest_units > check.dim or 2 * most_units < check.dim:
        return f"{start} {fewest_units:g} to {most_units:g} hidden units; set hidden_dim in [space]"
    return None


def _tried(name: str) -> tuple[float, float]:
    """The range of the default search."""
    domain = Config().space[name]
    return domain.low or 0, domain.high or 0


def _constant(check: Check) -> str | None:
    if check.spread is None or not (count := len(check.spread.constant_features)):
        return None
    return f"{count:,} features are constant and tell nothing"


def _outliers(check: Check) -> str | None:
    if check.spread is None or check.spread.outlier_share < MUCH:
        return None
    return (
        f"{len(check.spread.outlier_dimensions)} outlier dimensions hold {check.spread.outlier_share:.0%} of the total "
        "variance: the reconstruction loss is mostly theirs"
    )


def _repeated_vectors(check: Check) -> str | None:
    if not check.duplicate_vectors:
        return None
    return f"{check.duplicate_vectors:,} rows repeat the vector of an earlier one; a split can put them on both sides"


def _repeated_proteins(check: Check) -> str | None:
    if not check.duplicate_proteins:
        return None
    return (
        f"{check.duplicate_proteins:,} rows have the UniProt accession of an earlier one in their id; a split can put "
        "one protein on both sides"
    )


def _repeated_sequences(check: Check) -> str | None:
    if not check.duplicate_sequences:
        return None
    return (
        f"{check.duplicate_sequences:,} rows repeat the sequence of an earlier one; `split --group sequence` keeps "
        "them on one side"
    )


def _labels(check: Check) -> str | None:
    if (labels := check.labels) is None:
        return None
    if labels.counts is None:
        return f"column {labels.column} has over {MOST_CLASSES:,} different labels: are they numbers or ids?"
    if labels.missing:
        return f"{labels.missing:,} rows have no label"
    alone = [label for label, count in labels.counts.items() if count == 1]
    return f"only one row has the label {some_names(alone)}; `split --stratify` needs 2" if alone else None


RULES: tuple[Callable[[Check], str | None], ...] = (
    _collapse,
    _no_variance,
    _no_components,
    _few_rows,
    _memorised,
    _few_rows_per_feature,
    _width,
    _constant,
    _outliers,
    _repeated_vectors,
    _repeated_proteins,
    _repeated_sequences,
    _labels,
)
