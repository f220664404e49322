"""Names of people, files and models in text: what they hold is shown, and never acts as markup."""

import re
from pathlib import Path

# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
# What Markdown reads, and how else to write it: not every dialect takes a backslash before each.
MARKDOWN = {ord(c): f"\\{c}" for c in "\\`*_[]"} | str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "~": "&#126;", "$": "&#36;"}
)


def printable(text: object) -> str:
    r"""A text on one line: control characters, line breaks and lone surrogates as escapes (``\n``).

    Characters that change the direction of writing are escaped too: they can disguise a name.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def first_line(error: BaseException) -> str:
    """What an error says, its first line; the name of its class where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def check_utf8(path: Path) -> None:
    """Check a name that goes to safetensors or onnxruntime, which open no other than UTF-8.

    Raises:
        ValueError: If it is not.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{path}: a model can only be opened where all of its path is UTF-8; rename or move it,"
            " or set PYTHONUTF8=1 where only the locale is another"
        ) from None


def markdown_text(text: object) -> str:
    """A text as Markdown that shows it letter by letter, on one line."""
    return printable(text).translate(MARKDOWN)


def markdown_code(text: object) -> str:
    """A text as a Markdown code span on one line, whatever backticks it holds."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def to_cell(value: object) -> object:
    """A value for a cell of a CSV file that people open in a spreadsheet.

    A text that a spreadsheet would take for a formula gets one apostrophe before it, as does one
    that already has apostrophes there, so that :func:`from_cell` gives the text back. Numbers stay
    as they are, those written as text too.
    """
    formula = isinstance(value, str) and FORMULA.match(value) and not _is_number(value)
    return f"'{value}" if formula else value


def from_cell(text: str) -> str:
    """The text that :func:`to_cell` was given."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
