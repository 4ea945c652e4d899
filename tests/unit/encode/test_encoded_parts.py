"""Parts of a job that an earlier version began."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resvae_ray.encode.encode_features import encode_features
from resvae_ray.errors import JobError


def test_one_file_that_version_0_1_began_is_completed(model, make_features, tmp_path, encoded):
    """That version wrote columns in which values may be missing."""
    features = tmp_path / "features"
    features.mkdir()
    shutil.copy(make_features(40, 6), features / "a.parquet")
    shutil.copy(features / "a.parquet", features / "b.parquet")
    encode_features(model, features, tmp_path / "whole.parquet")
    whole, target, encoded.after = pq.read_table(tmp_path / "whole.parquet"), tmp_path / "z.parquet", {3: JobError("")}
    with pytest.raises(JobError):
        encode_features(model, features, target)
    part = tmp_path / ".z.parquet.parts" / "a.parquet"
    began = pq.read_table(part)
    vectors = pa.field("z", pa.list_(pa.float32(), 3))
    plain = [vectors if field.name == "z" else field.with_nullable(True) for field in began.schema]
    pq.write_table(began.cast(pa.schema(plain)), part)
    encoded.after = {}
    assert encode_features(model, features, target) == 80
    assert pq.read_table(target).to_pylist() == whole.to_pylist()
