"""A bucket for the hosts: an S3 server on the laptop, which only they can reach."""

import re
import shlex
import subprocess
from pathlib import Path

from hosts import ADDRESSES, LAPTOP, Hosts, end

SERVER, PORT, NAME = f"http://{ADDRESSES[LAPTOP]}", 5000, "lab"
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": f"{SERVER}:{PORT}",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Python's own client suffices: the server asks who calls, and for no signature.
CALL = """
import sys, urllib.request
method, address, file = sys.argv[1:]
content = open(file, "rb").read() if method == "PUT" and file else b"" if method == "PUT" else None
caller = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"
headers = {"Content-Type": "application/octet-stream", "Authorization": caller}
with urllib.request.urlopen(urllib.request.Request(address, content, headers, method=method)) as answer:
    found = answer.read()
open(file, "wb").write(found) if method == "GET" and file else sys.stdout.write(found.decode())
"""


class Bucket:
    """The bucket and what is in it, as the laptop sees it."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._server = hosts.begin(LAPTOP, f"moto_server -H {ADDRESSES[LAPTOP]} -p {PORT}", **quiet)
        waiting = f"until (: <'/dev/tcp/{ADDRESSES[LAPTOP]}/{PORT}') 2>/dev/null; do sleep 0.2; done"
        hosts.run(LAPTOP, waiting, timeout=120)
        self._call("PUT", "")

    def __str__(self) -> str:
        return f"s3://{NAME}"

    def close(self) -> None:
        """Ends the server."""
        end(self._server)
        self._server.wait()

    def put(self, name: str, file: Path) -> None:
        """Uploads a file."""
        self._call("PUT", f"/{name}", file)

    def names(self, folder: str) -> list[str]:
        """All objects below a folder, by their names relative to it."""
        found, after = list[str](), ""
        while True:
            listed = self._call("GET", f"?list-type=2&prefix={folder}/&start-after={after}")
            keys = re.findall("<Key>(.*?)</Key>", listed)
            found += [key.removeprefix(f"{folder}/") for key in keys if not key.endswith("/")]
            if not keys or "<IsTruncated>true" not in listed:
                return found
            after = keys[-1]

    def fetch(self, folder: str, target: Path) -> Path:
        """Downloads all objects below a folder."""
        for name in self.names(folder):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            self._call("GET", f"/{folder}/{name}", target / name)
        return target

    def _call(self, method: str, path: str, file: Path | str = "") -> str:
        address = f"{SERVER}:{PORT}/{NAME}{path}"
        line = shlex.join(["python", "-c", CALL, method, address, str(file)])
        return self._hosts.run(LAPTOP, line, timeout=60).stdout
