"""s3://: valid names, and the connections to the server: pyarrow's for all data, boto3's for the lock of a RUN.

Both have the same server, region, credentials and time limits.
"""

import os
import re
from functools import lru_cache
from typing import Any

from pyarrow import fs as pafs

from resvae_ray.errors import JobError, UsageError
from resvae_ray.extras import require

CONNECT_S = 5.0
REQUEST_S = 30.0
ATTEMPTS = 4
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # the first that is set counts, as for Amazon's own tools
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
ANY_REGION = "us-east-1"  # what signs requests to an endpoint that has no regions
S3 = "s3://"
BUCKET = re.compile(r"[A-Za-z0-9._-]+")
OPTION = re.compile(r"\?\w+=")  # any other '?' is part of a name or a sign of a glob


def in_bucket(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of s3://BUCKET/NAME and the path on it.

    It is that of `endpoint`, with the credentials and region of the environment, of Amazon's configuration files or of
    the machine.

    Raises:
        UsageError: nothing in a bucket can have that name.
        JobError: the bucket does not exist.
        OSError: it cannot be reached.
    """
    place = uri.removeprefix(S3).rstrip("/")
    bucket = place.partition("/")[0]
    if not BUCKET.fullmatch(bucket):
        raise UsageError(f"{uri}: names no bucket; expected s3://BUCKET/NAME")
    if "//" in place:
        raise UsageError(f"{uri}: a name is missing between two slashes")
    if OPTION.search(place):
        raise UsageError(f"{uri}: options in a URI are not read; set AWS_REGION, AWS_ENDPOINT_URL and so on instead")
    try:
        return _bucket(bucket, endpoint(), _first_set(REGIONS)), place
    except FileNotFoundError:
        raise JobError(f"{uri}: bucket {bucket!r} does not exist, or these credentials cannot access it") from None


def endpoint() -> str | None:
    """The server that s3:// goes to; None for Amazon's."""
    return _first_set(ENDPOINTS)


@lru_cache(maxsize=64)
def _bucket(bucket: str, endpoint: str | None, region: str | None) -> pafs.FileSystem:
    """The file system in which `bucket` is.

    Raises:
        FileNotFoundError: the bucket does not exist. The failure is not cached: the bucket may be created later.
    """
    filesystem = pafs.S3FileSystem(
        endpoint_override=endpoint,
        # Only Amazon itself can be asked where a bucket is.
        region=region or (ANY_REGION if endpoint else pafs.resolve_s3_region(bucket)),
        allow_delayed_open=True,  # one request for a small file, not three
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
    if filesystem.get_file_info(bucket).type != pafs.FileType.Directory:
        raise FileNotFoundError(bucket)
    return filesystem


def boto3_client(region: str) -> Any:
    """A boto3 client, for the requests that pyarrow lacks.

    Like pyarrow's, it finds credentials in the environment, in the profile of Amazon's configuration files or in the
    role of the machine, and sends unsigned requests if there are none.

    Args:
        region: that of pyarrow's file system for the bucket.

    Raises:
        UsageError: boto3 is not installed.
    """
    require("s3", "boto3")
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    session, server = boto3.Session(), endpoint()
    if server and "://" not in server:
        server = f"https://{server}"
    config = Config(
        signature_version=None if session.get_credentials() else UNSIGNED,
        # Only `endpoint` decides: pyarrow does not read servers from configuration files.
        ignore_configured_endpoint_urls=True,
        s3={"addressing_style": "path" if server else "auto"},
        # Servers other than Amazon's may refuse the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=CONNECT_S,
        read_timeout=REQUEST_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    return session.client("s3", region_name=region, endpoint_url=server, config=config)


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((value for value in map(os.environ.get, variables) if value), None)
