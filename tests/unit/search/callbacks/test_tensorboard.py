from dataclasses import replace
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.metadata import parse_experiment_plugin_data as experiment
from tensorboard.plugins.hparams.metadata import parse_session_end_info_plugin_data as session_end
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data as session_start

from resvae_ray.config import Config, Domain
from resvae_ray.data.dataset import Dataset
from resvae_ray.search.callbacks.tensorboard import SCALARS, TensorBoard, board_name
from resvae_ray.search.run.run import Run

SPACE = {"z_dim": Domain(10, 50), "lr": Domain(1e-5, 1e-3, log=True), "loss_type": Domain(choices=("MSE", "RMSE"))}
PARAMS = {"z_dim": 18, "lr": 4.69e-4, "loss_type": "MSE"}


@pytest.fixture
def run(make_dataset, tmp_path):
    return Run.create(
        tmp_path / "run", replace(Config(), space=SPACE), Dataset.open(make_dataset(30, 4)), {"study": "s"}
    )


def trial(number, last_result=None):
    config = {"number": number, "params": PARAMS}
    return SimpleNamespace(config=config, last_result=last_result, error_file=None)


def result(epoch):
    return {name: float(position) + epoch for position, name in enumerate(SCALARS)} | {"epoch": epoch}


def events(run, number):
    return EventAccumulator(str(run.path / "tune" / board_name(f"trial_{number:04d}", PARAMS))).Reload()


def hparams(loaded, tag):
    return loaded.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content


def test_a_trial_is_in_the_table_before_its_first_epoch(run):
    board = TensorBoard(run)
    board.on_trial_start(0, [], trial(3))
    start = session_start(hparams(events(run, 3), "session_start_info"))
    assert start.group_name == "trial 0003"
    assert start.hparams["z_dim"].number_value == 18
    assert start.hparams["loss_type"].string_value == "MSE"


def test_every_epoch_has_its_scalars(run):
    board = TensorBoard(run)
    board.on_trial_start(0, [], trial(0))
    for epoch in (1, 2):
        board.on_trial_result(0, [], trial(0), result(epoch))
    loaded = events(run, 0)
    assert sorted(loaded.Tags()["scalars"]) == sorted(SCALARS.values())
    for name, tag in SCALARS.items():
        assert [(point.step, point.value) for point in loaded.Scalars(tag)] == [(e, result(e)[name]) for e in (1, 2)]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda board: board.on_trial_complete(0, [], trial(0, result(2))), api_pb2.STATUS_SUCCESS),
        (
            lambda board: board.on_trial_complete(0, [], trial(0, result(2) | {"failure": "NaN"})),
            api_pb2.STATUS_FAILURE,
        ),
        (lambda board: board.on_trial_error(0, [], trial(0)), api_pb2.STATUS_FAILURE),
    ],
)
def test_the_table_knows_how_a_trial_ended(run, end, status):
    board = TensorBoard(run)
    board.on_trial_start(0, [], trial(0))
    end(board)
    assert session_end(hparams(events(run, 0), "session_end_info")).status == status


def test_a_trial_that_a_fault_stopped_has_not_ended(run):
    board = TensorBoard(run)
    board.on_trial_start(0, [], trial(0))
    board.on_trial_complete(0, [], trial(0, {"fault": "the disk is full"}))
    assert "_hparams_/session_end_info" not in events(run, 0).summary_metadata


def test_the_columns_of_the_table_are_written_once(run):
    for _ in range(2):
        TensorBoard(run)
    (file,) = (run.path / "tune").glob("events.*")
    columns = experiment(hparams(EventAccumulator(str(file)).Reload(), "experiment"))
    assert [info.name for info in columns.hparam_infos] == ["z_dim", "lr", "loss_type"]
    assert [metric.name.tag for metric in columns.metric_infos] == [
        "loss/best_validation", "validation/r2", "validation/active_units",
    ]  # fmt: skip


def test_names_are_for_people_and_file_systems():
    assert board_name("trial_0007", PARAMS) == "trial_0007_z_dim=18_lr=0.000469_loss_type=MSE"
    assert len(board_name("trial_0007", {f"parameter_{n}": "x" * 20 for n in range(20)}).encode()) <= 255
    assert "/" not in board_name("trial_0007", {"loss_type": "a/b"})
