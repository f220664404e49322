"""Verification bins (``lfw.bin``, ``cfp_fp.bin`` …): pairs of encoded images in a pickle.

The pickle holds ``(bins, issame)``. It may be hostile, so Python's unpickler never reads it.
Instead, a small interpreter supports only the opcodes that such files use, of every protocol. It
builds only bytes, texts, numbers, lists, tuples and flat numpy arrays.
"""

import codecs
import io
import mmap
import pickle
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Limit for the number of opcodes: this many, plus one per 16 bytes of file. An opcode allocates
# at most about 64 bytes, so memory and time stay proportional to the size of the file.
OPCODES, BYTES_PER_OPCODE = 1 << 20, 16
PLAIN_DTYPE = re.compile(r"[biuf][1248]")
SHOWN = 60


class BinError(ValueError):
    """A verification bin cannot be used; the message names the file."""


class _PickleError(ValueError):
    """A pickle contains something that a verification bin does not need."""


def read_bin(path: str | Path) -> tuple[list[bytes], np.ndarray]:
    """Read a verification bin without executing any code in it.

    Args:
        path: The ``.bin`` file. Its images are bytes or numpy arrays of uint8. Its flags are bools
            or the numbers 0 and 1, of Python or numpy.

    Returns:
        The 2n encoded images, and ``(n,)`` bool: whether images 2i and 2i + 1 show the same person.

    Raises:
        BinError: If the file is not such a pickle, contains another type, has no pairs, or does
            not have two images per flag.
        OSError: If it cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise BinError(f"{path}: not a file")
    try:
        with path.open("rb") as file:
            if not file.seek(0, io.SEEK_END):
                raise _PickleError("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
                content = _load(raw)
    except _PickleError as error:
        raise BinError(f"{path}: not a verification bin: {error}") from None
    if not (isinstance(content, (tuple, list)) and len(content) == 2):
        raise BinError(f"{path}: expected (bins, issame), found a {_kind(content)}")
    try:
        images = [_encoded(image) for image in _items(content[0])]
        same = np.array([_flag(value) for value in _items(content[1])], bool)
    except _PickleError as error:
        raise BinError(f"{path}: expected encoded images and true or false: {error}") from None
    if len(images) != 2 * len(same):
        raise BinError(
            f"{path}: {len(same)} pairs need {2 * len(same)} images, found {len(images)}"
        )
    if not images:
        raise BinError(f"{path}: no pairs in it")
    return images, same


def write_bin(path: str | Path, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write a verification bin that insightface's tools read.

    Args:
        path: The ``.bin`` file.
        images: 2n encoded images.
        same: n flags: whether images 2i and 2i + 1 show the same person.

    Raises:
        ValueError: If there are not two images per flag.
    """
    if len(images) != 2 * len(same):
        raise ValueError(f"images: {len(same)} pairs need {2 * len(same)}, found {len(images)}")
    with Path(path).open("wb") as file:
        pickle.dump((list(images), [bool(value) for value in same]), file, protocol=4)


def _items(values: Any) -> Sequence[Any]:
    if isinstance(values, _Array):
        return values.values()
    if not isinstance(values, (list, tuple)):
        raise _PickleError(f"found a {_kind(values)} in place of a list")
    return values


def _encoded(image: Any) -> bytes:
    if isinstance(image, _Array) and image.dtype.code == "u1":
        image = image.data
    if not isinstance(image, (bytes, bytearray)):
        raise _PickleError(f"an image is a {_kind(image)}")
    return bytes(image)


def _flag(value: Any) -> bool:
    if isinstance(value, _Array) and len(value.values()) == 1:
        (value,) = value.values()
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise _PickleError(f"a flag is {_shown(value)}")
    return bool(value)


def _text(value: Any) -> str:
    """Convert a name to str; Python 2 writes it as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise _PickleError(f"a name is a {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "numpy array" if isinstance(value, _Array) else type(value).__name__.lstrip("_")


def _shown(value: Any) -> str:
    # No repr of containers: it would grow with the file.
    if isinstance(value, (list, _Array, _Dtype)):
        return f"a {_kind(value)}"
    if isinstance(value, (str, bytes)):
        value = value[:SHOWN]
    return repr(value)


class _Dtype:
    """A plain numpy dtype with a code such as ``u1``; or ``O8``, for a list of objects."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = _text(code), "="
        self.objects = self.code in ("O4", "O8")
        if not self.objects and not PLAIN_DTYPE.fullmatch(self.code):
            raise _PickleError(f"it holds a numpy array of type {self.code[:SHOWN]!r}")
        self.width = 1 if self.objects else int(self.code[1])

    def build(self, state: Any) -> None:
        order = _text(state[1]) if isinstance(state, tuple) and len(state) > 1 else ""
        if order not in set("|<>="):
            raise _PickleError(f"a numpy type of byte order {order[:SHOWN]!r}")
        self.order = order


BYTE = _Dtype("u1")


