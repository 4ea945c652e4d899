"""A RUN is read once: a later question reads what was added, and answers what a fresh reader answers."""

import json

import pytest

from resvae_ray.errors import DataError
from resvae_ray.search.run import epoch_log
from resvae_ray.search.run.epoch_log import EpochReader, read_epochs
from resvae_ray.search.run.journal import JournalReader
from resvae_ray.search.run.run import Run
from resvae_ray.search.run.snapshot import SnapshotReader
from resvae_ray.search.study import open_study


def line(number, epoch, loss, **more):
    row = {"number": number, "epoch": epoch, "val_loss": loss, "seconds": 2.0, "node": "host", "time": 10.0 * epoch}
    return json.dumps(row | more) + "\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epochs.jsonl"


def curves(reader):
    reader.refresh()
    return {key: (curve.epochs, curve.losses, curve.rows) for key, curve in reader.curves.items()}


def test_rows_that_come_later_are_as_if_they_had_been_there(path):
    lines = [line(1, 1, 9.0), line(0, 1, 8.0), line(1, 2, 7.0), line(1, 2, 6.5), line(0, 2, 5.0), line(1, 1, 4.0)]
    lines += [line(0, 1, 3.0, repeat=0), line(0, 1, 2.0, repeat=1), line(0, 3, 1.0)]
    reader = EpochReader(path)
    for count in range(1, len(lines) + 1):
        path.write_text("".join(lines[:count]))
        assert curves(reader) == curves(EpochReader(path))
    assert reader.curves[1, None].losses == [4.0, 6.5], "the last report of an epoch holds"
    assert reader.curves[0, 1].losses == [2.0]
    assert reader.curves[1, None].rows == [row for row in read_epochs(path) if row["number"] == 1]


def test_both_parsers_find_the_same(path):
    content = "".join(
        line(n, e, n + 1 / e, node=None if n else "h", **({"repeat": n} if n else {})) for n in range(3) for e in (2, 1)
    )
    columns = epoch_log._fast(content.replace("null", '"h"').encode())
    slow = epoch_log._slow(content.replace("null", '"h"').encode(), path, 0)
    assert columns is not None
    assert list(columns.curves()) == list(slow.curves())
    assert epoch_log._fast(content.encode()) is None, "a node that is not known is left to the slower one"


@pytest.mark.parametrize(
    "damage", ["{}", '{"number": 0}', "", "[1]", line(0, 1, 1.0).strip() * 2, line(2**64, 1, 1.0).strip(), "\0"]
)
def test_a_damaged_line_is_named_also_when_it_comes_later(path, damage):
    path.write_text(line(0, 1, 9.0) + line(0, 2, 8.0))
    reader = EpochReader(path)
    reader.refresh()
    with path.open("a") as file:
        file.write(line(0, 3, 7.0) + damage + "\n" + line(0, 4, 6.0))
    for each in (reader, EpochReader(path)):
        with pytest.raises(DataError, match=r"epochs.jsonl: line 4: damaged line"):
            each.refresh()


def test_a_replaced_file_is_read_again(path):
    path.write_text(line(0, 1, 9.0) + line(0, 2, 8.0))
    reader = EpochReader(path)
    reader.refresh()
    new = path.with_name("new")
    new.write_text(line(3, 1, 7.0) + line(3, 2, 6.0) + line(3, 3, 5.0))
    new.replace(path)
    assert list(curves(reader)) == [(3, None)]
    path.unlink()
    assert curves(reader) == {}


def test_one_reader_sees_what_a_fresh_one_sees(searched):
    path = searched([("complete", [9.0, 8.0]), ("failed", []), ("running", [7.0])], model=False)
    reader = SnapshotReader(path, "s")
    first = reader.read()
    assert [trial.failure for trial in first.trials] == [None, "unknown", None]
    (path / "trials" / "0001").mkdir(parents=True)
    (path / "trials" / "0001" / "error.txt").write_text("out of memory\n")
    with (path / "epochs.jsonl").open("a") as file:
        file.write(line(2, 2, 1.5))
    second = reader.read()
    assert [trial.row() for trial in second.trials] == [
        trial.row() for trial in SnapshotReader(path, "s").read().trials
    ]
    assert (second.trials[1].failure, second.trials[2].best_val_loss) == ("out of memory", 1.5)
    assert second.trials[0] is first.trials[0], "what has not changed is not made again"
    assert first.trials[2].best_val_loss == 7.0, "a snapshot does not change"


