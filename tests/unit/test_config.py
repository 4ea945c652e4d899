from dataclasses import replace

import pytest

from resvae_ray.config import (
    Config,
    Domain,
    TrainingConfig,
    config_from_dict,
    config_to_dict,
    config_to_toml,
    load_config,
    scenario_names,
)
from resvae_ray.errors import UsageError


def test_the_default_is_the_papers_search():
    assert load_config("esm2_650m_cls") == Config()


@pytest.mark.parametrize("name", scenario_names())
def test_scenarios_survive_toml_and_json(name, tmp_path):
    config = load_config(name)
    assert config_from_dict(config_to_dict(config)) == config
    (tmp_path / "again.toml").write_text(config_to_toml(config))
    assert load_config(tmp_path / "again.toml") == config


def test_choices_and_a_pinned_field(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "[space]\nbatch_size = { choices = [32, 64] }\nlr = { low = 1e-4, high = 1e-2, log = true }\n"
        "[training]\nz_dim = 26\n"
    )
    config = load_config(path)
    assert config.space == {"batch_size": Domain(choices=(32, 64)), "lr": Domain(1e-4, 1e-2, log=True)}
    assert config.training == replace(TrainingConfig(), z_dim=26)
    assert config.name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepoch = 3", "did you mean 'epochs'"),
        ("[serach]\ntrials = 3", "did you mean 'search'"),
        ("[space]\nz_dmi = { low = 1, high = 2 }", "did you mean 'z_dim'"),
        ("[space]\nz_dim = { lo = 1, high = 2 }", "did you mean 'low'"),
        ("[search]\ntrials = 0", "search.trials is 0"),
        ("[search]\ntrials = 2.5", "expected a value of type int"),
        ("[search]\ntrials = true", "expected a value of type int"),
        ("[training]\nhidden_dim = 3", "at least 4"),
        ("[training]\nloss_type = 'MAE'", "expected MSE or RMSE"),
        ("[space]\nz_dim = { low = 5, high = 2 }", "low is above high"),
        ("[space]\nz_dim = { low = 1.5, high = 2 }", "expected a value of type int"),
        ("[space]\nlr = { low = 0, high = 1, log = true }", "needs low above 0"),
        ("[space]\nlr = { low = 1 }", "needs low and high"),
        ("[space]\nepochs = { low = 1, high = 2 }", "cannot be searched"),
        ("[space]\n", "nothing to search"),
        ("[search\ntrials = 3", "not valid TOML"),
    ],
)
def test_mistakes_are_named(text, message, tmp_path):
    path = tmp_path / "search.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(path)


def test_an_unknown_scenario_names_the_known_ones():
    with pytest.raises(UsageError, match="esm2_650m_cls, quick"):
        load_config("esm2")
