"""The template of the report's page is part of the package."""

import pytest
from jinja2 import UndefinedError

from lh2face.report.page import rendered


def test_the_template_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UndefinedError, match="is undefined"):
        rendered()
