"""What the command line says of an error: one line, with the file's name first."""

import sys
from pathlib import Path

import pytest

from lh2face.cli import in_words, main


@pytest.mark.parametrize("name", ["absent", "a b\udcff"])
def test_what_the_system_refuses_begins_with_the_files_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        Path(name).read_bytes()
    assert in_words(error.value) == f"{name}: No such file or directory"


def test_other_errors_say_what_they_say():
    assert in_words(OSError("no such checkpoint")) == "no such checkpoint"
    assert in_words(ValueError("a: b")) == "a: b"


def test_a_folder_of_the_wrong_level_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").touch()
    photo = str(tmp_path / "photo.jpg")
    monkeypatch.setattr(sys, "argv", ["lh2face", "records", "image_folder", photo, "out"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"lh2face: {photo}: Not a directory\n"
