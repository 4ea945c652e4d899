"""`evaluate --write-card`."""

import pytest
import torch
from huggingface_hub import ModelCard

from resvae_ray.cli import main
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.model.network import ResVAE

pytestmark = pytest.mark.usefixtures("few_candidates")


@pytest.fixture
def place(tmp_path, make_dataset):
    torch.manual_seed(0)
    return ResVAE(8, 16, 3).save_pretrained(tmp_path / "model", {"search": {"name": "mine"}}), make_dataset(120, 8)


def test_the_card_gets_the_tables_and_the_metrics(place, capsys):
    model, dataset = place
    found = evaluate_model(model, dataset, max_rows=60)
    for _ in range(2):
        assert main(["evaluate", str(model), str(dataset), "--write-card", "--max-rows", "60"]) == 0
        card = ModelCard.load(model / "README.md")
        metrics = {(r.metric_type, r.metric_name): r.metric_value for r in card.data.eval_results}
        assert metrics["r2", "explained variance, posterior mean"] == found.reconstruction.model.r2
        assert metrics["matthews_correlation", "linear probe of z"] == found.labels.scores["z"].linear.mcc
        assert "PCA" not in str(card.data), "metadata are taken for the model's own"
        assert f"| Res-VAE, posterior mean | 3 | {found.reconstruction.model.r2:.4f} |" in card.text
        assert card.text.count("## Evaluation") == 1
        assert ": worse (" in card.text
    assert ResVAE.from_pretrained(model).z_dim == 3
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_card_that_somebody_wrote_is_left_alone(place, capsys):
    model, dataset = place
    card = model / "README.md"
    card.write_text(card.read_text() + "\nMy notes.\n")
    before = card.read_text()
    assert main(["evaluate", str(model), str(dataset), "--write-card", "--max-rows", "60"]) == 2
    out, err = capsys.readouterr()
    assert "README.md: not as export wrote it; move it away" in err
    assert (err.count("\n"), out) == (1, "")
    assert card.read_text() == before
    card.rename(model / "NOTES.md")
    assert main(["evaluate", str(model), str(dataset), "--write-card", "--max-rows", "60"]) == 0
    assert card.exists()
