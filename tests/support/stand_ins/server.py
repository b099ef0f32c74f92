"""A server on loopback that many threads may call at once, and that one can end."""

import threading
from http.server import ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Serves on a free port while its context lasts."""

    daemon_threads = True
    request_queue_size = 128  # 5 by default: the sixth at once would wait a second.

    def __init__(self, handler: Any) -> None:
        """Takes what makes a handler of a connection."""
        super().__init__(("127.0.0.1", 0), handler)

    def __enter__(self) -> "Server":
        """Starts."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ends."""
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"
