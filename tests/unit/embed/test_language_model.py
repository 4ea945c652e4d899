"""Vectors are those of protloc-mex-x, whatever else is in the batch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_esm import DIM, SEQUENCES, SITES, write_tiny_esm

from resvae_ray.embed import language_model
from resvae_ray.embed.language_model import LanguageModel
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.settings import EACH, NUM_SEGMENTS, Embedding
from resvae_ray.errors import DataError, JobError

GOLDEN = json.loads(Path(__file__).with_name("golden_esm.json").read_text())
NAMES = list(SEQUENCES)
TEXTS = list(SEQUENCES.values())
PLACES = [SITES.get(name, []) for name in NAMES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_esm(tmp_path_factory.mktemp("tiny") / "esm2_tiny")


@pytest.fixture(scope="module")
def model(folder):
    return LanguageModel.load(ModelFiles.find(str(folder)), "float32")


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def last_layer(model, pieces):
    return [hidden[0] for hidden in model.hidden(pieces, [model.files.layers])]


@pytest.mark.parametrize("pooling", [*EACH, "pho"])
def test_golden_numbers_of_protloc_mex_x(model, pooling):
    found = model.vectors(TEXTS, PLACES, Embedding(pooling=pooling))
    assert found.dtype == np.float32
    close(found, [GOLDEN[pooling][name] for name in NAMES])


def test_all_stand_side_by_side(model):
    found = model.vectors(TEXTS, PLACES, Embedding(pooling="all"))
    assert found.shape == (5, 13 * DIM)
    close(found, np.hstack([[GOLDEN[pooling][name] for name in NAMES] for pooling in EACH]))


def test_empty_segments_are_zeros(model):
    (vector,) = model.vectors(["MKT"], [[]], Embedding(pooling="segments"))
    rows = vector.reshape(NUM_SEGMENTS, DIM)
    assert rows[:3].any(axis=1).all()
    assert not rows[3:].any()


@pytest.mark.parametrize("pooling", [*EACH, "pho"])
def test_neighbours_in_a_batch_change_nothing(model, pooling):
    settings = Embedding(pooling=pooling)
    alone = np.concatenate([model.vectors([text], [at], settings) for text, at in zip(TEXTS, PLACES, strict=True)])
    for budget in (1, 40, 10_000):
        close(model.vectors(TEXTS, PLACES, replace(settings, batch_tokens=budget)), alone)


def test_threads_change_not_one_bit(model):
    texts, settings = TEXTS * 10, Embedding(pooling="all", batch_tokens=200)
    one, three = (model.vectors(texts, [[]] * 50, settings, threads) for threads in (1, 3))
    assert np.array_equal(one, three)


def test_every_letter_is_the_tokenizers_token(folder, model):
    from transformers import EsmTokenizer

    tokenizer = EsmTokenizer.from_pretrained(folder)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    expected = tokenizer(letters)["input_ids"]
    tokens = model.tokens
    assert [*tokens.first, *tokens.letters[[ord(letter) for letter in letters]], tokens.last] == expected
    # A run of unknown letters is one token to the tokenizer, which would move all residues after it.
    assert len(last_layer(model, ["MJJJK"])[0]) == 5 + 2 > len(tokenizer("MJJJK")["input_ids"])


def test_token_dropout_rescales_as_the_model_was_trained(folder, model, tmp_path):
    without = LanguageModel.load(ModelFiles.find(str(write_tiny_esm(tmp_path / "w", token_dropout=False))), "float32")
    settings = Embedding()
    assert abs(model.vectors(["MKT"], [[]], settings) - without.vectors(["MKT"], [[]], settings)).max() > 1e-3


class TestLongSequences:
    TEXT = SEQUENCES["long"]  # 113 residues

    def vector(self, model, **settings):
        return model.vectors([self.TEXT], [[]], Embedding(**settings))[0]

    @pytest.mark.parametrize("pooling", ["cls", "eos", "mean"])
    @pytest.mark.parametrize("batch_tokens", [20, 8192])
    def test_split_averages_the_windows_by_length(self, model, pooling, batch_tokens):
        pieces = [self.TEXT[:38], self.TEXT[38:76], self.TEXT[76:]]
        each = model.vectors(pieces, [[]] * 3, Embedding(pooling=pooling))
        found = self.vector(model, pooling=pooling, max_length=50, long="split", batch_tokens=batch_tokens)
        close(found, np.average(each, axis=0, weights=[38, 38, 37]))

    def test_split_takes_segments_over_the_whole_protein(self, model):
        pieces = [self.TEXT[:57], self.TEXT[57:]]
        residues = torch.cat([hidden[1:-1] for hidden in last_layer(model, pieces)]).numpy()
        found = self.vector(model, pooling="segments", max_length=60, long="split").reshape(NUM_SEGMENTS, DIM)
        close(found[0], residues[:12].mean(0))
        close(found[5], residues[3 * 12 + 2 * 11 : 3 * 12 + 3 * 11].mean(0))

    def test_split_finds_a_site_in_its_window(self, model):
        pieces = [self.TEXT[:57], self.TEXT[57:]]
        site = last_layer(model, pieces)[1][113 - 57].numpy()
        found = model.vectors([self.TEXT], [[113]], Embedding(pooling="pho", max_length=60, long="split"))[0]
        close(abs(found), abs(site))  # a single site is weighted by its cosine over its absolute value: a sign

    def test_truncate_reads_the_first_residues(self, model):
        found = self.vector(model, pooling="mean", max_length=50, long="truncate")
        close(found, model.vectors([self.TEXT[:50]], [[]], Embedding(pooling="mean"))[0])

    def test_a_length_that_the_model_may_read_is_read_whole(self, model):
        for long in ("split", "truncate"):
            assert np.array_equal(self.vector(model, max_length=113, long=long), self.vector(model))


def test_bfloat16_is_for_matrix_products_alone(folder, model):
    half = LanguageModel.load(ModelFiles.find(str(folder)), "bfloat16")
    kinds = {name: weight.dtype for name, weight in half.network.named_parameters()}
    assert kinds["encoder.layer.0.attention.self.query.weight"] == torch.bfloat16
    assert kinds["encoder.emb_layer_norm_after.weight"] == kinds["embeddings.word_embeddings.weight"] == torch.float32
    found, exact = (each.vectors(TEXTS, PLACES, Embedding(pooling="all")) for each in (half, model))
    assert found.dtype == np.float32
    error = abs(found - exact)
    assert 0 < error.max() < 0.2
    assert error.mean() < 0.02
    # Sums in bfloat16 would leave 8 bits of each number.
    assert (found.view(np.uint32) & 0xFFFF).any()


def test_on_the_cores_although_there_is_a_gpu(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert LanguageModel.load(ModelFiles.find(str(folder)), "float32", gpu=False).device.type == "cpu"


def test_weights_that_are_not_there_are_missed(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=r"1 weights are missing, the first is encoder\.layer\.1\.output"):
        LanguageModel.load(ModelFiles.find(str(tmp_path)), "float32")
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(DataError, match="the weights cannot be loaded"):
        LanguageModel.load(ModelFiles.find(str(tmp_path)), "float32")


def test_a_pickle_that_would_run_code_is_not_loaded(folder, tmp_path):
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"weights": Path("anything")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="the weights cannot be loaded"):
        LanguageModel.load(ModelFiles.find(str(tmp_path)), "float32")


def test_weights_of_torch_are_loaded(folder, model, tmp_path):
    from safetensors.torch import load_file

    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    same = LanguageModel.load(ModelFiles.find(str(tmp_path)), "float32")
    assert np.array_equal(same.vectors(["MKT"], [[]], Embedding()), model.vectors(["MKT"], [[]], Embedding()))


def test_another_vocabulary_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "vocab.txt").write_text("<cls>\n<pad>\n<eos>\n<unk>\nA\nB\n<mask>")
    with pytest.raises(DataError, match="a token for each amino acid"):
        LanguageModel.load(ModelFiles.find(str(tmp_path)), "float32")


def test_too_little_memory_on_the_gpu_says_what_to_change(model, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(language_model, "stitch", full)
    with pytest.raises(JobError, match="--batch-tokens 8192 with --max-length 1022"):
        model.vectors(["MKT"], [[]], Embedding())
