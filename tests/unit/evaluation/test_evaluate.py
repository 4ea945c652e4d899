# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalOperand=false

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resvae_ray.cli import main
from resvae_ray.data.dataset import Dataset
from resvae_ray.data.features_writer import FeaturesWriter
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.data.stream import ResidentRows
from resvae_ray.data.synthetic import synthetic_batches
from resvae_ray.errors import DataError, JobError, UsageError
from resvae_ray.evaluation.evaluate import evaluate_model
from resvae_ray.evaluation.intervals import BETTER, EQUAL, WORSE
from resvae_ray.evaluation.reconstruction import fit_pca, reconstruction
from resvae_ray.evaluation.representations import PAIRS, TITLES, Representations
from resvae_ray.evaluation.results import evaluation_markdown, evaluation_text, verdicts
from resvae_ray.model.axes import fit_axes
from resvae_ray.model.network import ResVAE
from resvae_ray.progress import silent

pytestmark = pytest.mark.usefixtures("few_candidates")


@pytest.fixture
def place(tmp_path, make_dataset):
    """A model that was never trained, and a data set of 500 rows in four classes."""
    torch.manual_seed(0)
    dataset = Dataset.open(make_dataset(500, 8))
    about = {"features": {"fingerprint": dataset.fingerprint}}
    return ResVAE(8, 16, 3).eval().save_pretrained(tmp_path / "model", about), dataset


def side(dataset, name):
    return ResidentRows.decode(dataset.features(name)).matrix.double().numpy()


def test_both_explain_the_variance_about_the_mean_of_the_validation_rows(place):
    model, dataset = place
    train, val = side(dataset, "train"), side(dataset, "val")
    network = ResVAE.from_pretrained(model)
    with torch.no_grad():
        mu, logvar = network.encode(torch.from_numpy(val).float())
        rebuilt = network.decode(mu).double().numpy()
    spread = ((val - val.mean(0)) ** 2).sum()
    found = evaluate_model(model, dataset.path).reconstruction
    assert found.model.r2 == pytest.approx(1 - ((val - rebuilt) ** 2).sum() / spread, rel=1e-6)
    assert found.model.squared_error == pytest.approx(((val - rebuilt) ** 2).sum(1).mean(), rel=1e-6)
    assert found.active_units == int((mu.var(0, correction=0) > 0.01 * logvar.exp().mean(0)).sum())
    with torch.no_grad():
        known = network.decode(network.encode(torch.from_numpy(train).float())[0]).double().numpy()
    share = 1 - ((train - known) ** 2).sum() / ((train - train.mean(0)) ** 2).sum()
    assert found.train.r2 == pytest.approx(share, rel=1e-6)
    components = np.linalg.svd(train - train.mean(0), full_matrices=False)[2]
    for fit in (found.pca, found.pca_active):
        basis = components[: fit.width]
        off = val - train.mean(0)
        error = ((off - off @ basis.T @ basis) ** 2).sum()
        assert fit.r2 == pytest.approx(1 - error / spread, rel=1e-6)
    assert found.pca.width == 3
    assert found.pca_equal == 0, "a model that was never trained is worse than the mean"


def test_the_result_is_the_same_every_time_and_goes_into_json(place):
    first, again = (evaluate_model(place[0], place[1].path, max_rows=80).to_dict() for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again)
    assert (first["labels"]["train_rows"], first["labels"]["train_of"]) == (80, 400)
    assert (first["labels"]["val_rows"], first["trust"]["rows"], first["trust"]["of"]) == (80, 80, 100)
    other = evaluate_model(place[0], place[1].path, max_rows=80, seed=1).to_dict()
    assert other["labels"]["scores"]["z"] != first["labels"]["scores"]["z"]
    assert other["reconstruction"]["model"] == first["reconstruction"]["model"], "nothing is drawn for it"


def test_where_pca_is_better_it_says_so(place):
    found = evaluate_model(place[0], place[1].path)
    text = evaluation_text(found)
    share = 100 * found.reconstruction.pca.r2
    sentence = f"PCA of 3 components explains {share:.1f} % of the variance of the validation rows; this model "
    (line,) = (line for line in text.splitlines() if line.startswith(sentence))
    assert "%: worse (-" in line
    assert "95 % interval" in line
    gap = 100 * (found.reconstruction.train.r2 - found.reconstruction.model.r2)
    assert f"a gap of {gap:+.1f} points." in text
    for verdict in verdicts(found):
        assert verdict.startswith(("PCA of", "Res-VAE", "z along"))
        assert verdict in text.splitlines()
    assert verdicts(found)[0] in evaluation_markdown(found)
    assert "drawn with seed" not in text


