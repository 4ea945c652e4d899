from dataclasses import dataclass, fields, replace

import pytest

from resvae_ray.config import Config, Domain, SearchConfig, TrainingConfig, pinned
from resvae_ray.config_field import about, check_fields, in_full, setting
from resvae_ray.config_file import (
    SECTIONS,
    config_from_dict,
    config_to_dict,
    config_to_toml,
    load_config,
    scenario_names,
)
from resvae_ray.errors import UsageError
from resvae_ray.search.space import first_proposal


def test_the_default_is_the_papers_search():
    assert load_config("esm2_650m_cls") == Config()


@pytest.mark.parametrize("name", scenario_names())
def test_scenarios_survive_toml_and_json(name, tmp_path):
    config = load_config(name)
    assert config_from_dict(config_to_dict(config)) == config
    (tmp_path / "again.toml").write_text(config_to_toml(config))
    assert load_config(tmp_path / "again.toml") == config


def test_ranges_from_zero_and_of_whole_numbers_survive(tmp_path):
    """Regression: a range from 0 lost its lower end, and the run could not be opened."""
    space = {
        "dropout": Domain(0.0, 0.5),
        "gradient_clip": Domain(0, 5),
        "beta": Domain(100, 2000),
        "z_dim": Domain(1, 9),
    }
    config = Config(space=space, search=SearchConfig(try_first=True))
    assert config_from_dict(config_to_dict(config)) == config
    (tmp_path / "again.toml").write_text(config_to_toml(config))
    assert load_config(tmp_path / "again.toml").space == space


@pytest.mark.parametrize(
    "name", ["SYNTHETIC (quick)", 'a "b" \\ c', "two\nlines", "del \x7f bell \x07", "β 🧬", "# no comment"]
)
def test_any_name_survives_toml(name, tmp_path):
    (tmp_path / "again.toml").write_text(config_to_toml(Config(name=name)))
    assert load_config(tmp_path / "again.toml").name == name


def test_a_time_limit_without_end_survives_toml(tmp_path):
    config = Config(search=SearchConfig(max_hours=float("inf")))
    (tmp_path / "again.toml").write_text(config_to_toml(config))
    assert load_config(tmp_path / "again.toml") == replace(config, name=config.name)


def test_a_file_name_that_is_not_unicode_gives_a_name_that_can_be_written(tmp_path):
    path = tmp_path / "caf\udce9.toml"
    path.write_text("[search]\ntrials = 3\n")
    (tmp_path / "again.toml").write_text(config_to_toml(load_config(path)))
    assert load_config(tmp_path / "again.toml").name == "caf\\udce9"


def test_resources_may_be_left_open_or_zero(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[resources]\ngpus_per_trial = 0\n")
    config = load_config(path)
    assert (config.resources.gpus_per_trial, config.resources.cpus_per_trial) == (0.0, None)
    path.write_text(config_to_toml(config))
    assert load_config(path) == config


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
        ("[training]\nbeta = 'best'", "training.beta is 'best'; it must be above 0, or auto"),
        ("[training]\nbeta = 'auto'\nloss_type = 'RMSE'", "needs loss_type MSE and reduction sum"),
        (
            "[training]\nbeta = 'auto'\n[space]\nreduction = { choices = ['sum', 'mean'] }",
            r"leave both out of \[space\]",
        ),
        ("[space]\nbeta = { low = 'auto', high = 7 }", r"space.beta: words are searched as choices"),
        ("[space]\nbeta = { choices = [1000.0, 'auto'] }", "space.beta: choices are either numbers or words, not both"),
        (
            "[training]\nloss_type = 'RMSE'\n[space]\nbeta = { choices = ['auto'] }",
            "beta = 'auto' needs loss_type MSE and reduction sum, not RMSE",
        ),
        ("[training]\nschedule = 'wsd'\n[space]\nwarmup = { low = 0, high = 0.9 }", "it must be at most 0.8"),
        ("[training]\nlinear = 'ica'", "expected none or pca"),
        ("[training]\nnested = 1.5", "training.nested is 1.5; expected 0 to 1"),
        ("[training]\noutput_bias = 'zero'", "expected random or mean"),
        ("[space]\nschedule = { low = 'constant', high = 'wsd' }", r"choices = \[...\], not in a range"),
        ("[space]\nz_dim = { low = 5, high = 2 }", "low is above high"),
        ("[space]\nz_dim = { low = 1.5, high = 2 }", "expected a value of type int"),
        ("[space]\nlr = { low = 0, high = 1, log = true }", "needs low above 0"),
        ("[space]\nlr = { low = 1 }", "needs low and high"),
        ("[space]\nepochs = { low = 1, high = 2 }", "cannot be searched"),
        ("[space]\n", "nothing to search"),
        ("[search\ntrials = 3", "not valid TOML"),
        ("[space]\nbatch_size = { choices = 32 }", "space.batch_size.choices is 32; expected a list"),
        ("[space]\nbatch_size = { choices = [32, 1] }", "batch norm needs at least 2 rows"),
        (
            "[space]\nlr = { low = 1e-4, high = 1e-2, log = 'yes' }",
            "space.lr.log is 'yes'; expected a value of type bool",
        ),
        ("name = 5", "name is 5; expected text"),
        ("search = 5", "search is 5; expected a table"),
        ("[resources]\ngpus_per_trial = 1.5", "above 1 it must be a whole number"),
        ("[resources]\nconcurrent = 0", "resources.concurrent is 0; it must be at least 1"),
    ],
)
def test_mistakes_are_named(text, message, tmp_path):
    path = tmp_path / "search.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config(path)


