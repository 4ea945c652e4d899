"""Weights, features and noise given by formulas, for numbers that any implementation can be held against."""

import torch

DIM, HIDDEN, LATENTS, ROWS = 12, 17, 3, 70
COMBINATIONS = [("MSE", "sum"), ("MSE", "mean"), ("RMSE", "sum"), ("RMSE", "mean")]


def wave(*shape: int, pace: float, size: float = 1.0) -> torch.Tensor:
    count = 1
    for length in shape:
        count *= length
    return (size * torch.sin(pace * torch.arange(1, count + 1, dtype=torch.float64))).reshape(shape).float()


def features() -> torch.Tensor:
    return wave(ROWS, DIM, pace=0.7)


def latent_noise() -> torch.Tensor:
    return wave(ROWS, LATENTS, pace=1.3, size=1.5)


def fixed_weights(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for number, (name, tensor) in enumerate(model.state_dict().items()):
            if name.endswith("running_var"):
                tensor.copy_(1 + 0.5 * wave(*tensor.shape, pace=0.9 + 0.01 * number).abs())
            elif tensor.is_floating_point():
                tensor.copy_(wave(*tensor.shape, pace=0.9 + 0.01 * number, size=0.4))
