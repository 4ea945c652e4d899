"""The scikit-learn transformer: its contract, what it trains, where its models go."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils.estimator_checks import parametrize_with_checks

import resvae_ray as rr
from resvae_ray.config_file import load_config
from resvae_ray.data.stream import ResidentRows
from resvae_ray.errors import UsageError
from resvae_ray.estimator import SEEDS
from resvae_ray.model.network import ResVAE
from resvae_ray.model.training import Training

SMALL = {"hidden_dim": 8, "z_dim": 4, "batch_size": 16}


def transformer(n_components=2, epochs=2, **params):
    return rr.ResVAETransformer(n_components, epochs=epochs, training=SMALL, random_state=0, **params)


@pytest.fixture(scope="module")
def x():
    """(80, 6), with three directions that hold most of the variance."""
    generator = np.random.default_rng(0)
    return (generator.normal(size=(80, 3)) @ generator.normal(size=(3, 6)) + 3).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(x):
    torch.set_num_threads(1)
    return transformer(3).fit(x)


@parametrize_with_checks([transformer()])
def test_scikit_learn_checks_pass(estimator, check):
    check(estimator)


def test_a_fit_is_the_training_that_a_search_runs(x, fitted):
    seed = check_random_state(0).randint(SEEDS)
    train, val = (ResidentRows(torch.tensor(side)) for side in train_test_split(x, test_size=0.2, random_state=seed))
    config = load_config("recommended").training
    training = Training(type(config)(**{**vars(config), **SMALL, "epochs": 2}), train, val, seed)
    *_, last = training.epochs()
    expected = training.best_model().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in fitted.model_.state_dict().items())
    assert (fitted.best_epoch_, fitted.best_val_loss_) == (last["best_epoch"], last["best_val_loss"])


def test_latents_are_the_first_posterior_means(x, fitted):
    z = fitted.transform(x)
    with torch.inference_mode():
        assert z == pytest.approx(fitted.model_.encode(torch.tensor(x))[0].numpy()[:, :3], abs=1e-5)
    assert transformer(2).fit_transform(x) == pytest.approx(z[:, :2])
    assert transformer(7).fit(x).model_.z_dim == 7


def test_latents_turn_back_into_features(x, fitted):
    back = fitted.inverse_transform(fitted.transform(x))
    assert back.shape == x.shape
    assert ((back - x) ** 2).sum() < 0.1 * ((x - x.mean(0)) ** 2).sum(), "three latents hold three directions"
    with pytest.raises(ValueError, match="X has 2 latents, but the transformer gives 3"):
        fitted.inverse_transform(x[:, :2])


def test_pandas_in_and_out(x):
    table = pd.DataFrame(x, columns=[f"ESM2_cls{place}" for place in range(6)], index=[f"P{row}" for row in range(80)])
    latents = transformer().set_output(transform="pandas").fit_transform(table)
    assert latents.columns.tolist() == ["resvaetransformer0", "resvaetransformer1"]
    assert latents.index.tolist() == table.index.tolist()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("obsm", [None, "esm"])
def test_anndata_in(x, fitted, sparse, obsm):
    anndata = pytest.importorskip("anndata", reason="needs anndata, of the extra `test`")
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(x) if sparse else x
    cells = anndata.AnnData(matrix) if obsm is None else anndata.AnnData(obsm={"esm": matrix}, shape=(80, 0))
    made = transformer(3, obsm=obsm).fit(cells)
    assert made.transform(cells) == pytest.approx(fitted.transform(x), abs=1e-4)
    assert made.feature_names_in_[0] == ("0" if obsm is None else "esm0")


def test_an_anndata_without_x_says_what_to_do():
    anndata = pytest.importorskip("anndata", reason="needs anndata, of the extra `test`")
    with pytest.raises(ValueError, match="the AnnData has no X; say which matrix of obsm holds the features"):
        transformer().fit(anndata.AnnData(shape=(80, 0)))


def test_masked_entries_are_refused(x):
    with pytest.raises(ValueError, match="X has masked entries"):
        transformer().fit(np.ma.masked_greater(x, 1))
    assert transformer().fit(np.ma.masked_array(x)).n_features_in_ == 6


def test_in_a_pipeline_and_a_grid_search(x):
    y = (x[:, 0] > np.median(x[:, 0])).astype(int)
    pipeline = make_pipeline(transformer(1), LogisticRegression())
    grid = GridSearchCV(pipeline, {"resvaetransformer__n_components": [1, 3]}, cv=2).fit(x, y)
    assert grid.best_params_ == {"resvaetransformer__n_components": 3}, "one latent does not separate the classes"
    assert np.mean(grid.predict(x) == y) > 0.8


def test_pickles(x, fitted):
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).transform(x), fitted.transform(x))


def test_a_saved_transformer_is_a_model(x, tmp_path):
    table = pd.DataFrame(x, columns=list("abcdef"))
    made = transformer(3).fit(table)
    path = made.save_pretrained(tmp_path / "model")
    again = rr.ResVAETransformer.from_pretrained(path)
    assert np.array_equal(again.transform(table), made.transform(table))
    assert again.feature_names_in_.tolist() == list("abcdef")
    assert rr.ResVAETransformer.from_pretrained(path, n_components=1).transform(table).shape == (80, 1)
    assert ResVAE.from_pretrained(path).z_dim == 4
    with pytest.raises(UsageError, match=r"n_components 9: the model has 4 latents; give 1 to 4"):
        rr.ResVAETransformer.from_pretrained(path, n_components=9)


def test_any_model_can_be_used(x, tmp_path):
    path = ResVAE(6, 8, 3).save_pretrained(tmp_path / "model")
    assert rr.ResVAETransformer.from_pretrained(path).transform(x).shape == (80, 3)
    with pytest.raises(UsageError, match=r"n_components 2: the model has 3 latents; give 3, as they are not nested"):
        rr.ResVAETransformer.from_pretrained(path, n_components=2)


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"training": {"hiden_dim": 8}}, "has no key 'hiden_dim'; did you mean 'hidden_dim'?"),
        ({"n_components": 0}, "n_components is 0; it must be at least 1"),
        ({"n_components": 2.5}, "training.z_dim is 2.5; expected a value of type int"),
        ({"epochs": 0}, "training.epochs is 0; it must be at least 1"),
        ({"config": "recomended"}, "recomended"),
    ],
)
def test_a_wrong_parameter_is_one_line(params, error, x):
    with pytest.raises(UsageError, match=error.replace("?", r"\?")) as caught:
        rr.ResVAETransformer(**params).fit(x)
    assert "\n" not in str(caught.value)


def test_without_scikit_learn_it_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import resvae_ray as rr; rr.ResVAETransformer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ResVAETransformer needs scikit-learn; get it in the checkout with: pip install" in done.stderr
