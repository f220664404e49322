"""Escaping of names of people, files and models, so that they never act as markup."""

import re
from pathlib import Path

# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
# Characters with a meaning in Markdown, and how to escape them. Some are written as HTML entities,
# because not every dialect of Markdown accepts a backslash before them.
MARKDOWN = {ord(c): f"\\{c}" for c in "\\`*_[]"} | str.maketrans(
    {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;", "~": "&#126;", "$": "&#36;"}
)


def printable(text: object) -> str:
    r"""Escape control characters, line breaks and lone surrogates, such as ``\n``, in a text.

    Characters that change the direction of writing are escaped too, because they can disguise a
    name.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if there is none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def check_utf8(path: Path) -> None:
    """Check the path of a model: safetensors and onnxruntime can only open paths in UTF-8.

    Raises:
        ValueError: If the path is not valid UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{path}: the path of a model must be valid UTF-8; rename or move the model, or set "
            "PYTHONUTF8=1 if only the locale is not UTF-8"
        ) from None


def markdown_text(text: object) -> str:
    """Escape a text for Markdown, on one line, so that it is shown literally."""
    return printable(text).translate(MARKDOWN)


def markdown_code(text: object) -> str:
    """Format a text as a Markdown code span on one line; it may contain backticks."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def to_cell(value: object) -> object:
    """Escape a value for a cell of a CSV file that may be opened in a spreadsheet.

    A text that a spreadsheet would take for a formula gets a leading apostrophe. So does such a
    text that already has leading apostrophes, so that :func:`from_cell` can restore it. Numbers,
    including numbers written as text, do not change.
    """
    formula = isinstance(value, str) and FORMULA.match(value) and not _is_number(value)
    return f"'{value}" if formula else value


def from_cell(text: str) -> str:
    """Restore the text that was passed to :func:`to_cell`."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
