"""The server of the page: only this machine can reach it, and it stores no photo."""

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
# Limit for the body of a request: a photo, or two aligned faces.
MOST_BYTES = 64 << 20
# The page loads and runs nothing from elsewhere, and no other page may embed it.
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
        model: A recognition ONNX file, or the folder of a trained model.
        reconstructor: Folder of stage ``fit3d``, or of a jointly trained model; ``None`` for no
            turned faces.
        detector: Name or file of a detector; MTCNN by default, if it is installed.
        far: FAR that selects one of the model's thresholds; the lowest by default.
        port: Port of the loopback interface; 0 for any free port.
        browser: Whether to open the page in a browser.

    Raises:
        ValueError: If flask is not installed, the port cannot be used, or
            :func:`~lh2face.demo.faces.open_faces` raises it.
    """
    try:
        import flask  # noqa: F401
        from werkzeug.serving import WSGIRequestHandler, make_server
    except ModuleNotFoundError as error:
        raise ValueError(f'lh2face demo: it needs pip install "lh2face[demo]" ({error})') from None

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Do not log which pages are visited."""

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
        print(f"{address}   only for this machine; press Ctrl+C to stop", flush=True)
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def make_app(faces: Faces) -> "Flask":
    """Make the WSGI application.

    A photo is the body of a request, so it stays in memory; Werkzeug would store a large file of a
    form on disk. A request that cannot be answered gets ``{"error": MESSAGE}``.
    """
    from flask import Flask, render_template, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__, static_folder="page", static_url_path="")
    # With another name in Host, the page of a stranger may have sent the request (DNS rebinding).
    app.config.update(TRUSTED_HOSTS=[HOST, "localhost"], MAX_CONTENT_LENGTH=MOST_BYTES)
    # A single thread: two would compete for the cores, and each would open its own detector.
    worker = ThreadPoolExecutor(1)

    def answer(work: Callable[..., dict[str, Any]], *arguments: Any) -> Any:
        try:
            return worker.submit(work, *arguments).result()
        except ImageError as error:
            where = "" if error.args[0] == "photo" else f"{error.args[0]}: "
            return {"error": f"{where}{error.reason}"}, 422

    @app.before_request
    def refuse_strangers() -> Any:
        # With each POST request, a browser sends the origin of the page.
        origin = request.headers.get("Origin")
        if origin is not None and origin != request.host_url.rstrip("/"):
            return {
                "error": f"found the origin {origin!r:.80}, only this page may send requests"
            }, 403
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
    """Decode the content of a data URI."""
    try:
        return base64.b64decode(uri.split(",", 1)[1], validate=True)
    except (IndexError, binascii.Error):
        raise ValueError from None
