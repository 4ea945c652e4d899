"""Valid and invalid s3:// paths; an invalid one gives one line on stderr."""

import pytest
from pyarrow import fs as pafs

from resvae_ray.cli import main
from resvae_ray.data.importers import import_features
from resvae_ray.data.splitting.split import split_features
from resvae_ray.errors import JobError, UsageError
from resvae_ray.files.place import BucketPlace, locate, place, place_to_write
from resvae_ray.model.network import ResVAE
from resvae_ray.search.export import export


@pytest.mark.parametrize("verb", [["check"], ["status"], ["import", "f.parquet"]])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{bucket}//feats", "a name is missing between two slashes"),
        ("{bucket}/a//run.parquet", "a name is missing between two slashes"),
        ("s3://my[bucket]/run", "names no bucket; expected s3://BUCKET/NAME"),
        ("s3://my[bucket/run", "names no bucket"),
        ("s3:///run", "names no bucket"),
        ("s3://b*/run", "names no bucket"),
        ("s3://key:word@bucket/run", "names no bucket"),
        ("{bucket}/run?region=us-east-1", "options in a URI are not read; set AWS_REGION, AWS_ENDPOINT_URL"),
        ("{bucket}/run?scheme=http&endpoint_override=127.0.0.1", "options in a URI are not read"),
    ],
)
def test_a_mistake_is_a_one_line_error(bucket, verb, path, reason, capsys):
    path = path.format(bucket=bucket)
    assert main([*verb, path]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"resvae-ray: {path}: {reason}")


@pytest.mark.parametrize("name", ["what?", "a?b/c=d", "100%", "a b#c", "x=1&y=2", "ü", "[1]"])
def test_signs_in_a_name_are_part_of_it(bucket, name):
    file = place(f"{bucket}/{name}/f")
    file.write_bytes(b"x")
    assert place(str(file)).read_bytes() == b"x"
    assert list(BucketPlace(bucket).files()) == [f"{name}/f"]


def test_a_bucket_that_is_made_later_is_found(bucket, s3_server):
    name = f"{bucket.removeprefix('s3://')}-later"
    with pytest.raises(JobError, match=f"s3://{name}/x: bucket '{name}' does not exist"):
        locate(f"s3://{name}/x")
    pafs.S3FileSystem(endpoint_override=s3_server, region="us-east-1", allow_bucket_creation=True).create_dir(name)
    assert locate(f"s3://{name}/x")[1] == f"{name}/x"


class TestTargets:
    """An output path needs a name within its bucket."""

    def test_a_place_to_write(self, bucket, tmp_path):
        assert place_to_write(f"{bucket}/x/") == BucketPlace(f"{bucket}/x")
        assert place_to_write(tmp_path) == tmp_path
        assert place_to_write("/") == place("/")
        for root in (bucket, f"{bucket}/", BucketPlace(bucket)):
            with pytest.raises(UsageError, match=f"^{bucket}: a bucket as a whole is not writ.* {bucket}/"):
                place_to_write(root)

    def test_nothing_is_beside_a_bucket(self, bucket):
        assert str(BucketPlace(f"{bucket}/x").with_name("y")) == f"{bucket}/y"
        with pytest.raises(UsageError, match="a bucket as a whole"):
            BucketPlace(bucket).with_name("y")

    def test_it_is_refused_before_anything_is_done(self, bucket, make_features, tmp_path, searched, capsys):
        features, run = make_features(), searched([("complete", [1.0])])
        ResVAE(12, 8, 3).save_pretrained(tmp_path / "model", {"a": 1})
        for write in (
            lambda: import_features(features, bucket),
            lambda: split_features(features, bucket),
            lambda: export(run, bucket),
            lambda: ResVAE(12, 8, 3).save_pretrained(bucket, {"a": 1}),
        ):
            with pytest.raises(UsageError, match="a bucket as a whole"):
                write()
        for arguments in (
            ["encode", str(tmp_path / "model"), str(features), bucket],
            ["report", str(run), "--out", bucket],
            ["tune", str(tmp_path / "dataset"), bucket],
        ):
            assert main(arguments) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"resvae-ray: {bucket}: a bucket as a whole is not written to")
        assert not BucketPlace(bucket).files()
