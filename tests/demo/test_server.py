"""The server answers only this machine, gives one line per error, and keeps nothing."""

import base64
import json
import os
import re
import signal
import struct
import subprocess
import sys
import urllib.request
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("flask", reason="needs the demo extra")

from lh2face.data.images import encode_png
from lh2face.demo import server
from lh2face.registry import MODELS

BYTES = {"content_type": "application/octet-stream"}
written: list[object] | None = None


def watch(event: str, arguments: tuple) -> None:
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
    if written is not None and writing:
        written.append(arguments[0])


@pytest.fixture
def client(faces):
    return server.make_app(faces).test_client()


def png(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (112, 112, 3), np.uint8))


def uri(encoded: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(encoded).decode()}"


def test_the_server_has_every_file_that_the_page_loads(client):
    page = client.get("/")
    assert page.status_code == 200 and page.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    names = {*re.findall(r'(?:src|href)="([^"]+)"', page.text)} - {"data:,"}
    assert names == {"demo.css", "demo.js"}
    loaded = {name: client.get(f"/{name}") for name in names}
    for name, found in {"/": page, **loaded}.items():
        assert found.status_code == 200
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(http", found.text), name


def test_the_page_asks_for_two_photos(client):
    page = client.get("/").text
    assert re.findall(r"<h2 id=\"title-(\w+)\">(\w+) photo", page) == [
        ("first", "First"), ("second", "Second"),
    ]  # fmt: skip
    assert page.count('class="photo"') == 2 and "{" not in page


def test_a_photo_is_answered_with_its_face(client, photo):
    found = client.post("/face", data=photo((160, 90, 112)), **BYTES).json
    assert found["crop"].startswith("data:image/png;base64,") and found["box"]
    again = client.post("/score", json={"first": found["crop"], "second": uri(png(1))}).json
    assert -1 <= again["score"] <= 1 and len(again["kappa"]) == 2
    assert client.get("/about").json["most_bytes"] == server.MOST_BYTES
    drawn = client.post("/example?same=1", **BYTES).json["faces"]
    assert client.post(
        "/face?aligned=1", data=base64.b64decode(drawn[0].split(",")[1]), **BYTES
    ).json["crop"]


def huge(side: int) -> bytes:
    """Return the header of a PNG with this many pixels per side."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = (header, b"IEND")
    packed = [
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (b"", "the file is empty"),
        (b"\xff\xd8\xff", "cut short"),
        (b"text", "not a picture"),
        (cv2.imencode(".png", np.zeros((90, 90, 3), np.uint8))[1].tobytes(), "finds no face"),
        (huge(1 << 16), "a picture has at most 134 million pixels"),
    ],
)  # fmt: skip
def test_a_photo_that_cannot_be_used_gives_one_line(client, encoded, said):
    answer = client.post("/face", data=encoded, **BYTES)
    assert answer.status_code == 422 and said in answer.json["error"]
    assert "\n" not in answer.json["error"] and not answer.json["error"].startswith("photo")


def test_malformed_requests_are_refused(client, monkeypatch):
    for body in (b"{", b"[]", b"3", b'{"first": "a", "second": "b"}', b'{"first": 3, "second": 4}'):
        answer = client.post("/score", data=body, content_type="application/json")
        assert answer.status_code == 400 and answer.json["error"], body
    garbage = {"first": uri(b"text"), "second": uri(png(0))}
    assert (
        client.post("/score", json=garbage).json["error"].startswith("first photo: not a picture")
    )
    assert client.get("/face?aligned=1").status_code == 404
    for path in ("/../faces.py", "/%2e%2e/faces.py", "/faces.py", "/..%2ffaces.py"):
        assert client.get(path).status_code == 404
    client.application.config["MAX_CONTENT_LENGTH"] = 1000
    answer = client.post("/face", data=bytes(1001), **BYTES)
    assert answer.status_code == 413 and answer.json["error"] == "a photo has at most 64 MiB"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:80", "[::1]", ""]
)
@pytest.mark.parametrize("path", ["/", "/about", "/demo.js"])
def test_a_request_for_another_host_name_is_refused(client, host, path):
    """A foreign page may have made its name resolve to this machine (DNS rebinding)."""
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400 and "threshold" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000"])
def test_a_request_from_another_origin_is_refused(client, host):
    for origin, status in (
        (f"http://{host}", 200), ("http://evil.example", 403), ("null", 403),
        ("http://127.0.0.1:8001", 403), (f"https://{host}", 403),
    ):  # fmt: skip
        headers = {"Host": host, "Origin": origin}
        answer = client.post("/face?aligned=1", data=png(0), headers=headers, **BYTES)
        assert answer.status_code == status, origin
        assert "Access-Control-Allow-Origin" not in answer.headers
    # A form of another page could send this, from a browser that gives no origin.
    for kind in ("text/plain", "multipart/form-data; boundary=x", None):
        answer = client.post("/face?aligned=1", data=png(0), content_type=kind)
        assert answer.status_code == 415
    assert client.post("/score", data=b"{}", content_type="text/plain").status_code == 415


def test_nothing_is_written(client):
    global written
    sys.addaudithook(watch)
    photo = encode_png(np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8))
    assert len(photo) > 3_000_000
    # The first request may write compiled modules.
    client.post("/face?aligned=1", data=photo, **BYTES)
    written = []
    try:
        assert client.post("/face?aligned=1", data=photo, **BYTES).status_code == 200
        both = {"first": uri(png(0)), "second": uri(png(1))}
        assert client.post("/score", json=both).status_code == 200
        assert written == []
    finally:
        written = None


def test_the_command_serves_on_loopback_until_it_is_interrupted(tmp_path):
    config = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25, "image_size": 48}
    config = {"type": "FaceRecognizer", "backbone": config}
    from lh2face.artifacts.model import save_model

    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", MODELS.build(config), config, {})
    # A process that a script starts in the background inherits that SIGINT is ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from lh2face.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "demo", "--no-browser", "--model", tmp_path / "model"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = []
        while not (
            found := re.match(r"http://127\.0\.0\.1:(\d+)/ ", line := process.stdout.readline())
        ):
            lines.append(line)
            assert line, process.stderr.read()
        port = int(found[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/about", timeout=30) as answer:
            assert "no threshold" in json.load(answer)["refusal"]
        if (table := Path("/proc/net/tcp")).exists():
            rows = [row.split() for row in table.read_text("ascii").splitlines()[1:]]
            mine = {row[1] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
            assert mine == {f"0100007F:{port:04X}"}
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == "" and out.strip() == ""


def test_a_port_that_is_taken_is_named(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port: found {port}: Address already in use"):
            server.run(tmp_path, port=port, browser=False)


def test_without_flask_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(ValueError, match=r'pip install "lh2face\[demo\]"'):
        server.run(tmp_path)
