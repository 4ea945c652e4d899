"""`check` of large FEATURES as a Ray Data job: a task surveys some row groups, and this process joins the surveys."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

from resvae_ray.config import PAPER_METRIC
from resvae_ray.data.checking.check import check_features, check_of, require_beta
from resvae_ray.data.checking.check_result import Check
from resvae_ray.data.checking.survey import Survey, SurveyPart, joined, survey_part, survey_parts
from resvae_ray.data.features import Features
from resvae_ray.jobs.portions import is_large
from resvae_ray.on_ray.cluster import ray_session
from resvae_ray.on_ray.pieces import one_core
from resvae_ray.on_ray.tasks import try_tasks
from resvae_ray.progress import Progress, silent


def check_shards(
    features: str | Path,
    *,
    beta: float = PAPER_METRIC.beta,
    address: str = "",
    progress: Progress = silent,
    on_ray: Callable[[int], None] = lambda tasks: None,
) -> Check:
    """As `check_features`, with the same figures; large FEATURES are read by a Ray job.

    A check writes nothing, so an interrupted one starts over. This process holds what `check_features` holds: 24 bytes
    per row and a few D x D matrices.

    Args:
        address: of a running Ray cluster: FEATURES of any size are read on it.
        on_ray: called with the number of tasks before a job begins.

    Raises:
        UsageError, DataError: see `check_features`.
        JobError: Ray gave up, or the storage cannot be reached.
    """
    require_beta(beta)
    if not (address or is_large(features)):
        return check_features(features, beta=beta, progress=progress)
    source = Features.open(features)
    parts = survey_parts(source)
    on_ray(len(parts))
    with ray_session(address):
        found = joined(source, _surveys(source, parts, progress))
    return check_of(source, found, beta)


def _surveys(source: Features, parts: list[SurveyPart], progress: Progress) -> Iterator[Survey]:
    """The surveys in the order of the parts: sums of floats depend on it."""
    waiting: dict[int, Survey] = {}
    rows = following = 0
    for outcome in try_tasks(_survey, parts, one_core([]), source=source):
        if outcome.error:
            raise outcome.error
        rows += outcome.rows
        progress(rows, source.rows)
        # Made by a task of this job, and brought by Ray, which pickles as well.
        waiting[outcome.position] = pickle.loads(outcome.content)  # noqa: S301
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def _survey(part: SurveyPart, source: Features) -> tuple[int, bytes]:
    return part.rows, pickle.dumps(survey_part(source, part, silent))
