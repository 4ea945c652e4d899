"""The model card: metadata that Hugging Face takes, and strangers' names that do no harm."""

import pytest
import yaml
from huggingface_hub import ModelCard

from resvae_ray.model.model_card import CardEvaluation, is_as_made, model_card
from resvae_ray.model.network import ResVAE

NASTY = (
    'esm2\n---\nlicense: mit\n---\n<script>alert("x")</script> | a: [b] ![i](http://x) `c` *d* '
    "\x1b[31m\u2028 {e} & # \"'\ud800"
)
PLAIN_SCALARS = ["a: b", "- x", "'", '"', "%x", "@x", "!tag", "&a", "*a", "---", "null"]
CONFIG = {
    "input_dim": 1280,
    "hidden_dim": 859,
    "z_dim": 18,
    "resvae_ray_version": "0.1.0",
    "best_epoch": 17,
    "training": {"lr": 0.000469, "epochs": 80},
    "validation": {"val_loss": 22509.06, "r2": 0.6},
    "search": {"name": "mine", "complete": 17, "pruned": 33, "params": {"z_dim": 18}},
    "features": {"model": "esm2_t33_650M_UR50D", "pooling": "cls", "fingerprint": "abc", "split": {"seed": 0}},
}


def header(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_hugging_face_reads_the_metadata():
    card = ModelCard(model_card(CONFIG, CardEvaluation("x", [{"type": "r2", "name": "posterior mean", "value": 0.7}])))
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("resvae_ray", "feature-extraction", "mine")
    assert "protein" in data.tags
    found = {(result.metric_type, result.metric_name): result.metric_value for result in data.eval_results}
    assert found["val_loss", "validation loss, scale of the method's paper"] == 22509.06
    assert found["r2", "posterior mean"] == 0.7
    assert {result.dataset_name for result in data.eval_results} == {"esm2_t33_650M_UR50D, cls"}
    assert {result.dataset_revision for result in data.eval_results} == {"abc"}
    assert yaml.safe_load(data.to_yaml()) == header(str(card)), "nothing is lost on the way"
    assert data.license is None


def test_the_text_says_what_is_known():
    card = model_card(CONFIG)
    for line in ("| pruned | 33 |", "| lr | 0.000469 |", "| split | seed 0 |", "| params | z_dim 18 |", "## Limits"):
        assert line in card
    assert "float32 (B, 1280) to the posterior's mean and log variance (B, 18)" in card
    assert "## Evaluation" not in card
    assert "onnx" not in card
    assert "Nothing is recorded of the language model" not in card
    assert "`model.onnx`." in model_card({**CONFIG, "portable": ["model.onnx", "`<script>"]})


@pytest.mark.parametrize("config", [{"input_dim": 4, "hidden_dim": 8, "z_dim": 2}, {**CONFIG, "features": None}])
def test_little_is_enough(config):
    card = model_card(config)
    assert ModelCard(card).data.library_name == "resvae_ray"
    assert "Nothing is recorded of the language model" in card


def test_nan_is_not_a_metric():
    assert "model-index" not in header(model_card({**CONFIG, "validation": {"val_loss": float("nan"), "r2": None}}))


@pytest.mark.parametrize("nasty", [NASTY, *PLAIN_SCALARS, "x" * 10**5])
def test_strangers_names_do_no_harm(nasty):
    config = {
        **CONFIG,
        "features": {nasty: nasty, "model": nasty, "pooling": [nasty], "layer": {nasty: nasty}, "fingerprint": nasty},
        "search": {"name": nasty},
        "source": nasty,
    }
    card = model_card(config)
    assert "license" not in header(card)
    assert list(header(card)) == ["library_name", "pipeline_tag", "tags", "model-index"]
    ModelCard(card)
    body = card.split("---\n", 2)[2]
    assert "<script" not in body
    assert "\x1b" not in card
    assert "![" not in body
    for line in body.splitlines():
        if line.startswith("| ") and line != "| | |":
            assert line.replace("\\|", "").count("|") == 3, "two cells"
    assert len(card) < 10_000
    card.encode()


def test_an_edited_card_is_distinguished_from_a_generated_one():
    card = model_card(CONFIG)
    assert is_as_made(card)
    assert not is_as_made(card.replace("## Limits", "## Limits, mine"))
    assert not is_as_made(card + "\nMore.\n")
    assert not is_as_made("")


def test_it_lies_in_the_model(tmp_path):
    path = ResVAE(8, 16, 3).save_pretrained(tmp_path / "model", {"features": {"model": NASTY}})
    assert is_as_made((path / "README.md").read_text())
    assert ModelCard.load(path / "README.md").data.pipeline_tag == "feature-extraction"


def test_a_model_that_was_chosen_among_finalists_says_so():
    finalists = {"chosen_among": 3, "seeds": 3, "mean": 21.5, "sd": 2.0, "gap": 1.5, "losses": [19.0, 22.0, 23.5]}
    card = model_card({"input_dim": 4, "z_dim": 2, "finalists": finalists})
    assert "## Chosen among finalists" in card
    assert "| gap | 1.5 |" in card
    assert "finalists" not in model_card({"input_dim": 4, "z_dim": 2})
