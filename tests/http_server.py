"""A small server of one file that can misbehave: break off, know no ranges, send something else, be slow."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has and does; `asked` records the Range of every request, and `sent` counts the bytes
    of answers, each before it leaves: whoever has received the last one finds all counted."""

    data: bytes = b""
    ranges: bool = True
    breaks_after: int | None = None  # bytes of one response
    status: int | None = None
    modified: float = 0.0  # seconds since 1970
    lengths: bool = True
    shift: int = 0  # a part begins so many bytes too late
    pause: float = 0.0  # between pieces
    fast: int = 0  # bytes that are sent without a pause
    url: str = ""
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0


@contextmanager
def serving(**given) -> Iterator[Site]:
    site = Site(**given)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.url = f"http://127.0.0.1:{server.server_port}/some/file.pth"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked, total = self.headers.get("Range"), len(site.data)
            site.asked.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) + site.shift if asked and site.ranges else 0
            since = self.headers.get("If-Unmodified-Since")
            if site.status:
                return self.send_error(site.status)
            if since and site.ranges and parsedate_to_datetime(since).timestamp() < site.modified:
                return self.send_error(412)
            if start >= total > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if site.lengths:
                self.send_header("Content-Length", str(total - start))
            self.end_headers()
            self.send_body(site.data[start:][: site.breaks_after])

        def send_body(self, body: bytes) -> None:
            for at in range(0, len(body), 2**16):
                piece = body[at : at + 2**16]
                site.sent += len(piece)
                try:
                    self.wfile.write(piece)
                except OSError:  # the client went away
                    return
                time.sleep(site.pause if at >= site.fast else 0)

        def log_message(self, *_):
            pass

    return Handler
