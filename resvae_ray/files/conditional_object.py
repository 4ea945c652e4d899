"""S3's conditional writes: an object is written only if no other process has written it meanwhile.

pyarrow has no conditional writes, so this is boto3. Servers other than Amazon's may lack them too; some ignore the
condition silently, which `require_conditions` detects.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from resvae_ray.errors import JobError, UsageError, first_line
from resvae_ray.files.place import BucketPlace
from resvae_ray.files.s3 import S3, boto3_client, endpoint

NO_ETAG = f'"{"0" * 32}"'  # of no object
CONFLICTS = (409, 412)  # the condition does not hold, or another write is under way
UNSUPPORTED = ("NotImplemented", "InvalidArgument", "InvalidRequest", "BadRequest")  # said of a condition


@dataclass(frozen=True)
class Version:
    """An object as it was read.

    Attributes:
        etag: changes with the content.
        age_s: seconds since it was written, by the server's clock alone.
    """

    content: bytes
    etag: str
    age_s: float


class ConditionalObject:
    """The object at `place`.

    Raises:
        UsageError: `place` is not s3://, or boto3 is not installed.
        JobError: the bucket cannot be reached. Every method raises it too.
    """

    def __init__(self, place: BucketPlace) -> None:
        if not place.uri.startswith(S3):
            raise UsageError(f"{place}: only {S3} has the conditional writes that this needs; choose such a place")
        filesystem, path = place.located()
        bucket, _, key = path.partition("/")
        self.place = place
        self._client = boto3_client(filesystem.region)
        self._object = {"Bucket": bucket, "Key": key}

    def read(self) -> Version | None:
        """The object; None if there is none."""
        with self._reaching():
            answer = self._request(self._client.get_object, missing=("NoSuchKey", "404"))
            return answer and Version(answer["Body"].read(), answer["ETag"], _age(answer))

    def create(self, content: bytes) -> str | None:
        """Writes the object if there is none; its ETag, or None if there is one already.

        Raises:
            UsageError: the server has no conditional writes.
        """
        return self._put(content, IfNoneMatch="*")

    def replace(self, content: bytes, etag: str) -> str | None:
        """Writes the object if it still has this ETag; its new one, or None if it was written or removed meanwhile.

        Raises:
            UsageError: the server has no conditional writes.
        """
        return self._put(content, IfMatch=etag)

    def remove(self, etag: str) -> None:
        """Removes the object if it still has this ETag. A server that has no conditional deletes removes it anyway."""
        with self._reaching():
            try:
                self._request(self._client.delete_object, missing=("NoSuchKey", "404"), IfMatch=etag)
            except UsageError:
                self._request(self._client.delete_object)

    def require_conditions(self, content: bytes) -> None:
        """Tries writes of `content` that have to fail, on an object that exists.

        Raises:
            UsageError: one did not fail; the server ignores conditions.
        """
        for header, etag in (("If-None-Match", self.create(content)), ("If-Match", self.replace(content, NO_ETAG))):
            if etag is not None:
                raise self._unconditional(f"{header} was ignored")

    def _put(self, content: bytes, **condition: str) -> str | None:
        with self._reaching():
            answer = self._request(self._client.put_object, missing=("NoSuchKey",), Body=content, **condition)
            return answer and answer["ETag"]

    def _request(self, send: Any, missing: tuple[str, ...] = (), **options: Any) -> Any:
        """The answer; None if the condition does not hold or the error code is one of `missing`."""
        from botocore.exceptions import ClientError

        try:
            return send(**self._object, **options)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            conditional = "IfMatch" in options or "IfNoneMatch" in options
            if code in missing or (conditional and status in CONFLICTS):
                return None
            if conditional and (status == 501 or (status == 400 and code in UNSUPPORTED)):
                raise self._unconditional(f"{status} {code}") from None
            raise

    def _unconditional(self, found: str) -> UsageError:
        return UsageError(
            f"{self.place}: {endpoint() or 'the server'} has no conditional writes ({found}), without which two "
            "searches could write to one RUN; choose a server that has them, or a disk"
        )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise JobError(f"{self.place}: cannot be reached: {first_line(error)}") from None


def _age(answer: dict[str, Any]) -> float:
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return max(0.0, (now - answer["LastModified"]).total_seconds())
