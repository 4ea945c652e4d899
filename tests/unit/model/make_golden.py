"""Computes golden.json from the method's own class: python make_golden.py FOLDER_OF_REFERENCE_PY

The numbers let the tests compare with it where its text is not at hand.
"""

import json
import sys
from pathlib import Path

import torch
from golden import COMBINATIONS, DIM, HIDDEN, LATENTS, features, fixed_weights, latent_noise

sys.path.insert(0, sys.argv[1])
from reference import load_reference_class


def epoch_loss(model: torch.nn.Module, x: torch.Tensor, noise: torch.Tensor) -> float:
    """The document's validation loop, with the noise given."""
    total = 0.0
    for start in range(0, len(x), 32):
        batch, torch.randn_like = x[start : start + 32], lambda std, n=noise[start : start + 32]: n
        outputs = model(batch)
        total += model.loss_function(outputs[0], batch, *outputs[1:], beta=1000).item() * len(batch)
    return total / len(x)


def main() -> None:
    x, noise = features(), latent_noise()
    golden: dict = {"losses": {}, "gradients": {}, "val_loss": {}}
    randn_like = torch.randn_like
    for loss_type, reduction in COMBINATIONS:
        key = f"{loss_type} {reduction}"
        model = load_reference_class()(DIM, HIDDEN, LATENTS, loss_type, reduction)
        fixed_weights(model)
        model.eval()
        torch.randn_like = lambda std: noise[: len(std)]
        outputs = model(x[:32])
        loss = model.loss_function(outputs[0], x[:32], *outputs[1:], beta=1000)
        loss.backward()
        golden["forward"] = [output.double().sum().item() for output in outputs]
        golden["losses"][key] = [loss.item(), model.REC.item(), model.KLD.item()]
        golden["gradients"][key] = {name: p.grad.double().norm().item() for name, p in model.named_parameters()}
        with torch.no_grad():
            golden["val_loss"][key] = epoch_loss(model, x, noise)
    torch.randn_like = randn_like
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
