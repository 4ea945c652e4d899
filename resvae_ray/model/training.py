"""One configuration, trained epoch by epoch.

    training = Training(config, train_rows, val_rows, seed=0)
    for metrics in training.epochs():                      # a dict an epoch, names as in names.py
        training.save(folder)                              # whenever wanted; a later Training can `resume(folder)`

A resumed training gives the metrics and weights that it would have given undisturbed: the order of the rows, dropout
and noise of an epoch are drawn from the seed and the number of the epoch.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from resvae_ray import names
from resvae_ray.config import Metric, TrainingConfig
from resvae_ray.data.stream import Rows, mean_row
from resvae_ray.errors import DataError, JobError
from resvae_ray.model import checkpoint
from resvae_ray.model.average import averaged
from resvae_ray.model.checkpoint import load_state, state_tensors
from resvae_ray.model.loss import loss_terms
from resvae_ray.model.nested import NestedLatents
from resvae_ray.model.network import ResVAE
from resvae_ray.model.principal import metric_for, principal_components, start_as_pca
from resvae_ray.model.products import products_in, resolved
from resvae_ray.model.schedule import kld_weight, learning_rate
from resvae_ray.model.tensor_file import read_tensors, require_fit, write_tensors
from resvae_ray.model.validation import PAPER_BATCH, Validation, validate
from resvae_ray.seeds import NOISE, WEIGHTS, derive

PATH = ("path_in.", "path_out.")  # parameters of the linear path, the last ones of a network
CHECK_EVERY = 100  # steps between two looks at the losses; a look waits for the device

Metrics = dict[str, float]


class Diverged(JobError):
    """A loss is not finite; another step would corrupt the weights."""


class Training:
    """A Res-VAE in training.

    Args:
        config: the model and how it is trained.
        train, val: the rows, both of width D, on `device`.
        seed: of the initial weights, the order of the rows, dropout and noise.
        device: where the model is.
        metric: what validation measures; by default the loss that `config` trains with.

    Attributes:
        model: the network with its weights after the last finished epoch.
        epoch: finished epochs.
        last: the metrics of the last finished epoch; empty before the first.

    Raises:
        DataError: fewer than two training rows, or no validation row.
    """

    def __init__(
        self,
        config: TrainingConfig,
        train: Rows,
        val: Rows,
        seed: int = 0,
        device: torch.device | str = "cpu",
        metric: Metric | None = None,
    ) -> None:
        if train.rows < 2 or val.rows < 1:
            raise DataError(f"{train.rows} training and {val.rows} validation rows: at least 2 and 1 are needed")
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.metric = metric or metric_for(config, train)
        # If beta follows the error, the loss hardly changes with the error; the metric's beta shows progress.
        self._reported_beta = self.metric.beta if isinstance(config.beta, str) else config.beta
        self._train, self._val = train, val
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(WEIGHTS, seed))
            self.model = ResVAE.configured(config, train.dim).to(self.device)
        self._average = averaged(self.model, config.average) if config.average else None
        self._nested = None
        if config.nested:
            components = principal_components(train)
            self._nested = NestedLatents(config.nested, config.prefixes, config.z_dim, components, self.device)
        self._matmul = resolved(config.matmul)
        self._optimizer = torch.optim.AdamW(_groups(self.model, config), lr=config.lr, fused=True)
        self.epoch = 0
        self.last: Metrics = {}
        self._best: dict[str, torch.Tensor] = {}
        self._best_metrics: Metrics = {}
        self._best_saved = 0  # the epoch whose weights are on the disk

    @property
    def judged(self) -> ResVAE:
        """The network that is validated and kept: `model`, or the average of its weights."""
        return self.model if self._average is None else cast(ResVAE, self._average.module)

    @property
    def has_ended(self) -> bool:
        """Whether all epochs are trained, or the loss has not fallen for `config.patience` of them."""
        return self.config.has_ended(self.epoch, int(self._best_metrics.get(names.EPOCH, 0)))

    def epochs(self, until: int | None = None) -> Iterator[Metrics]:
        """Trains the epochs that are left, one at each step, and yields its metrics.

        Args:
            until: the epoch after which to stop before the end.

        Raises:
            Diverged: a training or validation loss is not finite; the best weights so far can still be saved.
        """
        if self.epoch == 0 and self.config.linear == "pca":  # it begins at the mean of the rows, too
            start_as_pca(self.model, principal_components(self._train))
        elif self.epoch == 0 and self.config.output_bias == "mean":
            self._start_at_mean()
        while not self.has_ended and (until is None or self.epoch < until):
            started = time.perf_counter()
            train_loss = self._train_epoch(self.epoch + 1)
            trained = time.perf_counter()
            validation = validate(self.judged, self._val, self.metric)
            if not math.isfinite(validation.loss):
                raise Diverged(f"the validation loss is {validation.loss} at epoch {self.epoch + 1}")
            self.epoch += 1
            rate = self._train.rows / (trained - started)
            self._record(train_loss, validation, rate, time.perf_counter() - started)
            yield self.last

    def best_model(self) -> ResVAE:
        """A copy of the network with the weights of the best epoch, in eval mode."""
        model = ResVAE.configured(self.config, self.model.input_dim)
        model.load_state_dict(self._best or self.judged.state_dict())
        return model.to(self.device).eval()

    def save(self, folder: Path) -> None:
        """Makes `folder` hold this training as it is now; killed at any moment, the folder can be resumed from."""
        self.save_best(folder)
        state = {
            "config": asdict(self.config),
            "metric": asdict(self.metric),
            "seed": self.seed,
            "epoch": self.epoch,
            "last": self.last,
            "best": self._best_metrics,
        }
        tensors = state_tensors(self.model, self._optimizer, self._average)
        write_tensors(checkpoint.resume_path(folder), tensors, state)
        if self._best_metrics:
            checkpoint.keep_only_best(folder, int(self._best_metrics[names.EPOCH]))

    def save_best(self, folder: Path) -> None:
        """Writes the weights of the best epoch so far, if they are not there yet."""
        if not self._best_metrics or self._best_saved == self._best_metrics[names.EPOCH]:
            return
        state = {
            "config": asdict(self.config),
            "metric": asdict(self.metric),
            "input_dim": self._train.dim,
            "metrics": self._best_metrics,
        }
        best_epoch = int(self._best_metrics[names.EPOCH])
        write_tensors(checkpoint.best_path(folder, best_epoch), self._best, state)
        self._best_saved = best_epoch

    def resume(self, folder: Path) -> bool:
        """Resumes the training that `save` left in `folder`; returns whether there was one.

        Raises:
            DataError: the checkpoint is unreadable, or belongs to another configuration or seed. It may be partly
                loaded: create a new Training.
        """
        path = checkpoint.resume_path(folder)
        if not path.exists():
            return False
        tensors, state = read_tensors(path)
        try:
            self._require_ours(state, path)
            self._take_up(folder, tensors, state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: not what a training saves: {type(error).__name__}: {error}") from None
        return True

    def _require_ours(self, state: dict[str, Any], path: Path) -> None:
        # Fields that an earlier version did not write get the default, which matches that version's behaviour.
        saved = asdict(TrainingConfig()) | state["config"], state["metric"], state["seed"]
        if saved != (asdict(self.config), asdict(self.metric), self.seed):
            raise DataError(f"{path}: saved by a training with another configuration or seed")

    def _take_up(self, folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        best = state["best"]
        if best:
            self._best_saved = int(best[names.EPOCH])
            path = checkpoint.best_path(folder, self._best_saved)
            self._best = read_tensors(path)[0]
            require_fit(self.judged, self._best, path)
        load_state(self.model, self._optimizer, self._average, tensors, checkpoint.resume_path(folder))
        self.epoch, self.last, self._best_metrics = state["epoch"], state["last"], best

    @torch.no_grad()
    def _start_at_mean(self) -> None:
        # As a last bias begins at the base rate in Lin et al. 2017, arXiv:1708.02002. From near 0 it would follow at
        # lr a step at most. Until it is there the weights of fc4 carry the mean, which may be ten times what rows
        # differ by, and every change of the layers before changes it.
        self.model.fc4.bias.copy_(mean_row(self._train, self.config.batch_size))

    def _train_epoch(self, epoch: int) -> float:
        self.model.train()
        total, losses, step, seen = 0.0, [], 0, 0
        fork = torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])
        with fork, products_in(self._matmul, self.device):
            torch.manual_seed(derive(NOISE, self.seed, epoch))
            for x in self._train.shuffled(self.config.batch_size, self.seed, epoch):
                done = (epoch - 1 + (seen + len(x) / 2) / self._train.rows) / self.config.epochs
                losses.append(self._step(x, done) * len(x))
                step, seen = step + 1, seen + len(x)
                if len(losses) == CHECK_EVERY:
                    total += _finite_sum(losses, epoch, step)
                    losses = []
        total += _finite_sum(losses, epoch, step)
        summed = self.config.loss_type == "MSE" and self.config.reduction == "sum"
        return total / self._train.rows * (PAPER_BATCH / self.config.batch_size if summed else 1)

    def _step(self, x: torch.Tensor, done: float) -> torch.Tensor:
        """Learns from a batch (B, D) when the fraction `done` of the training is over; the loss of the batch."""
        config = self.config
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(config, done)
        self._optimizer.zero_grad(set_to_none=True)
        kept, error_weights, kld_weights = self._nested.draw(len(x)) if self._nested else (None, None, None)
        outputs = self.model(x, kept=kept)
        times = len(outputs[0]) // len(x)
        terms = loss_terms(
            outputs[0],
            x if times == 1 else x.repeat(times, 1),
            *outputs[1:],
            beta=config.beta,
            loss_type=config.loss_type,
            reduction=config.reduction,
            weights=error_weights,
            kld_weights=kld_weights,
        )
        terms.weighted(kld_weight(config, done)).backward()
        if config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self.model)
        return replace(terms, beta=self._reported_beta).total.detach() / (times if config.reduction == "sum" else 1)

    def _record(self, train_loss: float, validation: Validation, rate: float, seconds: float) -> None:
        self.last = {
            names.EPOCH: self.epoch,
            names.TRAIN_LOSS: train_loss,
            names.VAL_LOSS: validation.loss,
            names.VAL_RECONSTRUCTION: validation.reconstruction,
            names.VAL_KLD: validation.kld,
            names.R2: validation.r2,
            names.ACTIVE_UNITS: validation.active_units,
            names.WORST_LOSS: validation.worst_loss,
            names.WORST_ROW: validation.worst_row,
            **({names.PAPER_LOSS: validation.paper_loss} if isinstance(self.config.beta, str) else {}),
            names.LEARNING_RATE: self._optimizer.param_groups[0]["lr"],
            names.ROWS_PER_SECOND: rate,
            names.SECONDS: seconds,
        }
        if not self._best_metrics or validation.loss < self._best_metrics[names.VAL_LOSS]:
            self._best_metrics = dict(self.last)
            self._best = {name: tensor.detach().clone() for name, tensor in self.judged.state_dict().items()}
        self.last[names.BEST_VAL_LOSS] = self._best_metrics[names.VAL_LOSS]
        self.last[names.BEST_EPOCH] = self._best_metrics[names.EPOCH]


def _groups(model: ResVAE, config: TrainingConfig) -> list[dict[str, Any]]:
    """The parameters in the model's order; weights decay, but towards the linear path, not the path itself."""
    path = [parameter for name, parameter in model.named_parameters() if name.startswith(PATH)]
    network = [parameter for name, parameter in model.named_parameters() if not name.startswith(PATH)]
    groups = [{"params": network, "weight_decay": config.weight_decay}]
    return [*groups, {"params": path, "weight_decay": 0.0}] if path else groups


def _finite_sum(losses: list[torch.Tensor], epoch: int, step: int) -> float:
    if not losses:
        return 0.0
    values = torch.stack(losses).double().cpu().numpy()
    if not np.isfinite(values).all():
        first = step - len(values) + int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise Diverged(f"the training loss is not finite at step {first} of epoch {epoch}")
    return float(values.sum())
