"""Figures of a search match the content of the RUN."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportOptionalSubscript=false
# plotly makes the attributes of traces and layouts when they are read.

from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from resvae_ray.config import Domain
from resvae_ray.errors import DataError
from resvae_ray.reporting import style
from resvae_ray.reporting.figures import figures
from resvae_ray.reporting.search_figures import _importance_bars, _method
from resvae_ray.reporting.training_figures import CLOCK_S, stretches
from resvae_ray.search.run.epoch_log import Curve
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.trainings import TrainingRecord


def named(figure, text):
    (found,) = (trace for trace in figure.data if trace.name and trace.name.startswith(text))
    return found


def test_history_has_a_marker_for_every_trial_with_an_epoch(run_path):
    figure = figures(run_path)["history"]
    states = Counter(Run.open(run_path).trials().state)
    assert states == {"complete": 4, "pruned": 7, "failed": 1}
    for state, many in states.items():
        assert len(named(figure, state).x) == many
        assert named(figure, state).name == f"{state} ({many})"
    assert list(named(figure, "complete").y) == [40.0, 43.0, 46.0, 49.0]
    assert list(named(figure, "pruned").y) == [150.0, 151.0, 152.0, 153.0, 154.0, 80.0, 80.0]
    assert list(named(figure, "lowest so far").y) == [40.0] * 12


def test_history_counts_a_pruned_trial_that_is_the_best(searched):
    path = searched([("complete", [9.0] * 9), ("pruned", [3.0])])
    assert list(named(figures(path)["history"], "lowest so far").y) == [9.0, 3.0]


def test_learning_curves_mark_what_was_stopped_where(run_path):
    figure = figures(run_path)["learning_curves"]
    ends = named(figure, "stopped here")
    assert sorted(ends.x) == [1, 1, 1, 1, 1, 3, 3]
    assert [note.text for note in figure.layout.annotations] == ["5 stopped", "2 stopped"]
    assert [shape.x0 for shape in figure.layout.shapes] == [1, 3]


def test_learning_curves_are_running_minima_with_gaps_between_trials(run_path):
    curves = named(figures(run_path)["learning_curves"], "complete")
    assert list(curves.x[:10]) == [*range(1, 10), None]
    assert list(curves.y[:10]) == [90.0, 70.0, 70.0, 60.0, 50.0, 50.0, 45.0, 40.0, 40.0, None]
    assert list(curves.x).count(None) == 4


def test_epochs_saved_by_hand(run_path):
    """Five trials stopped 8 epochs early and two 6: 52. A crash saves none."""
    drawn = figures(run_path)
    assert drawn.findings.epochs_saved == 5 * 8 + 2 * 6
    trained = 4 * 9 + 5 * 1 + 2 * 3 + 2
    reading = drawn["learning_curves"].layout.meta["reading"]
    assert f"saved 52 of {trained + 52} epochs" in reading
    assert "5 at epoch 1 and 2 at epoch 3" in reading


def test_slices_show_every_trial_in_every_field(run_path):
    figure = figures(run_path)["slices"]
    trials = Run.open(run_path).trials()
    for axis, field in (("x", "lr"), ("x2", "z_dim")):
        pruned = [trace for trace in figure.data if trace.name == "pruned" and trace.xaxis == axis]
        assert sorted(pruned[0].x) == sorted(trials[field][trials.state == "pruned"])
        assert len(pruned[0].y) == 7
    assert [trace.name for trace in figure.data if trace.showlegend] == ["complete", "pruned", "failed"]
    by_number = dict(zip(trials.number, trials.lr, strict=True))
    (complete,) = (trace for trace in figure.data if trace.name == "complete" and trace.xaxis == "x")
    assert {about.split("</b>")[0].split()[-1]: x for about, x in zip(complete.text, complete.x, strict=True)} == {
        str(number): by_number[number] for number in range(4)
    }


def test_slices_of_choices(searched):
    path = searched([("complete", [5.0] * 9), ("pruned", [7.0])], batch_size=Domain(choices=(32, 64)))
    drawn = figures(path)["slices"]
    assert {trace.name for trace in drawn.data} == {"complete", "pruned"}


def test_slices_of_one_field(searched, tmp_path):
    path = searched([("complete", [5.0] * 9), ("pruned", [7.0])])
    run = Run.open(path)
    assert len({trace.xaxis for trace in figures(run)["slices"].data}) == len(run.config.space)


def test_a_slice_spans_the_searched_range(run_path):
    space = Run.open(run_path).config.space
    axes = {axis.title.text: axis for axis in figures(run_path)["slices"].select_xaxes()}
    low, high = axes["lr"].range
    assert (axes["lr"].type, low, high) == ("log", pytest.approx(-4.08), pytest.approx(-1.92))
    assert axes["z_dim"].range[0] < space["z_dim"].low < space["z_dim"].high < axes["z_dim"].range[1]


def test_importances_compare_all_trials_at_the_first_rung(run_path):
    (bars,) = figures(run_path)["importances"].data
    assert bars.name == "loss at epoch 1 (12 trials)"
    assert set(bars.y) == {"z_dim", "lr"}
    assert sum(bars.x) == pytest.approx(1)


def test_importances_at_the_end_too_where_there_are_enough(searched):
    path = searched([("complete", [50.0 + number] * 9) for number in range(10)])
    names = [bars.name for bars in figures(path)["importances"].data]
    assert names == ["loss at epoch 1 (10 trials)", "loss at the end (10 trials)"]


def test_a_logarithmic_axis_asks_for_ticks_that_its_range_can_hold():
    """plotly.js labels 1, 2 and 5 of a decade at 0.3 to 0.7 decades per tick, and round values below a decade."""
    for low, high in ((3.0, 4.0), (1.0, 100.0), (5e3, 2e5), (1e-4, 1e-1)):
        axis = style.log_axis([low, high])
        span = 1.1 * np.log10(high / low)
        assert 0.3 < span / axis["nticks"] <= 0.7 or (span < 1 and axis["nticks"] >= 5)
    assert style.log_axis([7.0])["nticks"] == 5
    assert style.log_axis([None, 0.0])["type"] == "log"


def test_a_narrow_logarithmic_axis_labels_each_power_of_ten_or_more():
    """plotly.js labels every power of ten up to one decade per tick, and only every second one above."""
    for decades in (0.5, 1.0, 1.3, 1.5, 1.8, 2.0, 2.6, 4.0):
        axis = style.narrow_log_axis(3e-4, 3e-4 * 10**decades)
        assert 1.1 * decades / axis["nticks"] <= (0.7 if 1.1 * decades < 2 else 1.0)
        assert axis["nticks"] <= max(3, np.ceil(1.1 * decades))


def test_ticks_are_round_and_inside_the_range():
    assert style.linear_ticks(8, 32) == [10, 15, 20, 25, 30]
    assert style.linear_ticks(3.0, 3.0) == [3.0]
    assert style.number(style.linear_ticks(0.0, 0.3)[0]) == "0"
    for low, high in ((250, 1000), (5586.8, 6657.1), (0.0, 0.3), (1e5, 3e7)):
        ticks = style.linear_ticks(low, high)
        assert 3 <= len(ticks) <= 8
        assert low <= ticks[0] < ticks[-1] <= high
    assert style.log_ticks(3e-4, 3e-2) == [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02]
    assert style.log_ticks(1e-6, 1) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    assert style.log_ticks(3.0, 4.0) == [3.0, 4.0]


def test_two_complete_trials_stand_where_they_are_in_the_searched_range(searched):
    """Not at the ends of axes that reach from one trial to the other."""
    path = searched([("complete", [5.0] * 9), ("complete", [6.0] * 9)])
    space, trials = Run.open(path).config.space, Run.open(path).trials()
    best = [t for t in figures(path)["parallel_coordinates"].data if t.mode == "lines"][-1]
    width = (trials.z_dim[0] - space["z_dim"].low) / (space["z_dim"].high - space["z_dim"].low)
    rate = np.log(trials.lr[0] / space["lr"].low) / np.log(space["lr"].high / space["lr"].low)
    by_field = dict(zip(["loss", *space], best.y, strict=True))
    assert by_field == pytest.approx({"loss": 0.0, "z_dim": width, "lr": rate})


def test_the_best_trial_is_the_darkest_also_among_choices(searched):
    path = searched([("complete", [9.0 - n] * 9) for n in range(5)], batch_size=Domain(choices=(64, 32)))
    trials = Run.open(path).trials()
    lines = [trace for trace in figures(path)["parallel_coordinates"].data if trace.mode == "lines"]
    darkest = min(lines, key=lambda line: sum(map(float, line.line.color.strip("rgb()").split(","))))
    assert "trial 4" in darkest.text[0]
    assert darkest.y[-1] == (64, 32).index(trials.batch_size[4])


def test_the_colour_bar_has_a_title(run_path):
    bar = figures(run_path)["parallel_coordinates"].data[-1].marker.colorbar
    assert bar.title.text == "lowest validation loss"


def study_of(trials, seed):
    """A study in which `lr` explains most of the loss, and `z_dim` and `hidden_dim` a little."""
    generator = np.random.default_rng(seed)
    domains = {
        "lr": FloatDistribution(1e-5, 1e-3, log=True),
        "z_dim": IntDistribution(10, 50),
        "hidden_dim": IntDistribution(250, 1000),
    }
    study = optuna.create_study()
    for _ in range(trials):
        lr, z_dim, hidden_dim = generator.random(3)
        params = {"lr": 10 ** (2 * lr - 5), "z_dim": int(10 + 40 * z_dim), "hidden_dim": int(250 + 750 * hidden_dim)}
        value = 30_000 - 10_000 * lr + 2_000 * z_dim + 1_000 * hidden_dim
        study.add_trial(create_trial(params=params, distributions=domains, value=value))
    return study


def test_ten_trials_suffice_to_name_the_field_that_matters():
    """The best tenth of ten trials is one trial, whose other fields lie anywhere."""
    for seed in range(20):
        (bars,) = _importance_bars(study_of(10, seed))
        assert bars.y[np.argmax(bars.x)] == "lr", seed


def test_the_best_tenth_is_compared_from_fifty_trials_on():
    names = [_method(study_of(trials, 0)) for trials in (10, 49, 50)]
    assert names == ["fANOVA", "fANOVA", "PED-ANOVA"]
    (bars,) = _importance_bars(study_of(50, 0))
    assert bars.y[np.argmax(bars.x)] == "lr"


def test_importances_say_by_which_method_and_of_how_many_trials(searched):
    path = searched(
        [("pruned", [50.0 + number]) for number in range(40)] + [("complete", [9.0 + n] * 9) for n in range(10)]
    )
    figure = figures(path)["importances"]
    assert [bars.name for bars in figure.data] == ["loss at epoch 1 (50 trials)", "loss at the end (10 trials)"]
    reading = figure.layout.meta["reading"]
    assert "fANOVA" in reading
    assert "PED-ANOVA" in reading


def test_importances_where_all_losses_are_equal(searched):
    path = searched([("complete", [5.0] * 9)] * 10)
    with pytest.raises(DataError, match="all 10 trials have the same loss at epoch 1"):
        figures(path)["importances"]


def test_parallel_coordinates_are_the_complete_trials_and_the_best_is_darkest(run_path):
    lines = [trace for trace in figures(run_path)["parallel_coordinates"].data if trace.mode == "lines"]
    assert len(lines) == 4
    brightness = [sum(map(float, line.line.color.strip("rgb()").split(","))) for line in lines]
    assert lines[np.argmin(brightness)].text[0].startswith("<b>trial 0</b>")
    assert brightness == sorted(brightness, reverse=True)


@pytest.mark.parametrize(
    ("trials", "name", "reason"),
    [
        ([], "history", "no trial"),
        ([], "learning_curves", "no trial"),
        ([], "timeline", "no trial"),
        ([], "slices", "no trial"),
        ([("complete", [5.0] * 9)], "parallel_coordinates", "1 complete trial; parallel coordinates need two"),
        ([("pruned", [5.0])], "importances", "1 trial came to epoch 1; parameter importances need 10"),
    ],
)
def test_too_little_data_for_a_figure_is_reported(searched, trials, name, reason):
    with pytest.raises(DataError, match=reason):
        figures(searched(trials))[name]


def test_one_trial_that_runs(searched):
    drawn = figures(searched([("running", [5.0, 4.0])]))
    assert list(named(drawn["history"], "running").y) == [4.0]
    assert [trace.name for trace in drawn["learning_curves"].data] == ["running (1)", "best: trial 0"]
    assert named(drawn["timeline"], "running").text == ("0",)


def test_the_timeline_has_the_seconds_of_every_trial(run_path):
    figure = figures(run_path)["timeline"]
    complete, pruned = named(figure, "complete"), named(figure, "pruned")
    assert [round(seconds) for seconds in complete.x] == [9] * 4
    assert [round(seconds) for seconds in pruned.x] == [1] * 5 + [3] * 2
    assert set(complete.y) == {"node-a · 01"}
    assert complete.base[1] == pytest.approx(9)
    assert figure.layout.xaxis.title.text == "seconds since the first epoch"


@pytest.mark.parametrize(("many", "unit"), [(13, "seconds"), (14, "minutes")])
def test_the_timeline_takes_the_unit_that_suits_its_length(searched, many, unit):
    path = searched([("complete", [5.0] * 9)] * many)
    assert figures(path)["timeline"].layout.xaxis.title.text == f"{unit} since the first epoch"


def epoch(time, node="a", seconds=1.0):
    return {"epoch": 1, "time": time, "node": node, "seconds": seconds, "val_loss": 1.0}


def test_a_trial_that_paused_or_moved_has_a_stretch_for_each():
    rows = [epoch(10), epoch(11), epoch(500), epoch(501, "b"), epoch(502, "b")]
    trial = TrainingRecord(0, "complete", {}, Curve.of(rows))
    found = [(part.node, part.start, part.end) for part in stretches(trial)]
    assert found == [("a", 9, 11), ("a", 499, 500), ("b", 500, 502)]


def test_trials_at_the_same_time_have_rows_of_their_own(searched):
    path = searched([("complete", [5.0] * 9)] * 3)
    lines = (path / "epochs.jsonl").read_text().replace(f'"time": {1000.0 + 9 + CLOCK_S + 1}', '"time": 1001.5')
    (path / "epochs.jsonl").write_text(lines)
    lanes = {lane for trace in figures(path)["timeline"].data for lane in trace.y}
    assert lanes == {"node-a · 01", "node-a · 02"}


def test_names_of_nodes_are_escaped(searched):
    path = searched([("complete", [5.0] * 9)])
    lines = (path / "epochs.jsonl").read_text().replace("node-a", "<b>a</b>")
    (path / "epochs.jsonl").write_text(lines)
    (bar,) = figures(path)["timeline"].data
    assert bar.y[0] == "&lt;b&gt;a&lt;/b&gt; · 01"
    assert "<b>a" not in bar.customdata[0]


def test_every_figure_says_how_to_read_it(run_path):
    drawn = figures(run_path)
    assert len(drawn) == len(list(drawn)) == 9
    for figure in drawn.values():
        assert figure.layout.meta["reading"].endswith(".")
        assert figure.layout.title.text == figure.layout.meta["title"]
    assert "learning_curves" in repr(drawn)
    assert drawn["history"] is drawn["history"]
    with pytest.raises(KeyError):
        drawn["no_such"]