class _Array:
    """A flat numpy array: its dtype, and its bytes or, for dtype O, the list of its objects."""

    __slots__ = ("data", "dtype")

    def __init__(self) -> None:
        self.dtype = BYTE
        self.data: bytes | list[Any] = b""

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _PickleError("a numpy array without shape, type and content")
        _, shape, dtype, _, data = state
        self.fill(data, dtype, shape)

    def fill(self, data: Any, dtype: Any, shape: Any) -> None:
        if not isinstance(dtype, _Dtype):
            raise _PickleError("a numpy array without a type")
        if not isinstance(data, list if dtype.objects else bytes):
            raise _PickleError(f"a numpy array of {dtype.code} whose content is a {_kind(data)}")
        if not isinstance(shape, tuple):
            raise _PickleError("a numpy array without a shape")
        count, rest = divmod(len(data), dtype.width)
        # Encoded images and flags are one-dimensional; an array of pixels is not.
        if rest or (shape != (count,) and [n for n in shape if n != 1] != [count] * (count != 1)):
            raise _PickleError(f"a numpy array of {len(data)} bytes that is not one-dimensional")
        self.dtype, self.data = dtype, data

    def values(self) -> list[Any]:
        if isinstance(self.data, list):
            return self.data
        dtype = np.dtype(self.dtype.order + self.dtype.code)
        numbers: list[Any] = np.frombuffer(self.data, dtype).tolist()
        return numbers


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, _order: Any) -> _Array:
    array = _Array()
    array.fill(data, dtype, shape)
    return array


def _scalar(dtype: Any, data: Any) -> Any:
    return _frombuffer(data, dtype, (1,), "C").values()[0]


def _encode(text: Any, _encoding: Any) -> bytes:
    # Up to protocol 2, Python 3 writes bytes as a text in latin-1.
    if not isinstance(text, str):
        raise _PickleError(f"a text that is a {_kind(text)}")
    return text.encode("latin1")


