"""Reading, decoding and encoding of pictures.

A picture may be hostile, so its size is read from the header before OpenCV allocates memory for it.
"""

import base64
import io
import stat
import struct
from pathlib import Path

import cv2
import numpy as np

# Limit for the pixels of a decoded picture: a photo of 108 megapixels, 0.4 GB, is allowed.
MAX_PIXELS = 1 << 27
MAX_SIDE = 65_500
ALLOWED = f"a picture has at most {MAX_PIXELS / 1e6:.0f} million pixels, {MAX_SIDE} a side"
# Decoding visits all pixels in every scan of a JPEG; usual files have at most 20 scans.
MAX_SCANNED_PIXELS = 64 * MAX_PIXELS
# Limit for a picture file: a record of a RecordIO file holds less than this.
MAX_BYTES = 1 << 29
# Supported formats, by Pillow's names; PPM includes PBM and PGM.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
JPEG_QUALITY = 95

PNG_START, PNG_CHUNK = b"\x89PNG\r\n\x1a\n", struct.Struct(">I4s")
JPEG_SEGMENT, JPEG_FRAME = struct.Struct(">HH"), struct.Struct(">xHH")
JPEG_START, JPEG_SCAN = b"\xff\xd8", b"\xff\xda"
# Least length of a scan with its header, in bytes.
JPEG_SCAN_BYTES = 10
# Segments that may precede the frame header: tables, comments, application data.
JPEG_TABLES = frozenset([0xFFC4, 0xFFCC, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)])
JPEG_FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - JPEG_TABLES - {0xFFC8}


class ImageError(ValueError):
    """A picture cannot be used; the message is "source: reason".

    Args:
        source: Where the picture comes from.
        reason: Why it cannot be used.

    Attributes:
        reason: The reason alone, for lists that have the source in another column.
    """

    def __init__(self, source: object, reason: str) -> None:
        super().__init__(source, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


def read_file(path: Path) -> bytes:
    """Read the content of a picture file.

    Raises:
        ImageError: If the file is missing, not readable, not a regular file (a folder, a device, a
            pipe), or larger than ``MAX_BYTES``. Nothing is read then.
    """
    try:
        status = path.stat()
        # Opening a pipe would wait for its writer.
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            with path.open("rb") as file:
                # With a greater number, Python would allocate that many bytes first.
                return file.read(status.st_size)
    except (OSError, ValueError) as error:
        # ValueError: a name with a zero byte, or one that the locale cannot encode.
        raise ImageError(path, getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(path, "not a regular file")
    raise ImageError(path, f"{status.st_size} bytes; a picture has at most {MAX_BYTES}")


def decode_rgb(encoded: bytes, size: int | None, source: str) -> np.ndarray:
    """Decode a picture to RGB ``(size, size, 3)`` uint8.

    Grey pictures get three equal channels, CMYK is converted to RGB, 16 bits are reduced to 8, and
    transparency is dropped. Only the first page or frame is used. EXIF's orientation is applied.

    Args:
        encoded: A picture in one of ``FORMATS``.
        size: Side of the result in px; ``None`` keeps the picture's own size ``(H, W, 3)``.
        source: Where the picture comes from, for messages.

    Raises:
        ImageError: If the picture is empty, in another format, damaged or cut short, or if it has
            more than ``MAX_PIXELS`` pixels or a side above ``MAX_SIDE``. A picture that is too
            large is refused before its pixels are allocated.
    """
    image = _decode(encoded, source, cv2.IMREAD_COLOR)
    if size is not None and image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decoded_size(encoded: bytes, source: str) -> tuple[int, int]:
    """Check that :func:`decode_rgb` can decode a picture; return its height and width in px.

    This is faster for a JPEG: all its data are read, but only its brightness is decoded.

    Raises:
        ImageError: If :func:`decode_rgb` would raise it.
    """
    jpeg = encoded.startswith(JPEG_START)
    flag = cv2.IMREAD_GRAYSCALE if jpeg else cv2.IMREAD_COLOR
    height, width = _decode(encoded, source, flag).shape[:2]
    return height, width


def encode_jpeg(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encode RGB pixels ``(H, W, 3)`` uint8 as JPEG, with a quality of 0 … 100."""
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_png(image: np.ndarray) -> bytes:
    """Encode RGB pixels ``(H, W, 3)`` uint8 as PNG, which is lossless."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def data_uri(kind: str, content: bytes) -> str:
    """Write the bytes of an image file as a data URI of the type ``image/<kind>``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _decode(encoded: bytes, source: str, flag: int) -> np.ndarray:
    """Decode a picture with OpenCV, to BGR or grey."""
    _check_header(encoded, source)
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(source, f"OpenCV cannot decode it ({error.err})") from None
    if image is None:
        raise ImageError(source, "damaged or cut short, OpenCV cannot decode it")
    return image


def _check_header(encoded: bytes, source: str) -> None:
    """Refuse pictures that OpenCV should not decode, such as one that is too large."""
    if not encoded:
        raise ImageError(source, "the file is empty")
    jpeg = encoded.startswith(JPEG_START)
    if encoded.startswith(PNG_START):
        _check_png(encoded, source)
    width, height = (_jpeg_size(encoded, source) if jpeg else None) or _size(encoded, source)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageError(source, f"{ALLOWED}, found {width} × {height}")
    scans = MAX_SCANNED_PIXELS // max(width * height, 1)
    # Counting is slow, so it is skipped if the file is too small for so many scans.
    if jpeg and len(encoded) > scans * JPEG_SCAN_BYTES and encoded.count(JPEG_SCAN) > scans:
        raise ImageError(source, f"a JPEG of {width} × {height} px with more than {scans} scans")


def _jpeg_size(encoded: bytes, source: str) -> tuple[int, int] | None:
    """Read the width and height of a JPEG; ``None`` if it has unusual segments.

    The segments are read in order, as libjpeg does. Pillow would be slower: it takes a fifth of the
    time of decoding.
    """
    at = len(JPEG_START)
    try:
        while True:
            marker, length = JPEG_SEGMENT.unpack_from(encoded, at)
            if marker in JPEG_FRAMES:
                height, width = JPEG_FRAME.unpack_from(encoded, at + JPEG_SEGMENT.size)
                return width, height
            if marker not in JPEG_TABLES:
                return None
            at += 2 + length
    except struct.error:
        raise ImageError(source, "damaged or cut short, the JPEG's header is not whole") from None


def _check_png(encoded: bytes, source: str) -> None:
    """Refuse a PNG with a chunk beyond the end of the file, or with two headers.

    OpenCV allocates the length that a chunk claims, up to 4 GiB, before it reads the chunk.
    """
    at, sizes, kind = len(PNG_START), 0, b""
    while kind != b"IEND":
        if at + PNG_CHUNK.size <= len(encoded):
            length, kind = PNG_CHUNK.unpack_from(encoded, at)
            sizes += kind == b"IHDR"
            at += PNG_CHUNK.size + length + 4  # a checksum of 4 bytes follows
        else:
            at = len(encoded) + 1
        if at > len(encoded) or sizes > 1:
            raise ImageError(source, "damaged or cut short, the PNG's chunks are not whole")


def _size(encoded: bytes, source: str) -> tuple[int, int]:
    """Read the width and height with Pillow, which reads only the header."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            return picture.size
    except UnidentifiedImageError:
        raise ImageError(source, f"not a picture, or none of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise ImageError(source, f"{ALLOWED} ({error})") from None
    except Exception as error:
        # The type of error that Pillow raises for a damaged header depends on the format.
        raise ImageError(source, f"damaged header ({error})") from None
