"""Globs stand for the same files in a bucket as on a disk."""

import pytest

from resvae_ray.cli import main
from resvae_ray.errors import DataError
from resvae_ray.files.listing import list_files
from resvae_ray.files.place import place

FILES = (
    "feats/a.parquet",
    "feats/ab.parquet",
    "feats/old/x.parquet",
    "feats/old/deep/x.parquet",
    "feats/.hidden.parquet",
    "feats/_of_spark.parquet",
    "feats/[1].parquet",
    "other/x.parquet",
    ".out.parquet.parts/p.parquet",
    "top.parquet",
)
PATTERNS = {
    "feats/*.parquet": ("feats/[1]", "feats/_of_spark", "feats/a", "feats/ab"),
    "feats/?.parquet": ("feats/a",),
    "feats/[ab].parquet": ("feats/a",),
    "feats/[[]1].parquet": ("feats/[1]",),
    "*/x.parquet": ("other/x",),
    "*/*/x.parquet": ("feats/old/x",),
    "feats/**/x.parquet": ("feats/old/x",),
    "**/x.parquet": ("other/x",),
    "*.parquet": ("top",),
    "feats/.*.parquet": ("feats/.hidden",),
    "feats/o?d/*.parquet": ("feats/old/x",),
    ".*/*.parquet": (".out.parquet.parts/p",),
}


@pytest.fixture(params=["disk", "bucket"])
def root(request, tmp_path):
    return str(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


@pytest.fixture
def files(root):
    for name in FILES:
        write(root, name)
    return root


def write(root, name):
    file = place(f"{root}/{name}")
    if root.startswith("/"):
        file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")


def listed(root, pattern):
    top = f"{root.removeprefix('s3://')}/"
    return tuple(file.removeprefix(top).removesuffix(".parquet") for file in list_files(f"{root}/{pattern}", "")[1])


def test_glob_characters(files):
    assert {pattern: listed(files, pattern) for pattern in PATTERNS} == PATTERNS


@pytest.mark.parametrize("pattern", ["nowhere/*.parquet", "feats/z*.parquet", "x?/*/y.parquet"])
def test_a_glob_without_a_match_is_a_one_line_error(files, pattern, capsys):
    assert main(["check", f"{files}/{pattern}"]) == 3
    assert capsys.readouterr().err == f"resvae-ray: {files}/{pattern}: no .parquet file there\n"


def test_a_glob_skips_incomplete_folders(bucket):
    for name in ("whole/a.parquet", "half/_uploading", "half/a.parquet", "half/part/b.parquet"):
        write(bucket, name)
    for pattern in ("half/*.parquet", "h*/*.parquet", "*/a.parquet", "half/*/b.parquet"):
        with pytest.raises(DataError, match="/half: is being written, or was when that was interrupted"):
            list_files(f"{bucket}/{pattern}", ".parquet")
    assert listed(bucket, "w*/*.parquet") == ("whole/a",)
