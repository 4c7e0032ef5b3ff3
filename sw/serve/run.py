"""The socket that is listened on, and the server on it."""

import logging
import socket

import uvicorn

from kestrel.hw.spec.errors import InputError
from kestrel.sw.serve.guard import Application

PORT_MAX = 65535

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names of this machine to itself."""

ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, to know that names cannot be told

LEAVE_SECONDS = 2
"""That answers under way have at Ctrl-C."""


def allowed_hosts(host: str) -> tuple[str, ...] | None:
    """The names by which a server bound to ``host`` may be asked for; None where they cannot be known."""
    if host in LOCAL:
        return LOCAL
    return None if host in ANYWHERE else (host, *LOCAL)


def listen(host: str, port: int) -> socket.socket:
    """A socket that is listened on; port 0 takes any that is free. Raises InputError."""
    if not 0 <= port <= PORT_MAX:
        raise InputError(f"--port {port}; allowed: 0..{PORT_MAX}")
    listener = None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError as error:
        if listener is not None:
            listener.close()
        raise InputError(f"{host}:{port}: {error.strerror or error}; allowed: --host and --port that are "
                         "free on this machine") from error
    return listener


class Server:
    """Listens on ``host`` and ``port`` from the beginning, and answers once it runs. Raises InputError.

    Members: ``url``, for a browser.
    """

    def __init__(self, app: Application, host: str, port: int) -> None:
        self._app = app
        self._listener = listen(host, port)
        name, number = self._listener.getsockname()[:2]
        self.url = f"http://[{name}]:{number}/" if ":" in name else f"http://{name}:{number}/"

    def run(self) -> None:
        """Answers until SIGTERM or Ctrl-C, which it passes on as KeyboardInterrupt once its connections are
        closed."""
        config = uvicorn.Config(self._app, log_level="warning", access_log=False, server_header=False,
                                lifespan="off", timeout_graceful_shutdown=LEAVE_SECONDS, ws="none",
                                proxy_headers=False)
        server = uvicorn.Server(config)
        # What is cut off at Ctrl-C is no fault to be told of.
        logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
        try:
            server.run(sockets=[self._listener])
        finally:
            self._listener.close()
