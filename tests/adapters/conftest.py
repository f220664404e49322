"""A fixture for tests of the adapters: they run the code blocks of the documentation."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def snippets() -> Callable[[str, str, str], list[str]]:
    """The blocks of one language below a heading of a page, in order."""

    def find(page: str, heading: str, language: str) -> list[str]:
        text = (ROOT / page).read_text()
        section = re.split(r"^#+ ", text.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]
        return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)

    return find
