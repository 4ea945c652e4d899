"""`run`: a source to latents and a report in one folder, resumed by the same command."""

import json
import random
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rounds import LONG
from searches import outcome
from tiny_models import TINY

import resvae_ray as rr
from resvae_ray.cli import main
from resvae_ray.data.synthetic import write_synthetic_csv
from resvae_ray.embed.model_files import ModelFiles

pytestmark = pytest.mark.usefixtures("ray_here")

SEARCH = ["--epochs", "3", "--hidden-dim", "16", "--z-dim", "4", "--concurrent", "1"]
COMMAND = ["run", "proteins.csv", "out", "--prefix", "ESM2_cls", "--exclude", "test_set.csv", *SEARCH]
RESULTS = ("features.parquet", "check.json", "evaluation.json", "latents.parquet", "model/model.safetensors")
VERBS = ["import", "check", "split", "tune", "export", "evaluate", "encode", "report"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with `proteins.csv` and a test set, and `out`, which a flow made."""
    folder = tmp_path_factory.mktemp("flow")
    write_synthetic_csv(folder / "proteins.csv", 15, 10)  # so few that the report needs no UMAP
    pd.DataFrame({"id": ["SYN00000007"]}).to_csv(folder / "test_set.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with (folder / "said").open("w") as said, redirect_stdout(said):
            assert main(COMMAND) == 0
        yield folder


def commands(text):
    return [line.partition("$ ")[2] for line in text.splitlines() if "$ resvae-ray" in line]


def contents(out):
    """The bytes of what a flow makes, without the path in check.json."""
    found = {name: (out / name).read_bytes() for name in RESULTS if name != "check.json"}
    check = {name: value for name, value in json.loads((out / "check.json").read_text()).items() if name != "path"}
    return (
        found | {"check.json": check} | {path.name: path.read_bytes() for path in (out / "dataset").rglob("*.parquet")}
    )


def test_everything_is_there(place):
    out = place / "out"
    assert len(pd.read_parquet(out / "latents.parquet")) == 15
    dataset = rr.Dataset.open(out / "dataset")
    assert (dataset.train_rows + dataset.val_rows, dataset.excluded) == (14, 1)
    assert rr.ResVAE.from_pretrained(out / "model").z_dim == 4
    assert json.loads((out / "evaluation.json").read_text())["z_dim"] == 4
    assert "loss" in (out / "report" / "report.html").read_text()
    assert not list(out.glob(".*"))
    said = (place / "said").read_text()
    assert [shlex.split(command)[1] for command in commands(said)] == VERBS
    assert "15 proteins x 10 features, with labels" in said


def test_the_printed_commands_do_the_same(place, monkeypatch):
    """One after another in a shell, they give the same bytes."""
    (place / "out").rename(place / "flow")
    (place / "out").mkdir()
    (place / "out" / "search.toml").write_bytes((place / "flow" / "search.toml").read_bytes())
    for command in commands((place / "said").read_text()):
        line, _, target = command.partition(" > ")
        with Path(target or "/dev/null").open("w") as file, redirect_stdout(file):
            assert main(shlex.split(line)[1:]) == 0, command
    assert contents(place / "out") == contents(place / "flow")
    assert outcome(place / "out" / "run") == outcome(place / "flow" / "run")
    (place / "out").rename(place / "by hand")
    (place / "flow").rename(place / "out")


def test_the_same_command_finds_all_done(place, capsys):
    before = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*") if path.name != "flow.lock"}
    assert main(COMMAND) == 0
    assert capsys.readouterr().out.count("exists") == 8
    assert {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*") if path.name != "flow.lock"} == before


@pytest.mark.parametrize("name", ["features.parquet", "evaluation.json", "latents.parquet"])
def test_a_missing_result_is_made_again(name, place, capsys):
    before = (place / "out" / name).read_bytes()
    (place / "out" / name).unlink()
    assert main(COMMAND) == 0
    assert capsys.readouterr().out.count("exists") == 7
    assert (place / "out" / name).read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (["--prefix", "ESM2"], "was begun with --prefix ESM2_cls, not --prefix ESM2"),
        (["--epochs", "4"], "was begun with --epochs 3, not --epochs 4"),
        (["--trials", "2"], "was begun with --trials 1, not --trials 2"),
        (["--label-column", "label"], "was begun with no --label-column, not --label-column label"),
    ],
)
def test_another_setting_is_refused(changed, error, place, capsys):
    assert main([*COMMAND, *changed]) == 2
    line = capsys.readouterr().err
    assert error in line
    assert line.endswith("give the same options to resume it, or choose another folder\n")


def test_more_cores_are_no_other_setting(place):
    assert main([*COMMAND, "--concurrent", "2", "--max-hours", "1"]) == 0


def test_a_dry_run_writes_nothing(place, capsys):
    before = sorted(place.rglob("*"))
    assert main(["run", "proteins.csv", "new", "--prefix", "ESM2_cls", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("proteins.csv: 15 proteins x 10 features\n")
    assert [shlex.split(command)[1] for command in commands(said)] == VERBS
    assert "run (to do, at most" in said
    assert "about 1 s" in said
    assert sorted(place.rglob("*")) == before


def write_fasta(path, proteins):
    draw = random.Random(0)
    texts = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWYXU", k=draw.randint(2, 60))) for _ in range(proteins)]
    path.write_text("".join(f">P{number:04d} of a test\n{text}\n" for number, text in enumerate(texts)))


@pytest.mark.parametrize("name", TINY if LONG else ["prot_t5"])
def test_sequences_of_every_family_of_language_models(name, place, capsys):
    """From 200 proteins to the report, with the pooling that is the family's default."""
    tiny = TINY[name]
    (place / name).mkdir()
    tiny.write(place / name)
    write_fasta(place / "proteins.fasta", 200)
    capsys.readouterr()
    command = ["run", "proteins.fasta", f"out-{name}", "--model", name, *SEARCH]
    assert main([*command, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert dry.startswith("proteins.fasta: 200 proteins x 16 features\n")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert [shlex.split(line)[1] for line in commands(said)] == ["embed", *VERBS[1:]]
    assert f"model: {tiny.family}, license " in said
    out = place / f"out-{name}"
    features = rr.Features.open(out / "features.parquet")
    about = {key: features.provenance[key] for key in ("model", "pooling", "layer")}
    pooling = ModelFiles.find(str(place / name)).family.poolings[0]
    assert (features.rows, features.dim, about) == (200, 16, {"model": name, "pooling": pooling, "layer": 3})
    latents = pq.read_table(out / "latents.parquet")
    assert latents.column_names == ["id", "z", "sequence", "description"]
    assert latents["id"].to_pylist() == [f"P{number:04d}" for number in range(200)]
    assert json.loads(latents.schema.metadata[b"resvae_ray"])["model"] == name
    assert "loss" in (out / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--model", "./nothing"], "--model ./nothing: no such folder"),
        (["--pooling", "cls"], "--pooling cls: ProtT5 has mean, eos, segments, all"),
        (["--layer", "9"], "--layer 9: tiny has the layers 0 to 3, or -1 to -4"),
        (["--max-length", "50"], "sequences are longer than --max-length 50, the longest is"),
    ],
)
def test_a_dry_run_of_sequences_finds_what_embed_would_refuse(options, error, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    TINY["prot_t5"].write(tmp_path / "tiny")
    write_fasta(tmp_path / "proteins.fasta", 30)
    before = sorted(tmp_path.rglob("*"))
    assert main(["run", "proteins.fasta", "out", "--dry-run", "--model", "tiny", *options]) != 0
    assert error in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
