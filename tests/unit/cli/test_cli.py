"""Mistakes that a user can make: each one line on stderr, its exit code, and nothing half-written."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_esm import write_tiny_esm

from resvae_ray.cli import main
from resvae_ray.model.network import ResVAE


@pytest.fixture
def place(tmp_path, monkeypatch, make_dataset):
    """A working folder with a dataset, features, a model, and files with something wrong in them."""
    make_dataset(40, 4)
    ResVAE(4, 8, 2).save_pretrained(tmp_path / "model")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.csv").write_text("id,f0,f1\na,1,2\nb,three,4\n")
    (tmp_path / "nan.csv").write_text("id,f0,f1\na,1,2\nb,inf,4\n")
    (tmp_path / "infinite.csv").write_text("id,f0,f1\na,inf,-inf\n")
    (tmp_path / "twice.csv").write_text("id,f0,f1\na,1,2\na,3,4\n")
    (tmp_path / "noid.csv").write_text("who,f0,f1\nx,1,2\n")
    (tmp_path / "few.csv").write_text("id,f0,f1\na,1,2\n")
    vectors = pa.array([[1.0, 2.0], [1.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["a", "b"], "features": vectors}), tmp_path / "widths.parquet")
    (tmp_path / "typo.toml").write_text("[training]\nbetta = 10\n")
    (tmp_path / "kind.toml").write_text('[training]\nbeta = "large"\n')
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    np.savez(tmp_path / "pickled.npz", emb=np.ones((2, 2)), ids=np.array(["a", "b"], dtype=object))
    write_tiny_esm(tmp_path / "esm", layers=1)
    write_tiny_esm(tmp_path / "esm1b", layers=1, position_embedding_type="absolute")
    (tmp_path / "p.fasta").write_text(">a\nMKT\n>b\nMKTS\n")
    (tmp_path / "two.fasta").write_text(">a x\nMKT\n\n>a y\nMKTS\n")
    (tmp_path / "gap.fasta").write_text(">a\nM-T\n>b\n")
    (tmp_path / "empty.fasta").touch()
    (tmp_path / "sites.csv").write_text("id,position\nz,1\n")
    (tmp_path / "far.csv").write_text("id,position\na,4\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


MISTAKES = [
    ("import absent.csv out.parquet", 3, "absent.csv: no such file"),
    ("import absent.parquet out.parquet", 3, "absent.parquet: no such file"),
    ("import empty.csv out.parquet", 3, "empty.csv: the file is empty"),
    ("import empty.parquet out.parquet", 3, "empty.parquet: not a readable Parquet file"),
    ("import text.csv out.parquet", 3, "text.csv: row 2, column f0: 'three' is not a number"),
    ("import nan.csv out.parquet", 3, "nan.csv: row 2 (id b), column f0: inf"),
    ("import infinite.csv out.parquet", 3, "infinite.csv: row 1 (id a), column f0: inf"),
    ("import twice.csv out.parquet", 3, "id 'a' appears in row 1 and in row 2"),
    ("import noid.csv out.parquet", 3, "no id column; name it with --id-column, or number the rows with --ids rows"),
    ("import few.csv out.parquet --id-column Entry", 2, "--id-column Entry: no such column"),
    ("import few.csv out.parquet --prefix ESM2_cls", 2, "--prefix ESM2_cls: no column ESM2_cls0"),
    ("import few.csv out.parquet --describe model", 2, "--describe model: expected KEY=VALUE"),
    ("import few.csv full", 2, "already there"),
    ("import typo.toml out.parquet", 2, "unknown format"),
    ("import widths.parquet out.parquet", 3, "row 2, column features: 1 numbers, but 2 in row 1"),
    ("import pickled.npz out.parquet", 3, "pickled"),
    ("split absent.parquet out", 3, "no such file"),
    ("split few.csv out", 3, "few.csv: not FEATURES, which are Parquet; run `resvae-ray import` first"),
    ("split dataset.parquet out --val-fraction 1", 2, "--val-fraction 1.0"),
    ("split dataset.parquet out --val-fraction many", 2, "invalid float value: 'many'"),
    ("split dataset.parquet out --drop", 2, "give --exclude"),
    ("split dataset.parquet out --exclude dataset.parquet", 3, "40 rows also appear in dataset.parquet"),
    ("split dataset.parquet out --exclude absent.csv", 3, "absent.csv"),
    ("split dataset.parquet full", 2, "already there"),
    ("split dataset.parquet out --group label --by-hash", 2, "not allowed with argument --group"),
    ("split dataset.parquet out --stratify --val-ids x", 2, "not allowed with argument --stratify"),
    ("split dataset.parquet out --stratify --group label", 2, "not allowed with argument --stratify"),
    ("split dataset.parquet out --group=", 2, "--group COLUMN: the column of groups is missing"),
    (
        "split dataset.parquet out --exclude pickled.npz",
        3,
        "pickled.npz: array 'ids': a pickled array, which is not loaded",
    ),
    ("split dataset.parquet out --by-hash --stratify", 2, "not allowed with argument --by-hash"),
    ("split dataset.parquet out --val-ids absent.txt", 3, "absent.txt: no such file or folder"),
    ("split dataset.parquet out --val-ids few.csv", 3, "1 of its ids are not in dataset.parquet: 'a'"),
    ("split dataset.parquet out --val-ids few.csv --seed 1", 2, "leave out --val-fraction and --seed"),
    ("split dataset.parquet out --group cluster", 2, "no column 'cluster'; the columns are 'id', 'label'"),
    ("split dataset.parquet out --exclude few.csv --exclude-similarity 2", 2, "expected a cosine above 0"),
    ("split dataset.parquet out --exclude-similarity 0.999", 2, "give --exclude"),
    ("split dataset.parquet out --exclude few.csv --exclude-similarity 0.9", 3, "vectors of 2 numbers"),
    ("check absent.parquet", 3, "no such file"),
    ("check few.csv", 3, "few.csv: not FEATURES, which are Parquet; run `resvae-ray import` first"),
    ("check dataset.parquet --beta 0", 2, "--beta 0"),
    ("tune absent out", 3, "absent: not a DATASET"),
    ("tune dataset run", 2, "already holds a run; resume it with --resume"),
    ("tune dataset full", 2, "already there"),
    ("tune dataset out --trials 0", 2, "search.trials is 0; it must be at least 1"),
    ("tune dataset out --trials some", 2, "invalid int or auto value: 'some'"),
    ("tune dataset out --epochs 0", 2, "training.epochs is 0"),
    ("tune dataset out --z-dim 0", 2, "training.z_dim is 0; it must be at least 1"),
    ("tune dataset out --schedule linear", 2, "expected constant, cosine, one_cycle, wsd"),
    ("tune dataset out --beta best", 2, "argument --beta: invalid float or auto value: 'best'"),
    ("tune dataset out --nested some", 2, "invalid float value: 'some'"),
    ("tune dataset out --z-dim 2 --hidden-dim 8 --lr 1e-3", 2, "there is nothing left to search"),
    ("tune dataset out --seeds 0", 2, "search.seeds is 0"),
    ("tune dataset out --config typo.toml", 2, "[training] has no key 'betta'; did you mean 'beta'?"),
    ("tune dataset out --config kind.toml", 2, "training.beta is 'large'; it must be above 0, or auto"),
    ("tune dataset out --config nowhere", 2, "neither a TOML file nor a scenario"),
    ("tune dataset out --resume", 3, "not a RUN"),
    ("tune dataset run --resume --config quick", 2, "remove --config"),
    ("tune dataset run --resume", 3, "run.json: not a run of this version"),
    ("status absent", 3, "not a RUN"),
    ("export absent out", 3, "not a RUN"),
    ("export absent.pt out", 3, "absent.pt: no such file"),
    ("export text.csv out", 3, "not a RUN"),
    ("encode absent dataset.parquet out", 3, "no MODEL"),
    ("encode model absent.parquet out", 3, "no such file"),
    ("encode model few.csv out", 3, "few.csv: not FEATURES, which are Parquet; run `resvae-ray import` first"),
    ("encode model dataset.parquet full", 2, "already there"),
    ("encode model dataset.parquet out --sample --seed -1", 2, "--seed -1: it must be 0 or above"),
    ("encode model dataset.parquet out --axes absent", 3, "absent: not a DATASET"),
    ("encode model dataset.parquet out --axes dataset.parquet", 3, "dataset.parquet: not a DATASET"),
    ("tune dataset out --gpus-per-trial 1.5", 2, "above 1 it must be a whole number"),
    ("tune dataset out --cpus-per-trial 0", 2, "resources.cpus_per_trial is 0.0; it must be above 0"),
    ("tune dataset out --config binary.toml", 2, "binary.toml: not valid TOML"),
    ("demo full", 2, "holds something that no demo made"),
    ("embed absent.fasta out --model esm", 3, "absent.fasta: no such file"),
    ("embed empty.fasta out --model esm", 3, "empty.fasta: the file is empty"),
    ("embed few.csv out --model esm", 3, "few.csv: no sequence column; name it with --sequence-column"),
    ("embed few.csv out --model esm --sequence-column s", 2, "--sequence-column s: no such column"),
    ("embed typo.toml out --model esm", 2, "typo.toml: unknown format"),
    ("embed two.fasta out --model esm", 3, "two.fasta: id 'a' appears in line 1 and in line 4"),
    ("embed gap.fasta out --model esm", 3, "line 1 (id a): '-' at position 2; a sequence has letters only"),
    ("embed p.fasta full --model esm", 2, "already there"),
    ("embed p.fasta s3://bucket --model esm", 2, "a bucket as a whole is not written to"),
    ("embed p.fasta out --model ./absent", 3, "--model ./absent: no such folder"),
    ("embed p.fasta out --model full", 3, "config.json: no such file"),
    ("embed p.fasta out", 1, "run `hf download facebook/esm2_t33_650M_UR50D --local-dir esm2_t33_650M_UR50D`"),
    ("embed p.fasta out --model esm --pooling max", 2, "--pooling max: expected one of cls, eos, mean"),
    ("embed p.fasta out --model esm --long cut", 2, "--long cut: expected one of error, truncate, split"),
    (
        "embed p.fasta out --model esm --max-length 3",
        3,
        "1 sequences are longer than --max-length 3, the longest is line 3",
    ),
    ("embed p.fasta out --model esm --max-length 0", 2, "--max-length 0: it must be at least 1"),
    ("embed p.fasta out --model esm1b --max-length 1023", 2, "esm1b reads up to 1022 residues"),
    ("embed p.fasta out --model esm --batch-tokens 0", 2, "--batch-tokens 0: it must be at least 1"),
    ("embed p.fasta out.parquet --model esm --pooling all", 2, "--pooling all writes a folder"),
    ("embed p.fasta out --model esm --pooling pho", 2, "--sites TABLE"),
    ("embed p.fasta out --model esm --sites sites.csv", 2, "--sites TABLE"),
    ("embed p.fasta out --model esm --pooling pho --sites sites.csv", 3, "row 1: id 'z' is none of the proteins"),
    ("embed p.fasta out --model esm --pooling pho --sites far.csv", 3, "position 4, but the sequence has 3 residues"),
    ("embed p.fasta out --model esm --pooling pho --sites absent.csv", 3, "absent.csv: no such file"),
    ("embed p.fasta out --model esm --workers 0", 2, "--workers 0: it must be at least 1"),
    ("embed p.fasta out --model esm --gpus -1", 2, "--gpus -1: it must be 0 or above"),
    ("doctor --storage nowhere://x", 2, "nowhere://x: not a path or URI that can be opened"),
    ("", 2, "the following arguments are required: VERB"),
    ("tuna dataset out", 2, "invalid choice: 'tuna'"),
    ("status", 2, "the following arguments are required: RUN"),
    ("split dataset.parquet out --sede 1", 2, "unrecognized arguments: --sede 1"),
]


@pytest.mark.parametrize(("command", "code", "message"), MISTAKES, ids=[command for command, _, _ in MISTAKES])
def test_a_mistake_is_one_line_with_its_exit_code_and_nothing_written(command, code, message, place, capsys):
    before = sorted(place.rglob("*"))
    try:
        found = main(command.split())
    except SystemExit as exit_:
        found = exit_.code
    out, err = capsys.readouterr()
    assert err.count("\n") == 1, err
    assert message in err
    assert err.startswith("resvae-ray")
    assert (found, out) == (code, "")
    assert sorted(place.rglob("*")) == before


def test_import_split_status_from_the_command_line(place, capsys):
    described = ["--describe", "model=esm2", "--describe", "layer=33"]
    assert main(["import", "dataset.parquet", "again.parquet", *described]) == 0
    assert main(["split", "again.parquet", "again", "--val-fraction", "0.25", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "again.parquet: 40 proteins x 4 features, with labels" in out
    assert "again: 30 to train on, 10 to validate" in out
    metadata = pq.read_schema(place / "again" / "train" / "part-00000.parquet").metadata[b"resvae_ray"]
    known = json.loads(metadata)
    assert (known["model"], known["layer"]) == ("esm2", "33")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ("--group label", {"rule": "group", "by": "label", "val_fraction": 0.2, "seed": 0}),
        ("--stratify --seed 1", {"rule": "stratified", "by": "label", "val_fraction": 0.2, "seed": 1}),
        ("--stratify-by label", {"rule": "stratified", "by": "label", "val_fraction": 0.2, "seed": 0}),
        ("--by-hash --val-fraction 0.5", {"rule": "hash", "val_fraction": 0.5, "seed": 0}),
        ("--val-ids ids.txt", {"rule": "given", "by": "ids.txt"}),
    ],
)
def test_split_rules_from_the_command_line(options, rule, place):
    (place / "ids.txt").write_text("SYN00000003\n")
    assert main(["split", *options.split(), "dataset.parquet", "ruled"]) == 0
    assert json.loads((place / "ruled" / "dataset.json").read_text())["split"] == rule


def test_what_split_leaves_out_and_warns_of(place, capsys):
    sequences = "".join(f"p{n},{n},{n % 7},M{n % 9}\n" for n in range(20))
    (place / "s.csv").write_text("id,f0,f1,Sequence\n" + sequences)
    (place / "t.csv").write_text("id,seq\np1,M\nq,M2\n")
    assert main(["import", "s.csv", "s.parquet"]) == 0
    capsys.readouterr()
    assert main(["split", "s.parquet", "out", "--exclude", "t.csv", "--drop"]) == 0
    out, err = capsys.readouterr()
    assert "3 left out (1 by id, 2 by sequence)" in out
    assert "rows repeat the sequence of an earlier one" in err
    assert "--group sequence" in err


def test_check_from_the_command_line(place, capsys):
    assert main(["check", "dataset.parquet"]) == 0
    out = capsys.readouterr().out
    assert "proteins              40" in out
    assert "warning: 4 features: the default search" in out
    assert main(["check", "dataset", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 40


def test_check_reports_every_unusable_entry_and_fails(place, capsys):
    table = pq.read_table(place / "dataset.parquet").to_pandas()
    table.loc[3, "id"] = table.loc[1, "id"]
    table["features"] = [vector * (float("nan") if row == 5 else 1) for row, vector in enumerate(table["features"])]
    table.to_parquet(place / "broken.parquet")
    assert main(["check", "broken.parquet", "--json"]) == 3
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["nonfinite"], record["duplicate_ids"]) == (1, 1)
    assert record["first_nonfinite"]["id"] == "SYN00000005"
    assert err.count("\n") == 1
    assert (
        "1 rows hold a value that is NaN, infinite or missing, the first is row 6 (id SYN00000005), column features[0]"
        in err
    )
    assert "1 rows repeat the id of an earlier one, the first is row 4 (id SYN00000001)" in err


def test_version_and_help(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    assert "high_fidelity" in capsys.readouterr().out


def test_published_weights_from_the_command_line(place, capsys):
    import torch

    torch.save(ResVAE(6, 8, 2).state_dict(), place / "model_parameters.pt")
    assert main(["export", "model_parameters.pt", "paper"]) == 0
    assert "paper: 6 features to 2 latents" in capsys.readouterr().out
    assert ResVAE.from_pretrained(place / "paper").z_dim == 2


def test_too_little_memory_is_one_line(place, capsys, monkeypatch):
    monkeypatch.setattr("resvae_ray.data.checking.check.survey", lambda *_: np.empty((1 << 20, 1 << 30)))
    assert main(["check", "dataset.parquet"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("resvae-ray: not enough memory: Unable to allocate")
    assert err.count("\n") == 1
