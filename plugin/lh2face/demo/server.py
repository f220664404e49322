"""The page's server: on this machine alone, it keeps nothing of what it is shown."""

import base64
import binascii
import socket
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.data.images import ImageError
from lh2face.demo.faces import Faces, example, open_faces

if TYPE_CHECKING:
    from flask import Flask

HOST = "127.0.0.1"
# Of a request: a photo, or two aligned faces.
MOST_BYTES = 64 << 20
# Nothing from elsewhere is loaded or run, and no other page may hold this one.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def run(
    model: Path, *, reconstructor: Path | None = None, detector: str | None = None,
    far: float | None = None, port: int = 0, browser: bool = True,
) -> None:  # fmt: skip
    """Serve the page until it is interrupted.

    Args:
        model: As for :func:`~lh2face.demo.faces.open_faces`, like the next three.
        reconstructor: Likewise.
        detector: Likewise.
        far: Likewise.
        port: Of the loopback interface; 0 for one that is free.
        browser: Whether to open the page in one.

    Raises:
        ValueError: If flask is not installed, the port is taken, or as ``open_faces``.
    """
    try:
        import flask  # noqa: F401
        from werkzeug.serving import WSGIRequestHandler, make_server
    except ModuleNotFoundError as error:
        raise ValueError(f'lh2face demo: it needs pip install "lh2face[demo]" ({error})') from None

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Nothing of what is looked at is written down."""

    try:
        listening = socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"--port: found {port}: {reason}") from None
    with listening:
        faces = open_faces(model, reconstructor=reconstructor, detector=detector, far=far)
        server = make_server(
            HOST, port, make_app(faces), threaded=True, request_handler=Quiet,
            fd=listening.fileno(),
        )  # fmt: skip
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        print(f"{address}   on this machine alone; Ctrl+C ends it", flush=True)
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def make_app(faces: Faces) -> "Flask":
    """The WSGI application.

    Photos come as the body of a request, which stays in memory; of a form, Werkzeug would put a
    large file on the disk. What cannot be used is answered by ``{"error": SENTENCE}``.
    """
    from flask import Flask, render_template, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__, static_folder="page", static_url_path="")
    # Another name in Host is a page of a stranger, whose name leads here (DNS rebinding).
    app.config.update(TRUSTED_HOSTS=[HOST, "localhost"], MAX_CONTENT_LENGTH=MOST_BYTES)
    # One at a time: two would fight for the cores, and a detector is opened a thread.
    worker = ThreadPoolExecutor(1)

    def answer(work: Callable[..., dict[str, Any]], *arguments: Any) -> Any:
        try:
            return worker.submit(work, *arguments).result()
        except ImageError as error:
            where = "" if error.args[0] == "photo" else f"{error.args[0]}: "
            return {"error": f"{where}{error.reason}"}, 422

    @app.before_request
    def refuse_strangers() -> Any:
        # A browser says with each post which page it comes from.
        origin = request.headers.get("Origin")
        if origin is not None and origin != request.host_url.rstrip("/"):
            return {"error": f"found the origin {origin!r:.80}, allowed is this page"}, 403
        return None

    @app.after_request
    def protect(response: Any) -> Any:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def in_words(error: HTTPException) -> Any:
        most = f"a photo has at most {MOST_BYTES >> 20} MiB"
        return {"error": most if error.code == 413 else error.name}, error.code

    @app.get("/")
    def page() -> Any:
        return render_template("index.html")

    @app.get("/about")
    def about() -> Any:
        return {**faces.about(), "most_bytes": MOST_BYTES}

    @app.post("/face")
    def face() -> Any:
        if request.mimetype != "application/octet-stream":
            return {"error": "expected a file as application/octet-stream"}, 415
        return answer(faces.face, request.get_data(), request.args.get("aligned") == "1")

    @app.post("/score")
    def score() -> Any:
        try:
            given = request.get_json()
            crops = [_content(given[key]) for key in ("first", "second")]
        except (KeyError, TypeError, ValueError, AttributeError):
            return {"error": "expected the aligned faces first and second as data URIs"}, 400
        return answer(faces.score, *crops)

    @app.post("/example")
    def drawn() -> Any:
        same = request.args.get("same") == "1"
        return answer(lambda: {"faces": example(same)})

    return app


def _content(uri: str) -> bytes:
    """What is in a data URI."""
    try:
        return base64.b64decode(uri.split(",", 1)[1], validate=True)
    except (IndexError, binascii.Error):
        raise ValueError from None