# Functions that a bin may call, by module and name, each with its replacement in this module.
CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _encode,
    # How empty bytes are written up to protocol 2.
    ("__builtin__", "bytes"): lambda: b"",
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _reconstruct,
    # Before version 2, numpy wrote numpy.core; now it writes numpy._core.
    **{
        (f"numpy.{core}.{module}", name): call
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


def _whole(text: bytes) -> int:
    """Parse a number of protocol 0; ``01`` and ``00`` mean true and false."""
    if len(text) > 20:
        raise _PickleError(f"a number of {len(text)} digits")
    return int(text.removesuffix(b"L"))


def _quoted(text: bytes) -> bytes:
    """Parse a quoted text of Python 2, protocol 0."""
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise _PickleError("a text without quotes")
    return codecs.escape_decode(text[1:-1])[0]


# Opcodes that work alike, each with the format of the number that follows it.
U1, U2, U4, U8, I4 = (struct.Struct(f"<{form}") for form in "BHIQi")
GETS = {pickle.BINGET[0]: U1, pickle.LONG_BINGET[0]: U4}
PUTS = {pickle.BINPUT[0]: U1, pickle.LONG_BINPUT[0]: U4}
NUMBERS = {pickle.BININT1[0]: U1, pickle.BININT2[0]: U2, pickle.BININT[0]: I4}
# The STRING opcodes are bytes of Python 2.
BYTES = {
    pickle.SHORT_BINBYTES[0]: U1, pickle.BINBYTES[0]: U4, pickle.BINBYTES8[0]: U8,
    pickle.SHORT_BINSTRING[0]: U1, pickle.BINSTRING[0]: I4, pickle.BYTEARRAY8[0]: U8,
}  # fmt: skip
TEXTS = {pickle.SHORT_BINUNICODE[0]: U1, pickle.BINUNICODE[0]: U4, pickle.BINUNICODE8[0]: U8}
TUPLES = {pickle.TUPLE1[0]: 1, pickle.TUPLE2[0]: 2, pickle.TUPLE3[0]: 3}
CONSTANTS: dict[int, Any] = {
    pickle.NONE[0]: None, pickle.NEWTRUE[0]: True, pickle.NEWFALSE[0]: False,
    pickle.EMPTY_TUPLE[0]: (),
}  # fmt: skip
SKIPPED = {pickle.PROTO[0]: 1, pickle.FRAME[0]: 8}
# Opcodes that need code of their own.
STOP, MARK, MEMOIZE = pickle.STOP[0], pickle.MARK[0], pickle.MEMOIZE[0]
REDUCE, BUILD = pickle.REDUCE[0], pickle.BUILD[0]
GLOBAL, STACK_GLOBAL = pickle.GLOBAL[0], pickle.STACK_GLOBAL[0]
EMPTY_LIST, APPEND, APPENDS = pickle.EMPTY_LIST[0], pickle.APPEND[0], pickle.APPENDS[0]
LIST, TUPLE, LONG1 = pickle.LIST[0], pickle.TUPLE[0], pickle.LONG1[0]
# Opcodes of protocol 0, whose argument is a line of text.
GET, PUT = pickle.GET[0], pickle.PUT[0]
LINES: dict[int, Callable[[bytes], Any]] = {
    pickle.INT[0]: _whole,
    pickle.LONG[0]: _whole,
    pickle.STRING[0]: _quoted,
    pickle.UNICODE[0]: lambda line: line.decode("raw-unicode-escape"),
}


def _load(raw: mmap.mmap) -> Any:
    """Build the object that a pickle describes.

    Memory stays proportional to the size of the file: lengths are compared with the rest of the
    file, the memo is a dictionary, and the number of opcodes is limited.

    Raises:
        _PickleError: If the pickle is damaged, or needs an opcode or a type that a bin does not
            need; the message names the byte.
    """
    at, size = 0, len(raw)
    stack: list[Any] = []
    marks: list[list[Any]] = []
    memo: dict[int, Any] = {}

    def line() -> bytes:
        nonlocal at
        start, end = at, raw.find(b"\n", at)
        if end < 0:
            raise IndexError
        at = end + 1
        return raw[start:end]

    try:
        for _ in range(OPCODES + size // BYTES_PER_OPCODE):
            code = raw[at]
            at += 1
            # The most frequent ones first.
            if code == MEMOIZE:
                memo[len(memo)] = stack[-1]
            elif code in GETS:
                form = GETS[code]
                stack.append(memo[form.unpack_from(raw, at)[0]])
                at += form.size
            elif code in PUTS:
                form = PUTS[code]
                memo[form.unpack_from(raw, at)[0]] = stack[-1]
                at += form.size
            elif code in NUMBERS:
                form = NUMBERS[code]
                stack.append(form.unpack_from(raw, at)[0])
                at += form.size
            elif code in TUPLES:
                count = TUPLES[code]
                if len(stack) < count:
                    raise IndexError
                stack[-count:] = [tuple(stack[-count:])]
            elif code in CONSTANTS:
                stack.append(CONSTANTS[code])
            elif code in BYTES or code in TEXTS:
                form = BYTES.get(code) or TEXTS[code]
                start = at + form.size
                at = start + form.unpack_from(raw, at)[0]
                if not start <= at <= size:
                    raise _PickleError(f"{at - start} bytes are more than the file has left")
                content = raw[start:at]
                stack.append(content.decode("utf-8", "surrogatepass") if code in TEXTS else content)
            elif code == MARK:
                marks.append(stack)
                stack = []
            elif code == TUPLE:
                items, stack = tuple(stack), marks.pop()
                stack.append(items)
            elif code == REDUCE:
                arguments, function = stack.pop(), stack.pop()
                # Only functions in CALLS can be on the stack.
                if not callable(function) or not isinstance(arguments, tuple):
                    raise _PickleError(f"it calls a {_kind(function)}")
                stack.append(function(*arguments))
            elif code == BUILD:
                state = stack.pop()
                if not isinstance(stack[-1], (_Array, _Dtype)):
                    raise _PickleError(f"it gives a state to a {_kind(stack[-1])}")
                stack[-1].build(state)
            elif code in (APPEND, APPENDS):
                if code == APPEND:
                    added = [stack.pop()]
                else:
                    added, stack = stack, marks.pop()
                if not isinstance(stack[-1], list):
                    raise _PickleError(f"it appends to a {_kind(stack[-1])}")
                stack[-1].extend(added)
            elif code == EMPTY_LIST:
                stack.append([])
            elif code == LIST:
                added, stack = stack, marks.pop()
                stack.append(added)
            elif code == LONG1:
                start = at + 1
                at = start + raw[at]
                if not at <= min(size, start + 8):
                    raise _PickleError(f"a number of {at - start} bytes")
                stack.append(int.from_bytes(raw[start:at], "little", signed=True))
            elif code in LINES:
                stack.append(LINES[code](line()))
            elif code == PUT:
                memo[_whole(line())] = stack[-1]
            elif code == GET:
                stack.append(memo[_whole(line())])
            elif code == GLOBAL:
                stack.append(_function(line(), line()))
            elif code == STACK_GLOBAL:
                name, module = stack.pop(), stack.pop()
                stack.append(_function(module, name))
            elif code in SKIPPED:
                at += SKIPPED[code]
            elif code == STOP:
                return stack.pop()
            else:
                raise _PickleError(f"a verification bin does not need opcode {code:#x}")
    except _PickleError as error:
        raise _PickleError(f"byte {at}: {error}") from None
    except KeyError as error:
        raise _PickleError(f"byte {at}: the memo has no entry {error}") from None
    except (IndexError, struct.error):
        raise _PickleError(f"byte {at}: cut short, or a value is missing") from None
    except (TypeError, ValueError) as error:
        raise _PickleError(f"byte {at}: {error}") from None
    raise _PickleError(f"more than {OPCODES} opcodes, plus one per {BYTES_PER_OPCODE} bytes")


def _function(module: Any, name: Any) -> Callable[..., Any]:
    module, name = _text(module), _text(name)
    if (module, name) not in CALLS:
        shown = f"{module}.{name}"[:SHOWN]
        raise _PickleError(f"it holds the type {shown!r}, which a verification bin does not need")
    return CALLS[module, name]
