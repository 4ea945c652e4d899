"""Exports of the encoder (features to posterior mean) that run without this package: ONNX and torch.export.

Each file is compared with the model itself before it is published.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from resvae_ray.errors import JobError, first_line
from resvae_ray.extras import require
from resvae_ray.names import FEATURES, LATENT, ONNX_FILE, TORCH_EXPORT_FILE

if TYPE_CHECKING:
    from resvae_ray.model.network import ResVAE

BATCH = "batch"  # the axis that may have any length
CHECKED_BATCHES = (1, 2, 7, 64)
TOLERANCE = 1e-4  # of the largest latent: kernels add up in different orders; seen are some 1e-6
ENCODER = ("fc1", "bn1", "dropout1", "resblock1", "resblock2", "fc21", "fc22", "scaling", "path_in")
METADATA_FILE = "resvae_ray.json"  # inside a .pt2 file

Exported = Callable[[torch.Tensor], torch.Tensor]


class PosteriorMean(nn.Module):
    """The encoder of a model, on the CPU and in eval mode: (B, D) to the posterior's mean (B, Z)."""

    def __init__(self, model: "ResVAE") -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu()
        for name, _ in list(model.named_children()):
            if name not in ENCODER:
                delattr(self.model, name)
        self.eval()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) to (B, Z)."""
        return self.model.encode(features)[0]


def require_onnx() -> None:
    """
    Raises:
        UsageError: a package that writes or checks ONNX is missing.
    """
    require("onnx", "onnx", "onnxscript", "onnxruntime")


def write_onnx(model: "ResVAE", about: dict[str, Any], folder: Path) -> None:
    """Writes model.onnx: `features` (batch, D) to `z` (batch, Z), with what is known of the model as metadata.

    Args:
        about: what produced the features, and anything else worth knowing later.

    Raises:
        JobError: onnxruntime gives other latents than PyTorch.
        UsageError: a package is missing.
    """
    require_onnx()
    import onnx

    path = folder / ONNX_FILE
    with _quiet():
        proto = _onnx_model(_exported(model))
    onnx.helper.set_model_props(proto, _metadata(model, about))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    _compare(model, _onnx_run(path), path)


def write_torch_export(model: "ResVAE", about: dict[str, Any], folder: Path) -> None:
    """Writes model.pt2 for `torch.export.load`: features (B, D) to the posterior mean (B, Z).

    Args:
        about: as for `write_onnx`; in the file as resvae_ray.json.

    Raises:
        JobError: the file gives other latents than the model.
    """
    path = folder / TORCH_EXPORT_FILE
    with _quiet():
        torch.export.save(_exported(model), path, extra_files={METADATA_FILE: json.dumps(_metadata(model, about))})
        run = torch.export.load(path).module()
    _compare(model, run, path)


def _onnx_model(program: torch.export.ExportedProgram) -> Any:
    try:
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=[FEATURES],
            output_names=[LATENT],
            dynamic_shapes={FEATURES: {0: BATCH}},
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise JobError(f"{ONNX_FILE}: torch could not write it: {first_line(error)}") from error
    return cast("torch.onnx.ONNXProgram", exported).model_proto


def _exported(model: "ResVAE") -> torch.export.ExportedProgram:
    example = torch.zeros(4, model.input_dim)
    batch = torch.export.Dim(BATCH, min=1)
    with torch.no_grad():
        program = torch.export.export(PosteriorMean(model), (example,), dynamic_shapes={FEATURES: {0: batch}})
    for node in program.graph.nodes:
        # Do not publish the source paths of this machine.
        node.meta.pop("stack_trace", None)
    return program


def _metadata(model: "ResVAE", about: dict[str, Any]) -> dict[str, str]:
    shape = {"dim": str(model.input_dim), "z_dim": str(model.z_dim)}
    return shape | {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}


def _onnx_run(path: Path) -> Exported:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run([LATENT], {FEATURES: x.numpy()})[0])


def _compare(model: "ResVAE", run: Exported, path: Path) -> None:
    reference = PosteriorMean(model)
    for rows in CHECKED_BATCHES:
        x = torch.randn(rows, model.input_dim, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            expected, found = reference(x), run(x)
        error = (found - expected).abs().max().item() if found.shape == expected.shape else float("inf")
        if not error <= TOLERANCE * max(1.0, expected.abs().max().item()):
            raise JobError(f"{path.name}: differs from the model by {error:.3g} for a batch of {rows}; nothing is kept")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not there and on its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
