#!/usr/bin/env bash
# pyarrow.fs.copy_files succeeds although S3 has refused the file, if the file is opened late and fits into one request.
#
# Versions: pyarrow==26.0.1
# Behaviour: with S3FileSystem(allow_delayed_open=True) a small file is sent when its stream is closed. copy_files leaves that to the destructor, which prints the error and drops it. A stream that is closed by its user raises the error.
# Consequence here: a bucket that denies a write would have looked like an upload that succeeded, so files are sent through a stream.
# Exits with 1 if the behaviour changes. Run: findings/pyarrow_copy_files_loses_error.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
cd "$work"
AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true "$work/venv/bin/python" - <<'PY'
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from pyarrow import fs

DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


class Server(BaseHTTPRequestHandler):
    """Denies every write."""

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(DENIED)))
        self.end_headers()
        self.wfile.write(DENIED)

    do_POST = do_PUT

    def log_message(self, *_):
        pass


def outcome(write):
    try:
        write()
        return "success"
    except OSError:
        return "error"


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
bucket = fs.S3FileSystem(
    endpoint_override=f"http://127.0.0.1:{server.server_port}", region="us-east-1", allow_delayed_open=True
)
Path("file").write_bytes(b"0123456789")


def copied():
    fs.copy_files("file", "bucket/file", source_filesystem=fs.LocalFileSystem(), destination_filesystem=bucket)


def streamed():
    with bucket.open_output_stream("bucket/file") as stream:
        stream.write(b"0123456789")


found = outcome(copied), outcome(streamed)
print(f"a write that the server denies: copy_files reports {found[0]}, a closed stream {found[1]}", flush=True)
server.shutdown()
fs.finalize_s3()
raise SystemExit(found != ("success", "error"))
PY
