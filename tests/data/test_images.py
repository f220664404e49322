"""The decoder reads valid pictures as OpenCV does, and refuses bad ones at little cost."""

import io
import os
import socket
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lh2face.data import images
from lh2face.data.images import (
    MAX_BYTES,
    ImageError,
    decode_rgb,
    decoded_size,
    encode_jpeg,
    read_file,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 50, 3), np.uint8)
INPUTS = int(os.environ.get("LH2FACE_FUZZ", "500"))


def saved(kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


def with_orientation(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(kind, exif=exif)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, data=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bmp(width, height):
    sizes = struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    return b"BM" + sizes


def jpeg(width, height):
    encoded = saved("JPEG")
    return encoded.replace(struct.pack(">HH", 30, 50), struct.pack(">HH", height, width), 1)


def tiff(width, height):
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


GOOD = {
    "JPEG": saved("JPEG"),
    "progressive JPEG": saved("JPEG", progressive=True),
    "grey JPEG": saved("JPEG", "L"),
    "CMYK JPEG": saved("JPEG", "CMYK"),
    "JPEG with EXIF": with_orientation("JPEG"),
    "PNG": saved("PNG"),
    "transparent PNG": saved("PNG", "RGBA"),
    "PNG with palette": saved("PNG", "P"),
    "PNG of 16 bits": cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)[1].tobytes(),
    "WebP": saved("WEBP"),
    "BMP": saved("BMP"),
    "TIFF": saved("TIFF"),
    "GIF": saved("GIF"),
    "PPM": saved("PPM"),
    "PGM": saved("PPM", "L"),
    "PBM": saved("PPM", "1"),
}
# libjpeg skips a fill byte before a marker; reading the size is then left to Pillow.
GOOD["JPEG with fill bytes"] = GOOD["JPEG"][:2] + b"\xff" + GOOD["JPEG"][2:]


@pytest.mark.parametrize("name", GOOD)
def test_valid_pictures_are_decoded_as_opencv_does(name):
    expected = cv2.imdecode(np.frombuffer(GOOD[name], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode_rgb(GOOD[name], None, "a"), expected)
    assert decoded_size(GOOD[name], "a") == expected.shape[:2]
    small = decode_rgb(GOOD[name], 16, "a")
    assert small.shape == (16, 16, 3) and small.dtype == np.uint8


def test_pixels_have_known_values():
    """RGB order, 16 to 8 bits, transparency and orientation give values known without OpenCV."""
    for name in ("PNG", "BMP", "TIFF", "PPM", "PNG of 16 bits"):
        found = decode_rgb(GOOD[name], None, "a")
        given = PIXELS[..., ::-1] if name.endswith("bits") else PIXELS
        np.testing.assert_array_equal(found, given)
    hidden = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    file = io.BytesIO()
    Image.fromarray(hidden).save(file, "PNG")
    np.testing.assert_array_equal(decode_rgb(file.getvalue(), None, "a"), PIXELS)
    turned = decode_rgb(with_orientation("PNG"), None, "a")
    np.testing.assert_array_equal(turned, np.rot90(PIXELS, -1))


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_the_first_of_several_frames_is_read(kind):
    file = io.BytesIO()
    second = Image.fromarray(PIXELS[::-1].copy())
    Image.fromarray(PIXELS).save(file, kind, save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode_rgb(file.getvalue(), None, "a"), PIXELS)


def test_jpeg_is_written_and_read_back():
    smooth = cv2.GaussianBlur(PIXELS, (0, 0), 8)
    difference = decode_rgb(encode_jpeg(smooth), None, "a").astype(int) - smooth
    assert np.abs(difference).max() < 12
    assert len(encode_jpeg(PIXELS, 30)) < len(encode_jpeg(PIXELS))


SIDE = 11_586  # the square of this size is just above the limit
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"no picture", "not a picture, or none of JPEG, PNG"),
    "Sun raster": (b"\x59\xa6\x6a\x95" + struct.pack(">7I", 4, 4, 24, 48, 1, 0, 0), "none of JPEG"),
    "PFM": (b"PF\n60000 60000\n-1.0\n", "none of JPEG"),
    "JPEG": (jpeg(65_500, 65_500), "at most 134 million pixels, 65500 a side, found 65500 × 65500"),
    "JPEG, side": (jpeg(SIDE, SIDE), f"found {SIDE} × {SIDE}"),
    "JPEG of an odd make": (b"\xff\xd8\xff" + jpeg(SIDE, SIDE)[2:], f"found {SIDE} × {SIDE}"),
    "PNG": (png(100_000, 100_000), "at most 134 million pixels"),
    "long PNG": (png(65_501, 3_000), "at most 134 million pixels"),
    "PPM": (b"P6 60000 60000 255\n", "at most 134 million pixels"),
    "BMP": (bmp(2_000_000, 100), "at most 134 million pixels"),
    "BMP upside down": (bmp(SIDE, -SIDE), f"found {SIDE} × {SIDE}"),
    "TIFF": (tiff(60_000, 60_000), "at most 134 million pixels"),
    "GIF": (saved("GIF").replace(struct.pack("<HH", 50, 30), struct.pack("<HH", 60_000, 60_000)),
            "at most 134 million pixels"),
    "long side": (png(65_501, 10), "found 65501 × 10"),
    "JPEG's header": (saved("JPEG")[:30], "header is not whole"),
    "PNG without pixels": (png(10, 10), "damaged or cut short"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_named(name):
    encoded, message = BAD[name]
    for read in (lambda encoded, where: decode_rgb(encoded, 112, where), decoded_size):
        with pytest.raises(ImageError, match=message) as error:
            read(encoded, "photos/7.jpg")
        assert str(error.value).startswith("photos/7.jpg: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("name", GOOD)
def test_truncated_pictures_are_refused(name):
    encoded = GOOD[name]
    for length in {len(encoded) - 1, len(encoded) - 2, len(encoded) * 2 // 3, len(encoded) // 3}:
        # A TIFF or GIF may end in bytes that belong to no pixel.
        with pytest.raises(ImageError, match="a: "):
            decode_rgb(encoded[:length], None, "a")
        with pytest.raises(ImageError, match="a: "):
            decoded_size(encoded[:length], "a")


def shape_or_reason(read, encoded):
    try:
        return read(encoded)
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("name", [name for name in GOOD if "JPEG" in name])
def test_reading_the_size_refuses_what_decoding_refuses(name):
    """Reading the size alone refuses the same damaged files as decoding the pixels."""
    rng, refused = np.random.default_rng(0), 0
    for _ in range(INPUTS):
        damaged = bytearray(GOOD[name])
        for place in rng.integers(2, len(damaged), rng.integers(1, 4)):
            damaged[place : place + rng.integers(0, 3)] = rng.bytes(rng.integers(0, 3))
        found = shape_or_reason(lambda encoded: decoded_size(encoded, "a"), bytes(damaged))
        whole = shape_or_reason(lambda encoded: decode_rgb(encoded, None, "a"), bytes(damaged))
        refused += isinstance(whole, str)
        assert found == (whole if isinstance(whole, str) else whole.shape[:2])
    assert 0 < refused < INPUTS


def test_a_decompression_bomb_takes_no_memory():
    """A file of 2 MB, which would unpack to 0.4 GB, is refused before it is unpacked."""
    packer = zlib.compressobj(1)
    rows = bytes((3 * SIDE + 1) * 50)
    bomb = png(SIDE, SIDE, b"".join([packer.compress(rows) for _ in range(0, SIDE, 50)]))
    script = """
import resource, sys
from lh2face.data.images import ImageError, decode_rgb
bomb = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_rgb(bomb, 112, "a")
except ImageError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, input=bomb, capture_output=True, check=False)
    assert int(done.stdout) < 50_000, done.stderr


def test_a_jpeg_of_very_many_scans_is_refused(monkeypatch):
    """Each scan takes a few bytes of the file, and another pass over all pixels."""
    monkeypatch.setattr(images, "MAX_SCANNED_PIXELS", 40 * PIXELS.shape[0] * PIXELS.shape[1])
    encoded = GOOD["progressive JPEG"]
    assert decode_rgb(encoded, None, "a").shape == PIXELS.shape
    scan = encoded[encoded.rfind(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="a: a JPEG of 50 × 30 px with more than 40 scans"):
        decode_rgb(encoded[:-2] + 40 * scan + encoded[-2:], None, "a")


@settings(
    max_examples=INPUTS, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(
    name=st.sampled_from(sorted(GOOD)),
    edits=st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=4)), max_size=3),
    cut=st.integers(0, 6000),
)
@example(name="PNG", edits=[(16, b"\x7f\xff\xff\xff")], cut=0)
def test_damaged_pictures_give_a_picture_or_one_line(name, edits, cut):
    """Most of the damage is in the header."""
    encoded = bytearray(GOOD[name])
    for place, content in edits:
        at = place % min(len(encoded), 700)
        encoded[at : at + len(content)] = content
    encoded = bytes(encoded[: len(encoded) - cut % len(encoded)])
    try:
        found = decode_rgb(encoded, 112, "a")
    except ImageError as error:
        assert str(error).startswith("a: ") and "\n" not in str(error)
    else:
        assert found.shape == (112, 112, 3) and found.dtype == np.uint8


def test_a_file_is_read_as_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "a") == read_file(tmp_path / "link") == b"content"


@pytest.mark.timeout(20)
def test_paths_that_are_no_files_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "gone").symlink_to("/nowhere/gone.jpg")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(20 << 30)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    for name, message in {
        "pipe": "not a regular file", "folder": "not a regular file", "device": "not a regular",
        "socket": "not a regular file", "gone": "No such file", "loop": "symbolic links",
        "absent": "No such file", "a\0b": "null byte", "x" * 300: "name too long",
        "sparse": f"{20 << 30} bytes; a picture has at most {MAX_BYTES}",
    }.items():  # fmt: skip
        with pytest.raises(ImageError, match=message):
            read_file(tmp_path / name)
    listener.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_named(tmp_path):
    (tmp_path / "a").touch(mode=0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_file(tmp_path / "a")


@pytest.mark.parametrize("size", [24, 400])
def test_a_png_with_wrong_chunk_sizes_never_reaches_opencv(size, monkeypatch):
    """OpenCV would allocate up to 4 GiB for one chunk."""
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    good = cv2.imencode(".png", pixels)[1].tobytes()
    assert decode_rgb(good + b"anything", None, "a").shape == (size, size, 3)
    start = good.index(b"IDAT") - 4
    header = good[8:33]
    damaged = [
        good[:start] + b"\xff\xff\xff\xff" + good[start + 4 :],
        good[:33] + header + good[33:],
        good[: start + 20],
        good[:-12],
        good[:20],
    ]
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV was called"))
    for content in damaged:
        with pytest.raises(ImageError, match="a: damaged or cut short, the PNG's chunks"):
            decode_rgb(content, None, "a")
