"""Names of any kind are shown as text on a terminal, in Markdown and in spreadsheets."""

import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lh2face.text import first_line, from_cell, markdown_code, markdown_text, printable, to_cell

NAMES = st.text(alphabet=st.one_of(st.characters(codec=None), st.sampled_from("='+-@\t\r\n`|<")))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[old] ü 名前", "[old] ü 名前"),
        ("a\nb\x1b[31m\t", r"a\nb\x1b[31m\t"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\udce9.jpg"),
        ("gpj.‮exe", r"gpj.\u202eexe"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_a_name_is_shown_on_one_line(name, shown):
    assert printable(name) == shown


@given(NAMES)
def test_any_name_can_be_printed(name):
    assert printable(name).isprintable()
    printable(name).encode("utf-8")


@given(st.one_of(NAMES, st.from_regex(r"'*[=+\-@\t\r].*")))
def test_a_cell_is_no_formula_and_can_be_read_back(name):
    cell = to_cell(name)
    assert from_cell(cell) == name
    if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        float(cell)  # only a number may begin like this


@given(st.floats(allow_nan=False))
def test_numbers_stay_numbers(value):
    assert to_cell(value) is value
    assert float(to_cell(f"{value:.6g}")) == float(f"{value:.6g}")


def test_a_spreadsheet_keeps_the_names():
    names = ["=1+1", "'=1", "@a", "-b", "+c", "-5", "'quoted'", "plain"]
    file = io.StringIO()
    csv.writer(file).writerows([to_cell(name)] for name in names)
    file.seek(0)
    cells = [row[0] for row in csv.reader(file)]
    assert cells == ["'=1+1", "''=1", "'@a", "'-b", "'+c", "-5", "'quoted'", "plain"]
    assert [from_cell(cell) for cell in cells] == names


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>",
        "a|b",
        "*a* _b_ [c](d)",
        "`x`",
        "``",
        "a`b``c",
        "a\n# b",
        "&lt;",
    ],
)
def test_markdown_shows_the_name_as_it_is(name):
    markdown = pytest.importorskip("markdown", reason="Markdown is not installed")
    from html.parser import HTMLParser

    class Text(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.text = set(), ""

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)

        def handle_data(self, data):
            self.text += data

    for made, tags in ((markdown_text(name), {"p"}), (markdown_code(name), {"p", "code"})):
        seen = Text()
        seen.feed(markdown.markdown(made))
        assert seen.tags == tags
        assert seen.text == printable(name)


def test_an_error_without_text_gives_one_line_too():
    assert first_line(ValueError("\n two lines \nof it")) == "two lines "
    assert first_line(ValueError("")) == first_line(ValueError("\n")) == "ValueError"
