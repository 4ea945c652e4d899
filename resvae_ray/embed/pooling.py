"""From a hidden layer to one vector a protein, as protloc-mex-x (0.0.27, ESM2_fr.py) defines them.

Letters for shapes: L residues, D width of the model, S sites.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from resvae_ray.embed.settings import CLS, EOS, MEAN, NUM_SEGMENTS, PHO, SEGMENTS

ZERO_VECTOR = 1e-10  # added to a vector of zeros before its angle to another is taken


class Hidden(NamedTuple):
    """A hidden layer over one protein, float32.

    Attributes:
        cls: (D) at the first token; at the first residue where the model has no first token.
        residues: (L, D).
        eos: (D) at the token after the last residue.
    """

    cls: torch.Tensor
    residues: torch.Tensor
    eos: torch.Tensor


def stitch(windows: Sequence[torch.Tensor], first: int) -> Hidden:
    """One protein from the windows that it was read in: residues side by side, cls and eos averaged by length.

    Args:
        windows: (first + residues + 1, D) each, the end token last.
        first: special tokens in front, 0 or 1.
    """
    lengths = torch.tensor([len(window) - first - 1.0 for window in windows], device=windows[0].device)
    weights = (lengths / lengths.sum())[:, None]
    cls, eos = (weights * torch.stack([window[token] for window in windows]) for token in (0, -1))
    return Hidden(cls.sum(0), torch.cat([window[first:-1] for window in windows]), eos.sum(0))


def segments(hidden: Hidden) -> torch.Tensor:
    """The means of ten stretches, one after the other (10 D); the first `L % 10` have one residue more.

    A stretch without residues, in a protein of less than ten, is zeros.
    """
    size, longer = divmod(len(hidden.residues), NUM_SEGMENTS)
    stretches = hidden.residues.split([size + (number < longer) for number in range(NUM_SEGMENTS)])
    return torch.cat([stretch.sum(0) / max(1, len(stretch)) for stretch in stretches])


def site_average(hidden: Hidden, positions: Sequence[int]) -> torch.Tensor:
    """The mean of the sites' residues, each weighted by its cosine with cls (D).

    The sum of weight times vector over the sum of absolute weights; zeros for a protein without sites.

    Args:
        positions: (S) from 1.
    """
    if not len(positions):
        return torch.zeros_like(hidden.cls)
    places = torch.as_tensor(positions, dtype=torch.long, device=hidden.cls.device) - 1
    sites, cls = hidden.residues[places].double(), hidden.cls.double()
    sites, cls = (vectors + ZERO_VECTOR * (vectors == 0).all(-1, keepdim=True) for vectors in (sites, cls))
    weights = sites @ cls / (sites.norm(dim=1) * cls.norm())
    average = weights @ sites / weights.abs().sum()
    return average.nan_to_num(0.0).float()


POOLINGS: dict[str, Callable[[Hidden, Sequence[int]], torch.Tensor]] = {
    CLS: lambda hidden, _: hidden.cls,
    EOS: lambda hidden, _: hidden.eos,
    MEAN: lambda hidden, _: hidden.residues.mean(0),
    SEGMENTS: lambda hidden, _: segments(hidden),
    PHO: site_average,
}


def pool(hidden: Hidden, pooling: str, positions: Sequence[int]) -> torch.Tensor:
    """The vector of a pooling (width)."""
    return POOLINGS[pooling](hidden, positions)


def width(pooling: str, dim: int) -> int:
    """The width of a pooling's vectors for a model of width D = `dim`."""
    return NUM_SEGMENTS * dim if pooling == SEGMENTS else dim
