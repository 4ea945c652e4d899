"""The number format of the matrix products of a training step.

With bfloat16, oneDNN rounds the factors of a product to 8 bits of mantissa and sums in float32; weights, gradients and
Adam's moments stay float32. A CPU with AVX512-BF16 or AMX multiplies them several times as fast; another one keeps
float32. On a GPU the same setting means TF32, which keeps 10 bits. Validation always multiplies in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from resvae_ray.config import AUTO, BFLOAT16, FLOAT32

FAST = ("avx512_bf16", "amx_bf16")  # instructions, as torch names them


def resolved(matmul: str) -> str:
    """`matmul`, or for "auto" the faster format of this machine."""
    if matmul != AUTO:
        return matmul
    capabilities = torch.cpu.get_capabilities()
    fast = torch.cuda.is_available() or any(capabilities.get(name, False) for name in FAST)
    return BFLOAT16 if fast else FLOAT32


@contextmanager
def products_in(matmul: str, device: torch.device) -> Iterator[None]:
    """Multiplies matrices in this format within the context. torch has one setting per process."""
    if matmul != BFLOAT16:
        yield
        return
    backend: Any = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    backend, precision = backend.matmul, "tf32" if device.type == "cuda" else "bf16"
    before = backend.fp32_precision
    backend.fp32_precision = precision
    try:
        yield
    finally:
        backend.fp32_precision = before
