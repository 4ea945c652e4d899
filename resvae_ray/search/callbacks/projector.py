"""The exported model's latents with ids and labels, as files that TensorBoard's projector draws.

They lie in a folder of their own below RUN/tune, named for the trial, since TensorBoard looks for such files when it
sees a new run.
"""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers make their classes when they are imported, out of sight of a type checker.

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from google.protobuf import text_format
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from resvae_ray import names
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features import draw_groups
from resvae_ray.data.schema import FeatureBatch
from resvae_ray.errors import DataError
from resvae_ray.files.atomic import replace_folder
from resvae_ray.model.network import ResVAE
from resvae_ray.search.callbacks.tensorboard import EventFile
from resvae_ray.search.run.run import Run
from resvae_ray.seeds import PROJECTOR, derive
from resvae_ray.wording import printable

logger = logging.getLogger(__name__)

POINTS = 5000  # as many as a browser rotates smoothly
ROWS_READ = 20 * POINTS  # the sample that the points are drawn from, for a DATASET of any size
SIDE = "side"
LATENTS_FILE = "latents.tsv"
ABOUT_FILE = "proteins.tsv"


def show_latents(run: Run, dataset: Dataset) -> None:
    """Writes the projector's files for RUN/model. The search has its result: if they cannot be written, it warns."""
    if (best := run.saved_best()) is None:
        return
    model = ResVAE.from_pretrained(run.path / names.MODEL_FOLDER)
    try:
        write_projector(run.path / names.TUNE_FOLDER, best.number, model, dataset, run.config.search.seed)
    except (OSError, DataError) as error:
        logger.warning("TensorBoard's projector has no latents to show: %s", error)


def write_projector(board: Path, number: int, model: ResVAE, dataset: Dataset, seed: int = 0) -> Path:
    """Writes posterior means, ids, sides and labels of at most `POINTS` proteins of both sides of the DATASET.

    Args:
        board: TensorBoard's folder; what was written there for another trial is removed.
        number: of the trial that the model comes from.
        seed: which proteins are drawn where there are more; the same seed draws the same.

    Raises:
        DataError: the DATASET cannot be read.
    """
    target = board / names.PROJECTOR_FOLDER.format(number=number)
    with replace_folder(target) as folder:
        folder.mkdir(parents=True)
        _write_points(folder, model, _drawn(dataset, seed))
        (folder / PROJECTOR_FILENAME).write_text(text_format.MessageToString(_config(number)))
    # This makes it a run; before, TensorBoard would remember the folder under its temporary name.
    EventFile(target)
    for other in board.glob(names.PROJECTOR_FOLDER.partition("{")[0] + "*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)
    return target


def _config(number: int) -> ProjectorConfig:
    config = ProjectorConfig()
    config.embeddings.add(tensor_name=f"latents of trial {number}", tensor_path=LATENTS_FILE, metadata_path=ABOUT_FILE)
    return config


def _write_points(folder: Path, model: ResVAE, batches: Iterator[tuple[str, FeatureBatch]]) -> None:
    """Writes one line per protein to each file. The second file has several columns and a header."""
    with (folder / LATENTS_FILE).open("w") as latents, (folder / ABOUT_FILE).open("w", encoding="utf-8") as about:
        about.write(f"{names.ID}\t{names.LABEL}\t{SIDE}\n")
        for side, batch in batches:
            with torch.inference_mode():
                mu, _ = model.encode(torch.from_numpy(np.array(batch.features)))
            np.savetxt(latents, mu.numpy(), fmt="%.5g", delimiter="\t")
            for name, label in zip(batch.ids.to_pylist(), _labels(batch), strict=True):
                about.write(f"{printable(str(name))}\t{printable('' if label is None else str(label))}\t{side}\n")


def _labels(batch: FeatureBatch) -> list[object]:
    has_label = names.LABEL in batch.others.column_names
    return batch.others.column(names.LABEL).to_pylist() if has_label else [None] * len(batch)


def _drawn(dataset: Dataset, seed: int) -> Iterator[tuple[str, FeatureBatch]]:
    """Rows with their side, in the order of the files; where there are more than `POINTS`, a random choice of them."""
    random = np.random.default_rng(derive(PROJECTOR, seed))
    sides = [(side, dataset.features(side)) for side in (names.TRAIN, names.VAL)]
    groups = [(side, features, group) for side, features in sides for group in features.groups()]
    groups = [groups[at] for at in draw_groups([group.rows for *_, group in groups], ROWS_READ, random)]
    rows = sum(group.rows for *_, group in groups)
    keep = np.zeros(rows, dtype=bool)
    keep[random.choice(rows, min(POINTS, rows), replace=False)] = True
    start = 0
    for side, features, group in groups:
        for batch in features.file_batches(group.file, [group.index]):
            yield side, batch.take(keep[start : start + len(batch)])
            start += len(batch)