def test_the_words_follow_the_numbers(place):
    found = evaluate_model(place[0], place[1].path)

    def with_r2(model, pca, low, high, verdict):
        fits = found.reconstruction
        changed = replace(
            fits,
            model=replace(fits.model, r2=model),
            pca=replace(fits.pca, r2=pca),
            difference=replace(fits.difference, value=model - pca, low=low, high=high, verdict=verdict),
        )
        return verdicts(replace(found, reconstruction=changed))[0]

    assert with_r2(0.952, 0.927, 0.02, 0.031, BETTER).endswith(
        "explains 92.7 % of the variance of the validation rows; this model 95.2 %: better (+2.5 points, 95 % interval "
        "+2.0 to +3.1)."
    )
    assert with_r2(0.9271, 0.9272, None, None, EQUAL).endswith(
        "not distinguishable (-0.0 points; 10 rows are needed for an interval)."
    )
    assert with_r2(0.99995, 0.99998, -0.00004, -0.00002, WORSE).endswith(
        "worse (-0.003 points, 95 % interval -0.004 to -0.002)."
    )
    same = replace(found, reconstruction=replace(found.reconstruction, difference=None))
    assert verdicts(same)[0] == "The validation rows do not vary, so explained variance is undefined."


def test_a_large_gap_comes_with_advice(place):
    found = evaluate_model(place[0], place[1].path)
    fits = found.reconstruction
    for gap, told in ((0.04, False), (0.06, True)):
        train = replace(fits.train, r2=fits.model.r2 + gap)
        text = replace(found, reconstruction=replace(fits, train=train)).text()
        assert ("has memorised training rows" in text) is told


