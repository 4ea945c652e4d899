"""pyarrow, which moves the data, and boto3, which locks, are one client to a server: same key, region and endpoint."""

import os
import re

import pytest
from s3_servers import served

from resvae_ray.files.conditional_object import ConditionalObject
from resvae_ray.files.place import place

SIGNED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/s3/")


@pytest.fixture
def requests(bucket, monkeypatch):
    """The authorisation and the client of each request, by a server that no connection is known to yet."""
    seen = []

    def around(app):
        def answer(environ, start):
            client = "boto3" if "Boto3" in environ.get("HTTP_USER_AGENT", "") else "pyarrow"
            seen.append((client, environ["REQUEST_METHOD"], environ.get("HTTP_AUTHORIZATION")))
            return app(environ, start)

        return answer

    with served(around) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server)
        yield seen


def signatures(requests, bucket):
    """Access key and region that each client signs with, None for requests that are not signed."""
    where = place(f"{bucket}/run")
    (where / "data").write_bytes(b"x")
    lock = ConditionalObject(where / "run.lock")
    assert lock.create(b"x")
    assert {client for client, _, _ in requests} == {"pyarrow", "boto3"}
    return {
        client: {signed and SIGNED.search(signed).groups() for name, _, signed in requests if name == client}
        for client in ("pyarrow", "boto3")
    }


def both(signature):
    return {"pyarrow": {signature}, "boto3": {signature}}


def test_the_key_of_the_environment(requests, bucket, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert signatures(requests, bucket) == both(("test", "eu-central-1"))


def test_a_region_that_only_the_second_variable_names(requests, bucket, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert signatures(requests, bucket) == both(("test", "us-west-2"))


def test_a_profile(requests, bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    text = "[default]\naws_access_key_id = wrong\naws_secret_access_key = w\n"
    text += "[lab]\naws_access_key_id = labkey\naws_secret_access_key = s\nregion = eu-west-3\n"
    (tmp_path / "credentials").write_text(text)
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = http://127.0.0.1:9\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert signatures(requests, bucket) == both(("labkey", "us-east-1"))


def test_no_credentials_at_all(requests, bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert signatures(requests, bucket) == both(None)


def test_an_endpoint_of_its_own_for_s3(requests, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert signatures(requests, bucket) == both(("test", "us-east-1"))
