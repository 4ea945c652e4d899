"""Quotes that open and do not close must not merge the rows between them."""

import numpy as np
import pytest

from resvae_ray.data import lone_quotes
from resvae_ray.data.importers import import_features
from resvae_ray.data.text_table import TextTable
from resvae_ray.errors import DataError

N = 9
MATRIX = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)


def write(path, descriptions, delimiter="\t"):
    lines = [delimiter.join(["id", "description", "f0", "f1", "f2"])]
    for n, (text, row) in enumerate(zip(descriptions, MATRIX, strict=True)):
        lines.append(delimiter.join([f"p{n}", text, *map(str, row)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def described(**others):
    return [others.get(f"p{n}", f"text {n}") for n in range(N)]


@pytest.mark.parametrize(("ending", "delimiter"), [("tsv", "\t"), ("csv", ","), ("csv", ";")])
@pytest.mark.parametrize(
    "texts",
    [
        {"p2": '"alpha', "p6": '"beta'},
        {"p2": '"alpha', "p6": 'beta 5"'},
        {"p2": '"alpha', "p6": '"beta"'},
        {"p2": '"alpha', "p3": '"beta'},
    ],
)
def test_rows_between_two_lone_quotes_are_not_lost(ending, delimiter, texts, tmp_path):
    source = write(tmp_path / f"a.{ending}", described(**texts), delimiter)
    with pytest.raises(DataError, match=r'line 4 \(p2\): a quote \("\) begins a field and does not end it'):
        import_features(source, tmp_path / "out.parquet")


@pytest.mark.parametrize(
    "texts",
    [
        {"p2": '"alpha"', "p6": '"beta"'},
        {"p2": '5" long', "p6": '3" long'},
        {"p2": '"a, b\nc, d"'},
        {"p2": '"two\nlines"', "p3": '"a ""quoted"" word"'},
        {"p2": '"three\n\nlines, and, commas"'},
    ],
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_quotes_that_close_are_read(texts, delimiter, tmp_path):
    source = write(tmp_path / ("a.csv" if delimiter == "," else "a.tsv"), described(**texts), delimiter)
    assert import_features(source, tmp_path / "out.parquet").rows == N


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_may_end_anywhere(block, tmp_path):
    source = write(tmp_path / "a.tsv", described(p2='"alpha', p6='"beta'))
    with source.open("rb") as raw:
        watch = lone_quotes.QuoteWatch(raw, "a.tsv", "\t", 5)
        with pytest.raises(DataError, match="line 4"):
            while watch.read(block):
                pass
    source = write(tmp_path / "b.tsv", described(p2='"alpha"', p3='"a\nb"'))
    with source.open("rb") as raw:
        watch, read = lone_quotes.QuoteWatch(raw, "b.tsv", "\t", 5), b""
        while piece := watch.read(block):
            read += piece
    assert read == source.read_bytes()


def test_a_file_of_one_endless_line_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(lone_quotes, "LINE_MOST", 100)
    (tmp_path / "a.tsv").write_bytes(b"a\tb\r" * 1000)
    with (tmp_path / "a.tsv").open("rb") as raw:
        watch = lone_quotes.QuoteWatch(raw, "a.tsv", "\t", 2)
        assert sum(len(piece) for piece in iter(lambda: watch.read(64), b"")) == 4000
    assert watch._rest == b""


def test_ids_alone_are_watched_too(tmp_path):
    source = write(tmp_path / "a.tsv", described(p2='"alpha', p6='"beta'))
    with pytest.raises(DataError, match="line 4"):
        list(TextTable.of(str(source)).texts("id"))


def test_lines_without_quotes_are_as_they_were(tmp_path):
    source = write(tmp_path / "a.tsv", described())
    with source.open("rb") as raw:
        assert lone_quotes.QuoteWatch(raw, "a.tsv", "\t", 5).read() == source.read_bytes()
