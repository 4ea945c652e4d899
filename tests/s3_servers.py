"""S3 servers in front of moto's data: without conditional writes, or with answers that get lost."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH")
ERROR = "<Error><Code>{code}</Code><Message>No such header here</Message></Error>"

App = Callable[[dict[str, Any], Callable], Iterable[bytes]]


@contextmanager
def served(around: Callable[[App], App]) -> Iterator[str]:
    """The address of a server on loopback; `around` makes its application from moto's."""
    server = make_server("127.0.0.1", 0, around(DomainDispatcherApplication(create_backend_app)), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)  # seconds until it sees the end
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def is_conditional(environ: dict[str, Any]) -> bool:
    return any(header in environ for header in CONDITIONS)


def ignoring(*headers: str) -> Callable[[App], App]:
    """Ignores these conditions, as many servers ignore unknown headers."""

    def around(app: App) -> App:
        return lambda environ, start: app({k: v for k, v in environ.items() if k not in headers}, start)

    return around


def refusing(status: str, code: str) -> Callable[[App], App]:
    """Refuses conditional requests."""

    def around(app: App) -> App:
        def answer(environ, start):
            if not is_conditional(environ):
                return app(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start(status, [("Content-Type", "application/xml")])
            return [ERROR.format(code=code).encode()]

        return answer

    return around


def one_at_a_time(app: App) -> App:
    """Compares and writes in one step, as S3 does; moto may do something else in between."""
    lock = threading.Lock()

    def answer(environ, start):
        with lock:
            return list(app(environ, start))

    return answer


def losing_answers(lost: list[str]) -> Callable[[App], App]:
    """Carries out the first conditional request and then fails; reports each failure to `lost`."""

    def around(app: App) -> App:
        def answer(environ, start):
            if lost or not is_conditional(environ):
                return app(environ, start)
            lost.append(environ["PATH_INFO"])
            list(app(environ, lambda *_: lambda _: None))
            start("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [ERROR.format(code="ServiceUnavailable").encode()]

        return answer

    return around


WRITES, READS = ("PUT", "POST"), ("GET", "HEAD")


def denying(
    *words: str, methods: tuple[str, ...] = WRITES, when: Callable[[], bool] = lambda: True
) -> Callable[[App], App]:
    """Denies what is written to (or what `methods` do with) a path with one of the words in it."""

    def around(app: App) -> App:
        def answer(environ, start):
            meant = environ["REQUEST_METHOD"] in methods and any(word in environ["PATH_INFO"] for word in words)
            if not meant or not when():
                return app(environ, start)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [ERROR.format(code="AccessDenied").encode()]

        return answer

    return around
