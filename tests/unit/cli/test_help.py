"""`--help` of every verb, and the configuration to start from."""

import argparse
import re
import shlex

import pytest

from resvae_ray.cli import build_parser, main
from resvae_ray.config_file import load_config, scenario_names


def verbs() -> dict[str, argparse.ArgumentParser]:
    (found,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return found.choices


def help_of(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_a_sentence_an_example_and_a_meaning_for_each_option(verb, capsys):
    text = help_of(verb, capsys)
    usage, sentence, example = text.split("\n\n")[:3]
    assert re.fullmatch(rf"usage: resvae-ray {verb} \[options\]( \[?[A-Z]+\]?)*", usage)
    assert re.fullmatch(r"[A-Z][^\n]*\.", sentence)
    (line,) = re.findall(r"^  resvae-ray (.*)$", example, re.M)
    words = shlex.split(line.partition(" > ")[0])
    assert words[0] == verb
    assert build_parser().parse_args(words).verb
    for action in verbs()[verb]._actions:
        assert action.help, f"{verb}: {action.dest} has no help"


@pytest.mark.parametrize("verb", verbs())
def test_every_option_that_takes_a_number_or_has_a_default_says_its_default(verb):
    for action in verbs()[verb]._actions:
        has_default = action.default not in (None, False, argparse.SUPPRESS, "", [])
        if action.option_strings and action.dest != "layer" and (has_default or action.type is not None):
            assert "default" in action.help, f"{verb} {action.option_strings}: {action.help}"


def test_the_options_of_tune_stand_in_groups(capsys):
    text = help_of("tune", capsys)
    groups = re.split(r"\n\n(?=[a-z ]+:\n)", text)
    options = {group.partition(":")[0]: re.findall(r"^  (--[a-z-]+)", group, re.M) for group in groups}
    assert options["options"][:3] == ["--config", "--resume", "--tensorboard"]
    assert {"--trials", "--epochs", "--seed", "--max-hours"} < set(options["options"])
    assert {"--z-dim", "--hidden-dim", "--lr", "--dropout"} < set(options["model and training"])
    assert {"--gpus-per-trial", "--address"} < set(options["machine"])
    assert {"--brackets", "--startup-trials", "--average"} < set(options["rarely used"])
    assert len(options["options"]) <= 12, "a person reads them"


@pytest.mark.parametrize("scenario", [*scenario_names(), None])
def test_config_prints_a_configuration_to_start_from(scenario, capsys, tmp_path):
    assert main(["config", *filter(None, [scenario])]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# ")
    assert "# learning rate of Adam (above 0; default: 0.000469)" in text
    (tmp_path / "start.toml").write_text(text)
    assert load_config(tmp_path / "start.toml") == load_config(scenario or "esm2_650m_cls")


def test_config_completes_a_file_of_ones_own(capsys, tmp_path):
    (tmp_path / "mine.toml").write_text("[search]\ntrials = 7\n")
    assert main(["config", str(tmp_path / "mine.toml")]) == 0
    out = capsys.readouterr().out
    assert "trials = 7" in out
    assert "startup_trials = 10" in out


def test_config_of_an_unknown_scenario_names_the_known_ones(capsys):
    assert main(["config", "esm2"]) == 2
    assert "esm2_650m_cls, high_fidelity, quick, rate_distortion" in capsys.readouterr().err


def test_a_switch_of_a_scenario_can_be_turned_off():
    options = build_parser().parse_args(["tune", "dataset", "run", "--config", "high_fidelity", "--no-try-first"])
    assert vars(options)["search.try_first"] is False