def test_a_trial_that_ends_while_the_run_is_read_has_all_its_epochs_or_has_not_ended(searched, monkeypatch):
    path = searched([("running", [7.0])], model=False)
    study, left = open_study(path / "study.journal", "s"), [1]

    def end_after(refresh):
        def read(reader):
            found = refresh(reader)
            if left:
                left.clear()
                with (path / "epochs.jsonl").open("a") as file:
                    file.write(line(0, 2, 1.5))
                study.tell(0, 1.5)
            return found

        return read

    for reader in (EpochReader, JournalReader):
        monkeypatch.setattr(reader, "refresh", end_after(reader.refresh))
    snapshots = SnapshotReader(path, "s")
    first, second = (snapshots.read().trials[0] for _ in range(2))
    assert (first.state, first.last_epoch) in {("running", 1), ("running", 2)}
    assert (second.state, second.last_epoch, second.best_val_loss) == ("complete", 2, 1.5)


def test_an_end_that_was_read_before_a_damaged_epoch_is_not_lost(searched):
    path = searched([("complete", [9.0, 8.0]), ("running", [7.0])], model=False)
    reader, epochs = SnapshotReader(path, "s"), (path / "epochs.jsonl").read_text()
    reader.read()
    open_study(path / "study.journal", "s").tell(1, 7.0)
    (path / "epochs.jsonl").write_text(epochs + "damage\n")
    with pytest.raises(DataError, match="damaged line"):
        reader.read()
    more = line(1, 2, 1.5) + line(7, 1, 2.0) + line(-1, 1, 2.0)  # also of trials that the journal does not have
    (path / "epochs.jsonl").write_text(epochs + more)
    rows = [trial.row() for trial in reader.read().trials]
    assert rows == [trial.row() for trial in SnapshotReader(path, "s").read().trials]
    assert [(row["state"], row["best_val_loss"]) for row in rows] == [("complete", 8.0), ("complete", 1.5)]


def test_retrainings_of_version_0_1_have_their_own_file_and_resume_in_the_common_one(searched):
    path = searched([("complete", [9.0, 8.0])], model=False)
    (path / "finalists").mkdir()
    old = [line(0, 1, 5.0, repeat=0), line(0, 2, 4.0, repeat=0), line(0, 1, 6.0, repeat=1)]
    (path / "finalists" / "epochs.jsonl").write_text("".join(old))
    with (path / "epochs.jsonl").open("a") as file:
        file.write(line(0, 2, 4.5, repeat=0) + line(0, 3, 3.0, repeat=0))
    run = Run.open(path)
    snapshot = run.snapshot()
    first, second = (snapshot.retraining(snapshot.trials[0], repeat) for repeat in (0, 1))
    assert (first.curve.losses, second.curve.losses) == ([5.0, 4.5, 3.0], [6.0])
    assert [row["val_loss"] for row in first.epochs] == [5.0, 4.5, 3.0]
    assert snapshot.trials[0].curve.losses == [9.0, 8.0], "they are not epochs of the trial"
    assert list(run.epochs()["val_loss"]) == [9.0, 8.0]


def test_the_tables_of_a_search_are_written_in_a_part_of_its_time_and_at_its_end(searched, monkeypatch):
    from resvae_ray.search.callbacks import recorder

    path = searched([("complete", [9.0, 8.0])], model=False)
    clock, written = [100.0], []
    monkeypatch.setattr(recorder.time, "monotonic", lambda: clock[0])

    def write(run):
        written.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(Run, "write_tables", write)
    tables = recorder.Tables(Run.open(path))
    tables.write_if_due()
    assert written == [], "nothing has ended"
    tables.outdated()
    clock[0] = 115.0
    tables.outdated()
    assert written == [100.0], "a second after 15 would be more than a part of 1 / 20"
    clock[0] = 121.5
    tables.write_if_due()
    assert written == [100.0, 121.5]
    tables.outdated()
    tables.close()
    assert len(written) == 3
    tables.close()
    assert len(written) == 3
