"""A stand-in for the Hugging Face hub on loopback: repositories in memory, with the requests that its client makes."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

TOKEN = "hf_of_the_test"


class Hub(ThreadingHTTPServer):
    """`repositories` maps a name to its commits, oldest first; a commit maps a file's path to its content."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.stored: dict[str, bytes] = {}  # large files, by their SHA-256
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit_of(self, name: str, revision: str) -> str | None:
        commits = [f"{number:040x}" for number in range(1, len(self.repositories[name]) + 1)]
        return commits[-1] if revision == "main" else revision if revision in commits else None


class Request(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stays off the terminal."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/?]+).*", self.path):
            self.about(*found.groups())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/?]+).*", self.path):
            content = self.server.repositories[found[1]][int(found[2], 16) - 1]
            self.answer_json(
                [{"type": "file", "path": path, "size": len(content[path]), "oid": path} for path in content]
            )
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^/?]+)", self.path):
            self.file(*found.groups())
        else:
            self.answer(404, b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            self.answer_json({"errors": [], "warnings": []})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, b'{"error": "Invalid username or password."}')
        elif self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main.*", self.path):
            getattr(self, found[2])(found[1], body)
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self.where_to_store(json.loads(body))
        else:
            self.answer(404, b"")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == digest
        self.server.stored[digest] = content
        self.answer(200, b"")

    def create(self, wanted: dict[str, object]) -> None:
        name = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
        if name in self.server.repositories:
            self.answer_json({"url": f"{self.server.url}/{name}", "error": "You already created this model repo"}, 409)
            return
        self.server.repositories[name] = []
        if wanted.get("visibility") == "private" or wanted.get("private"):
            self.server.private.add(name)
        self.answer_json({"url": f"{self.server.url}/{name}", "id": name})

    def preupload(self, name: str, body: bytes) -> None:
        files = [
            {
                "path": it["path"],
                "uploadMode": "lfs" if it["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for it in json.loads(body)["files"]
        ]
        self.answer_json({"files": files})

    def where_to_store(self, wanted: dict[str, list[dict[str, object]]]) -> None:
        objects = [
            it | {"actions": {"upload": {"href": f"{self.server.url}/large/{it['oid']}"}}} for it in wanted["objects"]
        ]
        self.answer_json({"transfer": "basic", "objects": objects})

    def commit(self, name: str, body: bytes) -> None:
        commits = self.server.repositories[name]
        content = dict(commits[-1]) if commits else {}
        for line in map(json.loads, body.splitlines()):
            it = line["value"]
            if line["key"] == "file":
                content[it["path"]] = base64.b64decode(it["content"])
            elif line["key"] == "lfsFile":
                content[it["path"]] = self.server.stored[it["oid"]]
        commits.append(content)
        commit = self.server.commit_of(name, "main")
        self.answer_json({"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})

    def about(self, name: str, revision: str) -> None:
        if name not in self.server.repositories or (
            name in self.server.private and self.headers["Authorization"] != f"Bearer {TOKEN}"
        ):
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif (commit := self.server.commit_of(name, revision)) is None:
            self.answer(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        else:
            siblings = [{"rfilename": path} for path in self.server.repositories[name][int(commit, 16) - 1]]
            self.answer_json({"id": name, "sha": commit, "siblings": siblings})

    def file(self, name: str, commit: str, path: str) -> None:
        content = self.server.repositories[name][int(commit, 16) - 1][path]
        digest = hashlib.sha256(content).hexdigest()
        self.answer(200, content, {"X-Repo-Commit": commit, "ETag": f'"{digest}"'})

    def answer_json(self, content: object, status: int = 200) -> None:
        self.answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub_on_loopback() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))  # seconds until it sees that it must end
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