class TestRepresentations:
    """Properties of every evaluated representation."""

    @pytest.fixture
    def parts(self, place):
        model, dataset = place
        network = ResVAE.from_pretrained(model)
        made = Representations(network, fit_axes(network, dataset), fit_pca(dataset.features("train"), silent))
        return network, made, side(dataset, "val").astype(np.float32)

    def test_each_has_its_title_and_a_row_per_protein(self, parts):
        _, made, x = parts
        found = made.of(x)
        assert list(found) == list(TITLES)
        widths = {"z": 3, "axes": 3, "decoded": 8, "pca": 3, "pca_decoded": 8, "raw": 8}
        assert {name: values.shape for name, values in found.items()} == {name: (100, n) for name, n in widths.items()}
        assert all(np.isfinite(values).all() for values in found.values())

    def test_decoded_is_what_the_model_makes_of_its_posterior_means(self, parts):
        network, made, x = parts
        found = made.of(x)
        with torch.no_grad():
            mu = network.encode(torch.from_numpy(x))[0]
            np.testing.assert_allclose(found["z"], mu, atol=1e-6)
            np.testing.assert_allclose(found["decoded"], network.decode(mu), atol=1e-6)

    def test_the_first_latents_are_decoded_as_a_code_of_that_length(self, place):
        _, dataset = place
        network = ResVAE(8, 16, 3, nested=True, conditioned=True).eval()
        torch.nn.init.normal_(network.get_parameter("film.weight"))
        pca, x = fit_pca(dataset.features("train"), silent), side(dataset, "val").astype(np.float32)
        found = Representations(network, fit_axes(network, dataset), pca).of_first(x, 2)
        assert [found[name].shape[1] for name in ("z", "decoded", "pca", "pca_decoded")] == [2, 8, 2, 8]
        with torch.no_grad():
            mu = network.encode(torch.from_numpy(x))[0]
            rebuilt = network.decode(mu[:, :2]).numpy()
        np.testing.assert_allclose(found["decoded"], rebuilt, atol=1e-6)
        np.testing.assert_array_equal(found["z"], mu[:, :2])
        (prefix,) = reconstruction(network, pca, dataset.features("train"), dataset.features("val"), silent, [2])[1]
        r2 = 1 - ((rebuilt - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
        assert prefix.model.r2 == pytest.approx(r2, abs=1e-5)

    def test_each_is_scored_and_compared(self, place):
        found = evaluate_model(place[0], place[1].path)
        assert set(found.labels.scores) == set(TITLES)
        assert set(found.trust.scores) == set(TITLES) - {"raw"}
        for scores in found.labels.scores.values():
            for probe in (scores.linear, scores.nonlinear):
                assert -1 <= probe.mcc <= 1
                assert 0 <= probe.balanced_accuracy <= 1
            assert 0 <= scores.neighbour_agreement <= 1
        compared = {(one.representation, one.against, one.measure) for one in found.labels.differences}
        assert len(compared) == 3 * len(PAIRS)
        for one in [*found.labels.differences, *found.trust.differences, found.reconstruction.difference]:
            assert one.low <= one.value <= one.high
            assert one.verdict == (BETTER if one.low > 0 else WORSE if one.high < 0 else EQUAL)

    def test_training_rows_are_learned_from_and_never_scored(self, place, monkeypatch):
        model, dataset = place
        seen = []
        monkeypatch.setattr(
            "resvae_ray.evaluation.evaluate.label_scores",
            lambda fit, test, rows, seed: seen.append((fit, test, rows)),
        )
        evaluate_model(model, dataset.path)
        ((fit, test, rows),) = seen
        np.testing.assert_allclose(fit["raw"], side(dataset, "train"))
        np.testing.assert_allclose(test["raw"], side(dataset, "val"))
        assert (len(rows.fit.codes), len(rows.test.codes)) == (400, 100)


def test_labels_that_only_the_training_rows_can_tell_score_nothing(place, tmp_path):
    """Labels are drawn at random: a probe that was judged on rows that it had learned would be right about them."""
    labels = np.random.default_rng(0).choice(["a", "b"], 300).tolist()
    found = evaluate_model(place[0], labelled(tmp_path, labels))
    for scores in found.labels.scores.values():
        assert abs(scores.linear.mcc) < 0.4
        assert abs(scores.nonlinear.mcc) < 0.4
        assert scores.neighbour_agreement == pytest.approx(0.5, abs=0.2)


def test_the_first_latents_of_a_nested_model_are_judged_alone(place, tmp_path):
    network, dataset = ResVAE.from_pretrained(place[0]), place[1]
    nested = network.save_pretrained(tmp_path / "nested", {"nested": True})
    found = evaluate_model(nested, dataset.path, latents=[3, 1, 2, 2])
    assert [prefix.latents for prefix in found.prefixes] == [1, 2, 3]
    last = found.prefixes[-1]
    assert last.reconstruction.model == found.reconstruction.model
    assert last.reconstruction.difference == found.reconstruction.difference
    assert last.labels.scores["z"] == found.labels.scores["z"]
    x = side(dataset, "val")
    with torch.no_grad():
        mu = network.encode(torch.from_numpy(x).float())[0]
        mu[:, 1:] = 0
        error = ((network.decode(mu).double().numpy() - x) ** 2).sum()
    first = found.prefixes[0].reconstruction
    assert first.model.r2 == pytest.approx(1 - error / ((x - x.mean(0)) ** 2).sum(), rel=1e-6)
    assert (first.model.width, first.pca.width) == (1, 1)
    assert "The first latents alone" in found.text()
    assert "| 2 | R² |" in evaluation_markdown(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_difference_of_r2_is_that_of_the_two_figures(place):
    found = evaluate_model(place[0], place[1].path).reconstruction
    assert found.difference.value == pytest.approx(found.model.r2 - found.pca.r2, rel=1e-5)


def test_a_data_set_other_than_the_training_set_is_reported(place, make_dataset, tmp_path):
    model, dataset = place
    other = make_dataset(60, 8, "other", seed=1)
    assert evaluate_model(model, dataset.path).trained_on is True
    assert "trained on another DATASET" in evaluate_model(model, other).text()
    plain = ResVAE(8, 16, 3).save_pretrained(tmp_path / "plain")
    assert "does not say what it was trained on" in evaluate_model(plain, dataset.path).text()


def test_without_labels_there_is_no_probe(place, tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    np.savez(tmp_path / "a.npz", ids=np.array([f"p{n}" for n in range(40)]), emb=x)
    import_features(tmp_path / "a.npz", tmp_path / "a.parquet")
    split_features(tmp_path / "a.parquet", tmp_path / "a")
    found = evaluate_model(place[0], tmp_path / "a")
    assert found.labels is None
    assert "Not probed: the DATASET has no labels." in found.text()
    assert found.trust.scores["z"] is None, "8 rows are too few"
    assert "Too few rows for a trustworthiness" in found.text()
    json.dumps(found.to_dict(), allow_nan=False)


def labelled(tmp_path, labels, dim=8, value=None):
    with FeaturesWriter(tmp_path / "l.parquet", dim, {}) as writer:
        for batch in synthetic_batches(len(labels), dim):
            matrix = batch.features if value is None else np.full_like(batch.features, value)
            writer.write(replace(batch, features=matrix, others=pa.table({"label": pa.array(labels, pa.string())})))
    return split_features(tmp_path / "l.parquet", tmp_path / "l").path


def test_labels_that_are_all_different_are_not_probed(place, tmp_path):
    found = evaluate_model(place[0], labelled(tmp_path, [f"{n}" for n in range(50)]))
    assert "Not probed: of 50 labels, fewer than two stand on 5 training rows or more" in found.text()


def test_missing_labels_and_small_classes_are_counted(place, tmp_path):
    labels = ["a\n| <b>", "b"] * 40 + [None, ""] * 5 + ["rare"] * 3 + ["single"]
    found = evaluate_model(place[0], labelled(tmp_path, labels))
    text = found.text()
    assert "Left out: 2 classes with fewer than 5 training rows, 4 rows in all." in text
    assert "Left out: 10 rows without a label." in text
    assert "Labels: 2 classes, " in text
    assert found.labels.train_rows + found.labels.val_rows == 80
    assert "<b>" not in text


def test_features_that_do_not_vary(place, tmp_path):
    found = evaluate_model(place[0], labelled(tmp_path, ["a", "b"] * 40, value=0.5))
    assert found.reconstruction.pca.r2 is None
    assert "do not vary" in found.text()
    json.dumps(found.to_dict(), allow_nan=False)


def test_fewer_rows_than_latents(tmp_path, make_dataset):
    model = ResVAE(8, 16, 7).save_pretrained(tmp_path / "model")
    found = evaluate_model(model, make_dataset(7, 8))
    assert found.reconstruction.pca.width == 4
    assert "give 4 components, fewer than latents" in found.text()


def test_a_model_with_non_finite_output_gives_no_result(place, tmp_path):
    network = ResVAE(8, 16, 3).eval()
    network.fc4.bias.data[2] = float("nan")
    with pytest.raises(JobError, match="row 1: the model's reconstruction is not finite"):
        evaluate_model(network.save_pretrained(tmp_path / "nan"), place[1].path)


def test_mistakes(place, make_dataset, tmp_path, capsys, monkeypatch):
    model, dataset = place
    with pytest.raises(DataError, match="vectors of 5 numbers, but the model .* takes 8"):
        evaluate_model(model, make_dataset(30, 5, "narrow"))
    for words, code, message in (
        (["absent", str(dataset.path)], 3, "no MODEL"),
        ([str(model), "absent"], 3, "not a DATASET"),
        ([str(model), str(dataset.path), "--seed", "-1"], 2, "--seed -1: it must be from 0"),
        ([str(model), str(dataset.path), "--max-rows", "9"], 2, "--max-rows 9: it must be at least 10"),
        ([str(model), str(dataset.path), "--latents", "2", "4"], 2, "--latents 4: "),
        ([str(model), str(dataset.path), "--latents", "0"], 2, "has 3 latents; give 1 to 3"),
        (
            [str(model), str(dataset.path), "--latents", "2"],
            2,
            "not nested, so the first ones alone are not a code",
        ),
    ):
        assert main(["evaluate", *words]) == code
        out, err = capsys.readouterr()
        assert message in err
        assert (err.count("\n"), out) == (1, "")
    monkeypatch.setattr("resvae_ray.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .*\[insight\]"):
        evaluate_model(model, dataset.path)


def test_the_command_line_prints_json_and_leaves_the_model_alone(place, capsys):
    model, dataset = place
    before = {path: path.stat().st_mtime_ns for path in model.iterdir()}
    assert main(["evaluate", str(model), str(dataset.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reconstruction"]["pca"]["width"] == 3
    assert {path: path.stat().st_mtime_ns for path in model.iterdir()} == before


def test_pca_of_real_features_has_the_known_figures(shared, tmp_path):
    import_features(shared / "data" / "amp_esm2_8m_mean320.npz", tmp_path / "amp.parquet")
    dataset = split_features(tmp_path / "amp.parquet", tmp_path / "amp")
    val = dataset.features("val")
    pca = fit_pca(dataset.features("train"), silent)
    for width, error, r2 in ((18, 0.883, 0.848), (34, 0.423, 0.927), (43, 0.330, 0.943)):
        found = reconstruction(ResVAE(320, 8, width).eval(), pca, val, val, silent)[0].pca
        assert (found.width, round(found.squared_error, 3), round(found.r2, 3)) == (width, error, r2)
    assert pq.read_metadata(val.files[0]).num_rows == 662
