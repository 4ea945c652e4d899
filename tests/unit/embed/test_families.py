"""Conformance of every family of language models, on a tiny random model of each."""

import json
from pathlib import Path

import numpy as np
import pytest
from make_golden_families import SEQUENCES as GOLDEN_SEQUENCES
from make_golden_families import write_models
from tiny_esm import SEQUENCES
from tiny_models import TINY, pieces, write_spiece, write_tiny_ankh, write_tiny_prot_t5, write_tiny_t5

from resvae_ray.embed.families import FAMILIES
from resvae_ray.embed.language_model import LanguageModel
from resvae_ray.embed.model_files import ModelFiles
from resvae_ray.embed.settings import EACH, NUM_SEGMENTS, Embedding, PooledLayer
from resvae_ray.errors import DataError, UsageError

GOLDEN = json.loads(Path(__file__).with_name("golden_families.json").read_text())
KNOWN = "MKTAYIAKQRQISFVKSHFSRQ"  # amino acids alone
TEXTS = list(SEQUENCES.values())
NO_SITES = [[] for _ in TEXTS]


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_every_family_is_tested():
    assert {tiny.family for tiny in TINY.values()} == {family.name for family in FAMILIES}
    assert GOLDEN.keys() == TINY.keys()


@pytest.fixture(scope="module", params=TINY)
def tiny(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.write(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return LanguageModel.load(ModelFiles.find(str(folder)), "float32")


@pytest.fixture(scope="module")
def everything(model):
    """Settings of all poolings of all layers."""
    return Embedding(pooling="all", layers=tuple(range(model.files.layers + 1)))


class TestFamily:
    def test_it_is_recognised(self, tiny, model):
        assert model.files.family.name == tiny.family
        assert model.files.family.license

    def test_a_batch_gives_what_each_protein_gives_alone(self, model, everything):
        alone = np.concatenate([model.vectors([text], [[]], everything) for text in TEXTS])
        assert np.isfinite(alone).all()
        assert len({row.tobytes() for row in alone}) == len(TEXTS)
        for budget in (1, 40, 10_000):  # from no padding to a batch that is mostly padding
            settings = Embedding(pooling="all", layers=everything.layers, batch_tokens=budget)
            close(model.vectors(TEXTS, NO_SITES, settings), alone)

    def test_the_order_is_kept(self, model, everything):
        found = model.vectors(TEXTS[::-1], NO_SITES, everything)
        close(found[::-1], model.vectors(TEXTS, NO_SITES, everything))

    def test_every_character_is_one_token(self, tiny, model):
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for text in (letters, "JJJJ", "MJJJK", "XXBBZZOOUU"):
            (hidden,) = model.hidden([text], [0])
            assert len(hidden[0]) == tiny.before + len(text) + 1
        (one,), (three,) = model.hidden(["MJK"], [0]), model.hidden(["MJJJK"], [0])
        assert one[0].shape[0] + 2 == three[0].shape[0]

    def test_tokens_are_those_of_the_recipe(self, tiny, folder, model):
        for text in (KNOWN, "ACDEFGHIKLMNPQRSTVWY", "MUZOBXK"):
            assert model._numbers(text).tolist() == tiny.tokens(tiny.tokenizer(folder), text)

    def test_layers_are_the_hidden_states_of_transformers(self, tiny, folder, model):
        expected = tiny.hidden_states(folder, KNOWN)
        assert len(expected) == model.files.layers + 1
        (found,) = model.hidden([KNOWN], range(len(expected)))
        for mine, theirs in zip(found, expected, strict=True):
            close(mine, theirs)
        assert not np.allclose(found[-1], found[-2])

    def test_poolings_are_those_of_their_definition(self, tiny, folder, model):
        state = tiny.hidden_states(folder, KNOWN)[-1].numpy()
        residues = [state[tiny.before + at] for at in range(len(KNOWN))]
        mean = sum(residues) / len(KNOWN)
        stretches, start = [], 0
        for number in range(NUM_SEGMENTS):
            stop = start + len(KNOWN) // NUM_SEGMENTS + (number < len(KNOWN) % NUM_SEGMENTS)
            stretches.append(sum(residues[start:stop]) / (stop - start))
            start = stop
        expected = {"cls": state[0], "eos": state[-1], "mean": mean, "segments": np.concatenate(stretches)}
        for pooling in model.files.family.poolings:
            if pooling in expected:
                close(model.vectors([KNOWN], [[]], Embedding(pooling=pooling))[0], expected[pooling])
        have = [expected[pooling] for pooling in EACH if pooling in model.files.family.poolings]
        close(model.vectors([KNOWN], [[]], Embedding(pooling="all"))[0], np.concatenate(have))

    def test_several_layers_are_those_one_by_one(self, model, everything):
        found, start = model.vectors(TEXTS, NO_SITES, everything), 0
        for layer in everything.layers:
            one = model.vectors(TEXTS, NO_SITES, Embedding(pooling="all", layers=(layer,)))
            close(found[:, start : start + one.shape[1]], one)
            start += one.shape[1]
        assert start == found.shape[1]

    def test_windows_are_averaged_by_length(self, model):
        for pooling in {"cls", "mean"} & set(model.files.family.poolings):
            pieces = [KNOWN[:11], KNOWN[11:]]
            each = model.vectors(pieces, [[]] * 2, Embedding(pooling=pooling))
            found = model.vectors([KNOWN], [[]], Embedding(pooling=pooling, max_length=11, long="split"))[0]
            close(found, np.average(each, axis=0, weights=[11, 11]))

    def test_bfloat16_is_close(self, folder, model):
        half = LanguageModel.load(model.files, "bfloat16")
        found, exact = (each.vectors(TEXTS, NO_SITES, Embedding()) for each in (half, model))
        assert found.dtype == np.float32
        assert 0 < abs(found - exact).max() < 0.1 * abs(exact).max()

    def test_what_it_does_not_have_is_refused(self, model):
        family, last = model.files.family, model.files.layers
        for pooling in {"cls", "eos", "mean", "segments", "pho"} - set(family.poolings):
            with pytest.raises(UsageError, match=f"--pooling {pooling}: {family.name} has {family.poolings[0]}"):
                model.files.outputs(Embedding(pooling=pooling))
        for layer in (last + 1, -last - 2):
            with pytest.raises(UsageError, match=f"--layer {layer}: tiny has the layers 0 to {last}, or -1 to"):
                model.files.outputs(Embedding(layers=(layer,)))
        with pytest.raises(UsageError, match=f"--layer -1: layer {last} is given twice"):
            model.files.outputs(Embedding(layers=(-1, last)))

    def test_names_of_outputs(self, model):
        default, last = model.files.family.poolings[0], model.files.layers
        assert model.files.outputs(Embedding()) == (PooledLayer(default, last, default),)
        assert model.files.outputs(Embedding(layers=(-2,))) == (PooledLayer(default, last - 1, default),)
        assert model.files.outputs(Embedding(pooling="mean", layers=(0, -1))) == (
            PooledLayer("layer-0", 0, "mean"),
            PooledLayer(f"layer-{last}", last, "mean"),
        )
        names = [output.name for output in model.files.outputs(Embedding(pooling="all", layers=(0, 1)))]
        have = [pooling for pooling in EACH if pooling in model.files.family.poolings]
        assert names == [f"layer-{layer}-{pooling}" for layer in (0, 1) for pooling in have]


@pytest.fixture(scope="module")
def golden_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    write_models(folder)
    return folder


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_numbers_of_the_families_own_code(golden_models, name):
    model = LanguageModel.load(ModelFiles.find(str(golden_models / name)), "float32")
    layers = range(model.files.layers + 1)
    found = model.vectors(
        list(GOLDEN_SEQUENCES.values()), [[]] * len(GOLDEN_SEQUENCES), Embedding(pooling="mean", layers=tuple(layers))
    )
    expected = [np.concatenate(GOLDEN[name][text]) for text in GOLDEN_SEQUENCES]
    close(found, expected)


class TestVocabulariesOfT5:
    def refused(self, folder, message):
        with pytest.raises(DataError, match=message):
            ModelFiles.find(str(folder))

    def test_a_t5_for_text_is_refused_with_the_families(self, tmp_path):
        write_tiny_t5(tmp_path, 3000, gated=False)
        write_spiece(tmp_path, pieces("\u2581{}".format, *(f"\u2581word{number}" for number in range(2000))))
        self.refused(tmp_path, "describes t5; expected one of ESM-2, ESM-1b or 1v, ESM C, ProtT5, ProstT5, Ankh$")

    def test_a_vocabulary_without_an_amino_acid_is_refused(self, tmp_path):
        write_tiny_t5(tmp_path, 128, gated=False)
        write_spiece(tmp_path, [piece for piece in pieces("\u2581{}".format) if piece != "\u2581W"])
        self.refused(tmp_path, "describes t5; expected one of ESM-2")

    def test_missing_and_damaged_files(self, tmp_path):
        write_tiny_prot_t5(tmp_path)
        (tmp_path / "spiece.model").unlink()
        self.refused(tmp_path, r"no tokenizer\.json or spiece\.model there; ProtT5 has it beside config\.json")
        for name in ("spiece.model", "tokenizer.json"):
            (tmp_path / name).write_bytes(b"\xff\xfe not this")
            self.refused(tmp_path, f"{name}: cannot be read: ")

    def test_one_file_of_the_vocabulary_is_enough_and_both_are_hashed(self, tmp_path):
        write_tiny_ankh(tmp_path)
        before = ModelFiles.find(str(tmp_path)).digest()
        write_spiece(tmp_path, pieces(str))
        assert ModelFiles.find(str(tmp_path)).digest() != before


def test_another_family_on_the_hub_is_refused_before_its_weights_are_downloaded(tmp_path, monkeypatch):
    asked = []

    def download(name, allow_patterns=(), local_files_only=False, **_):
        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only:
            raise LocalEntryNotFoundError("nothing there")
        asked.append(allow_patterns)
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        return str(tmp_path)

    class Hub:
        def model_info(self, name, timeout):
            return type("Info", (), {"sha": "0", "siblings": []})

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    with pytest.raises(DataError, match="--model google/bert: .* describes bert; expected one of ESM-2"):
        ModelFiles.find("google/bert")
    assert len(asked) == 1
    assert not any("safetensors" in pattern or ".bin" in pattern for pattern in asked[0])