def test_a_recorded_configuration_is_read_although_some_of_its_trials_failed():
    content = {"training": {"schedule": "wsd"}, "space": {"warmup": {"low": 0.0, "high": 0.9}}}
    assert config_from_dict(content).space["warmup"].high == 0.9


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_config(tmp_path / "a.toml")


def test_an_unknown_scenario_names_the_known_ones():
    with pytest.raises(UsageError, match="esm2_650m_cls, high_fidelity, quick, rate_distortion, recommended"):
        load_config("esm2")


def test_a_pinned_field_is_not_searched():
    config = pinned(Config(), {"z_dim": 18, "dropout": 0.0})
    assert set(config.space) == {"hidden_dim", "lr"}
    assert (config.training.z_dim, config.training.dropout) == (18, 0.0)


def test_not_everything_can_be_pinned():
    with pytest.raises(UsageError, match="hidden_dim, lr, z_dim given there is nothing left to search"):
        pinned(Config(), {"z_dim": 18, "hidden_dim": 859, "lr": 1e-3})


def test_an_automatic_beta_survives(tmp_path):
    config = Config(training=replace(TrainingConfig(), beta="auto"))
    (tmp_path / "again.toml").write_text(config_to_toml(config))
    again = load_config(tmp_path / "again.toml")
    assert (again.space, again.training) == (config.space, config.training)
    with pytest.raises(UsageError, match="no metric without the training rows"):
        config.training.metric  # noqa: B018


def test_the_first_trial_of_a_scenario_lies_in_its_space():
    trying = [config for config in map(load_config, scenario_names()) if config.search.try_first]
    assert [config.name for config in trying] == ["high_fidelity", "recommended"]
    for config in trying:
        assert set(first_proposal(config)) == set(config.space)


def test_rate_distortion_trains_as_high_fidelity_does():
    fidelity, sweep = load_config("high_fidelity").training, load_config("rate_distortion").training
    assert replace(sweep, z_dim=fidelity.z_dim) == fidelity


@pytest.mark.parametrize(("section", "kind"), SECTIONS.items())
def test_every_field_says_what_it_means_and_how_it_is_bounded(section, kind):
    for it in fields(kind):
        assert len(about(it).meaning) > 10, it.name
        assert not about(it).meaning.endswith("."), it.name
        assert about(it).range or isinstance(it.default, bool) or it.name == "address", it.name
        assert "default: " in in_full(it)
        assert "default: )" not in in_full(it)


@dataclass(frozen=True)
class Extra:
    """A section with a field of each kind."""

    share: float = setting(0.5, "part of the rows", at_least=0, below=1)
    weight: float | str = setting(2.0, "weight of the error", above=0, words=("auto",))
    wait_s: float = setting(3.0, "pause between updates", unit="seconds", at_most=60)
    path: str = setting("pca", "path beside the network", choices=("none", "pca", "ica"), why="others are not written")
    on: bool = setting(False, "use it")

    def __post_init__(self) -> None:
        check_fields("extra", self)


def test_one_line_gives_a_field_its_check_and_its_help():
    assert [in_full(it) for it in fields(Extra)] == [
        "part of the rows (0 to below 1; default: 0.5)",
        "weight of the error (above 0, or auto; default: 2)",
        "pause between updates (seconds, at most 60; default: 3)",
        "path beside the network (none, pca, ica; default: pca)",
        "use it (default: false)",
    ]
    assert Extra(weight="auto").weight == "auto"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.0}, "extra.share is 1.0; expected 0 to below 1"),
        ({"share": float("nan")}, "extra.share is nan; expected 0 to below 1"),
        ({"weight": 0.0}, "extra.weight is 0.0; it must be above 0, or auto"),
        ({"weight": "car"}, "extra.weight is 'car'; it must be above 0, or auto"),
        ({"wait_s": 61.0}, "extra.wait_s is 61.0; it must be at most 60"),
        ({"path": "pcb"}, "extra.path is 'pcb'; expected none, pca, ica: others are not written"),
    ],
)
def test_a_value_out_of_its_declared_range_is_refused(values, message):
    with pytest.raises(UsageError) as caught:
        Extra(**values)
    assert str(caught.value) == message


def test_the_file_explains_every_field():
    lines = config_to_toml(Config()).splitlines()
    for section, kind in SECTIONS.items():
        for it in fields(kind):
            (at,) = [
                row
                for row, line in enumerate(lines)
                if line.removeprefix("# ").startswith(f"{it.name} =") and "{" not in line
            ]
            above = " ".join(line.removeprefix("# ") for line in lines[max(at - 4, 0) : at])
            expected = in_full(it) + (". Searched: see [space]" if it.name in Config().space else "")
            assert above.endswith(expected), f"[{section}] {it.name}"
    assert max(map(len, lines)) <= 120
