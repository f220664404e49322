"""The command line prints an error as one line that begins with the name of the file."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from lh2face.cli import main, message_of


@pytest.mark.parametrize("name", ["absent", "a b\udcff"])
def test_an_error_of_the_system_begins_with_the_files_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        Path(name).read_bytes()
    assert message_of(error.value) == f"{name}: No such file or directory"


def test_other_errors_keep_their_text():
    assert message_of(OSError("no such checkpoint")) == "no such checkpoint"
    assert message_of(ValueError("a: b")) == "a: b"


def test_a_file_instead_of_a_folder_gives_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").touch()
    photo = str(tmp_path / "photo.jpg")
    monkeypatch.setattr(sys, "argv", ["lh2face", "records", "image_folder", photo, "out"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"lh2face: {photo}: Not a directory\n"


def test_the_module_runs_as_a_command_and_prints_its_version():
    said = subprocess.run(
        [sys.executable, "-m", "lh2face", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"lh2face {version('lh2face')}\n"


def test_shell_completion_lists_commands():
    asked = {
        "_LH2FACE_COMPLETE": "complete_bash", "COMP_WORDS": "lh2face eval", "COMP_CWORD": "1"
    }  # fmt: skip
    begin = "import sys; sys.argv = ['lh2face']; from lh2face.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", begin], env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert said.stdout.split() == ["evaluate", "evaluate-ijb", "evaluate-bins"]


def run(monkeypatch, capsys, *words) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["lh2face", *map(str, words)])
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Photos of two people, two each; the environment is restored afterwards."""
    import cv2
    import numpy as np

    for name in ("LH2FACE_QUIET", "LH2FACE_VERBOSE"):
        monkeypatch.setenv(name, "")
    for number in range(4):
        path = tmp_path / "photos" / str(number // 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((112, 112, 3), 50 * number, np.uint8))
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_quiet_shows_no_progress(photos, monkeypatch, capsys, options):
    words = ("records", "image_folder", photos / "photos", photos / "out")
    said, errors = run(monkeypatch, capsys, *options, *words)
    assert (photos / "out" / "train.rec").exists() and errors == ""
    assert ("images: 4" in said) == (not options)


@pytest.mark.parametrize("options", [[], ["--verbose"]])
def test_verbose_prints_the_traceback_of_an_error(photos, monkeypatch, capsys, options):
    _, errors = run(monkeypatch, capsys, *options, "info", photos)
    assert errors.splitlines()[-1].startswith(f"lh2face: {photos}")
    assert ("Traceback" in errors) == bool(options) and ("\n" in errors[:-1]) == bool(options)


def test_without_onnx_the_export_gives_one_line(photos, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    _, errors = run(monkeypatch, capsys, "export-onnx", photos, photos / "m.onnx")
    assert errors.startswith("lh2face: ") and errors.count("\n") == 1
    assert "onnx" in errors and "lh2face doctor" in errors
    assert not (photos / "m.onnx").exists()
