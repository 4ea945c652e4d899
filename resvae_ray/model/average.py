"""A moving average of the weights: less noisy than the weights themselves, and so better to judge and to keep.

Polyak & Juditsky 1992; with the decay that Adam's second moments have, as common in generative models (Karras et al.
2024, arXiv:2312.02696). Early on the average is over few steps, so that it does not lag behind.
"""

import torch
from torch.optim.swa_utils import AveragedModel

EARLY = 9  # step n has a decay of n / (n + EARLY) at most
Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def averaged(model: torch.nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` whose `update_parameters(model)` after each step keeps the average; batch norm's too."""
    # The step is read from the average itself: what PyTorch passes is a copy on the device, where a reader waits for
    # all the work before it.
    average = AveragedModel(
        model,
        multi_avg_fn=lambda kept, current, _: _update(kept, current, decay, int(average.n_averaged)),
        use_buffers=True,
    )
    return average


@torch.no_grad()
def _update(kept: Tensors, current: Tensors, decay: float, step: int) -> None:
    if not torch.is_floating_point(kept[0]):
        torch._foreach_copy_(kept, current)  # pyright: ignore[reportPrivateImportUsage]
        return
    share = 1 - min(decay, step / (step + EARLY))
    torch._foreach_lerp_(kept, current, share)  # pyright: ignore[reportPrivateImportUsage]
