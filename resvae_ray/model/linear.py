"""A linear layer that computes the gradient of a large weight some rows at a time, on one core.

For 15 of 16 widths, the rows of a large matrix do not begin at cache lines. Writing it as a whole then takes MKL
up to twice the time of writing pieces that fit in the cache. Each number is the same sum of products.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PIECE = 1 << 17  # numbers of a piece; half of a second-level cache of 1 MB
LARGE = 4 * PIECE  # numbers of a weight; of smaller ones nothing was to be gained
CACHE_LINE = 16  # numbers


class Linear(nn.Linear):
    """PyTorch's with a bias, for batches (B, in_features); the same in all but the speed of training."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, in_features) to (B, out_features)."""
        if self.training and self._slow_as_a_whole() and input.device.type == "cpu" and torch.get_num_threads() == 1:
            return _InPieces.apply(input, self.weight, self.bias)  # pyright: ignore[reportReturnType]
        return super().forward(input)

    def _slow_as_a_whole(self) -> bool:
        return self.in_features * self.out_features > LARGE and self.in_features % CACHE_LINE != 0


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, of_output: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        x, weight = ctx.saved_tensors
        of_x = of_output @ weight if ctx.needs_input_grad[0] else None
        return of_x, _of_weight(of_output, x), of_output.sum(0)


def _of_weight(of_output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient of a weight (out, in), from those of the output (B, out) and the input (B, in)."""
    whole = x.new_empty(of_output.shape[1], x.shape[1])
    rows = max(1, PIECE // x.shape[1])
    for piece, columns in zip(whole.split(rows), of_output.t().split(rows), strict=True):
        torch.mm(columns, x, out=piece)
    return whole
