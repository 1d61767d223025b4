"""A server that answers as the Hugging Face Hub does, for its real client: metadata of files, redirects to where large ones
lie (`http_server.Site`, which can break off), and the codes of its errors."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from http_server import Site, serving


@dataclass
class Hub:
    """`files` by (repository, name); `sites` serve those that are large; `asked` lists what the hub itself was asked."""

    url: str = ""
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    sites: dict[tuple[str, str], Site] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub(files: dict[tuple[str, str], bytes], **misbehaving) -> Iterator[Hub]:
    """Serve these files; safetensors lie elsewhere, on a server that misbehaves as `Site` says."""
    shown = Hub(files=dict(files))
    with ExitStack() as stack:
        for key, data in files.items():
            if key[1].endswith(".safetensors"):
                shown.sites[key] = stack.enter_context(serving(data=data, **misbehaving))
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(shown))
        shown.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield shown
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(shown: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            shown.asked.append(f"{self.command} {self.path}")
            owner, repository, *rest = self.path.strip("/").split("/")
            name = rest[2:]  # after resolve/main
            key = (f"{owner}/{repository}", "/".join(name))
            if key[0] in shown.gated:
                return self.refuse(403, "GatedRepo")
            if key[0] not in {known for known, _ in shown.files}:
                return self.refuse(401, "RepoNotFound")
            if key not in shown.files:
                return self.refuse(404, "EntryNotFound")
            data = shown.files[key]
            large = key in shown.sites
            self.send_response(302 if large else 200)
            self.send_header("X-Repo-Commit", "0" * 40)
            if large:
                self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(data)))
                self.send_header("Location", shown.sites[key].url)
            else:
                self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("Content-Length", "0" if large else str(len(data)))
            self.end_headers()
            if body and not large:
                self.wfile.write(data)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Handler
