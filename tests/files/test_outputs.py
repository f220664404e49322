"""Outputs are complete or absent, and no file of the user is lost."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lh2face.files import outputs
from lh2face.files.outputs import (
    MANIFEST,
    OutputError,
    atomic_dir,
    atomic_file,
    atomic_files,
    check_output,
    exclusive,
)

# A folder is put in place in one step, or in two where the system cannot do it in one.
pytestmark = pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "rename"])


@pytest.fixture(autouse=True)
def way(exchange, monkeypatch):
    if not exchange:
        monkeypatch.setattr(outputs, "_exchange", lambda first, second: False)


def write(path: Path, text: str = "made", **inputs) -> None:
    with atomic_dir(path, **inputs) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_output_of_the_program_is_replaced_and_no_file_stays_beside_it(tmp_path):
    write(tmp_path / "out", "one")
    with atomic_dir(tmp_path / "out") as folder:
        (folder / "b.txt").write_text("two")
    assert below(tmp_path) == {"out/b.txt", f"out/{MANIFEST}"}
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["files"] == {"b.txt": 3}


@pytest.mark.parametrize("name", ["photo.jpg", "sub/photo.jpg", ".hidden", "sub/link"])
def test_a_folder_with_a_file_of_the_user_is_refused(tmp_path, name):
    write(tmp_path / "out")
    path = tmp_path / "out" / name
    if name.endswith("link"):
        path.symlink_to(tmp_path)
    else:
        path.write_text("mine")
    with pytest.raises(OutputError, match=name):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "sub" / "a.txt").read_text() == "made"
    assert path.exists()
    assert entries(tmp_path) == ["out"]


def test_a_file_that_was_changed_later_counts_as_the_users(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "out" / "sub" / "a.txt").write_text("longer than before")
    with pytest.raises(OutputError, match=r"sub/a\.txt"):
        write(tmp_path / "out")


def test_a_file_that_appears_during_the_work_is_kept(tmp_path):
    write(tmp_path / "out")
    with pytest.raises(OutputError, match=r"note\.txt"), atomic_dir(tmp_path / "out"):
        (tmp_path / "out" / "note.txt").write_text("mine")
    assert (tmp_path / "out" / "note.txt").read_text() == "mine"
    assert (tmp_path / "out" / "sub" / "a.txt").exists()


@pytest.mark.parametrize("manifest", ["", "[]", "{", '{"files": 3}', '{"files": {"a": "3"}}'])
def test_with_a_damaged_manifest_all_files_count_as_the_users(tmp_path, manifest):
    (tmp_path / "a").write_text("abc")
    (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(OutputError, match="holds a,"):
        check_output(tmp_path)


def test_files_of_operating_systems_and_dvcs_gitignore_are_tolerated(tmp_path):
    write(tmp_path / "out")
    for name in (".gitignore", ".snakemake_timestamp", ".DS_Store"):
        (tmp_path / "out" / name).write_text(name)
    write(tmp_path / "out", "new")
    assert (tmp_path / "out" / ".gitignore").read_text() == ".gitignore"
    assert (tmp_path / "out" / "sub" / "a.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("out", "given"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a", "a/b/c.txt"), ("l", "a/b")]
)
def test_an_output_that_overlaps_an_input_is_refused(tmp_path, out, given):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("mine")
    (tmp_path / "l").symlink_to("a")
    with pytest.raises(OutputError, match="the input"):
        write(tmp_path / out, inputs=[None, tmp_path / given])
    assert below(tmp_path) == {"a/b/c.txt"}


def test_a_relative_input_above_the_output_is_refused(tmp_path, monkeypatch):
    (tmp_path / "e" / "photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "e")
    with pytest.raises(OutputError, match="holds the input"):
        write(Path(".."), inputs=[Path("photos")])


def test_a_common_prefix_of_names_is_no_overlap(tmp_path):
    (tmp_path / "train_raw").mkdir()
    write(tmp_path / "train", inputs=[tmp_path / "train_raw"])


@pytest.mark.parametrize("there", [True, False], ids=["folder", "nothing yet"])
def test_an_output_through_a_link_is_written_to_its_target(tmp_path, there):
    (tmp_path / "disk").mkdir()
    if there:
        (tmp_path / "disk" / "train").mkdir()
    (tmp_path / "train").symlink_to(tmp_path / "disk" / "train")
    write(tmp_path / "train")
    write(tmp_path / "train")
    assert (tmp_path / "train").is_symlink()
    assert entries(tmp_path) == ["disk", "train"]
    assert below(tmp_path / "disk") == {"train/sub/a.txt", f"train/{MANIFEST}"}


def test_circular_links_give_an_error_in_words(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="a"):
        write(tmp_path / "a")


def test_a_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").write_text("mine")
    for path in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(OutputError, match="out: is a file"), atomic_dir(path):
            pytest.fail("the block ran")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_failure_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path / "out")
    with pytest.raises(RuntimeError), atomic_dir(tmp_path / "out") as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert below(tmp_path) == {"out/sub/a.txt", f"out/{MANIFEST}"}
    assert entries(tmp_path) == ["out"]


@pytest.mark.parametrize("write_into", [atomic_dir, atomic_file])
def test_a_failure_removes_the_folders_made_for_the_output(tmp_path, write_into):
    (tmp_path / "made").mkdir()
    with pytest.raises(RuntimeError), write_into(tmp_path / "made" / "a" / "b" / "out"):
        raise RuntimeError
    assert entries(tmp_path) == ["made"] and entries(tmp_path / "made") == []
    with pytest.raises(RuntimeError), write_into(tmp_path / "made" / "a" / "b" / "out"):
        (tmp_path / "made" / "a" / "of another process").touch()
        raise RuntimeError
    assert entries(tmp_path / "made" / "a") == ["of another process"]


def test_a_write_that_fails_without_a_name_names_the_output(tmp_path):
    """For a full disk, Python's own error names no file."""
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*/out'") as raised,
        atomic_dir(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.errno == errno.ENOSPC and entries(tmp_path) == []


def test_several_folders_are_written_beside_folders_of_the_user(tmp_path):
    (tmp_path / "raw" / "photos").mkdir(parents=True)
    (tmp_path / "raw" / "photos" / "a.jpg").write_text("mine")
    for text in ("one", "two"):
        given = [tmp_path / "raw" / "photos"]
        for name in ("train", "benchmark"):
            with atomic_dir(tmp_path / "raw" / name, given) as folder:
                (folder / "x").write_text(text)
        assert (tmp_path / "raw" / "benchmark" / "x").read_text() == text
    assert entries(tmp_path / "raw") == ["benchmark", "photos", "train"]


def test_two_writers_of_one_output_exclude_each_other(tmp_path):
    with (
        atomic_dir(tmp_path / "out") as folder,
        pytest.raises(OutputError, match=rf"out: process {os.getpid()} on .* works here already"),
    ):
        (folder / "a").write_text("first")
        write(tmp_path / "out")
    assert below(tmp_path) == {"out/a", f"out/{MANIFEST}"}


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".out.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.out\.lock"):
        write(tmp_path / "out")
    assert (tmp_path / "precious").read_text() == "mine"


KILLED = """
import os, sys
from pathlib import Path
from lh2face.files import outputs
real = outputs._exchange
def killed(first, second):
    at, exchange = sys.argv[2:]
    if exchange == "False":
        second.replace(first.with_name(f"old-{second.name}"))
    elif at == "after":
        real(first, second)
    os._exit(9)
outputs._exchange = killed
with outputs.atomic_dir(Path(sys.argv[1])) as folder:
    (folder / "new").write_text("new")
"""


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_kill_during_the_change_over_leaves_a_complete_folder(tmp_path, at, exchange):
    write(tmp_path / "out")
    code = [sys.executable, "-c", KILLED, tmp_path / "out", at, str(exchange)]
    assert subprocess.run(code, check=False).returncode == 9
    if exchange:
        assert below(tmp_path / "out") in ({"new", MANIFEST}, {"sub/a.txt", MANIFEST})
    # The next run restores the old folder, even if it fails itself.
    with pytest.raises(RuntimeError), atomic_dir(tmp_path / "out"):
        assert (tmp_path / "out").exists()
        raise RuntimeError
    expected = "new" if exchange and at == "after" else "sub/a.txt"
    assert below(tmp_path) == {f"out/{expected}", f"out/{MANIFEST}"}


def test_a_kill_between_two_renames_loses_none_of_several_folders(tmp_path):
    left = tmp_path / ".train.0123456789abcdef.partial"
    for name in ("old-train", "old-benchmark"):
        (left / name).mkdir(parents=True)
        (left / name / "a").write_text("made")
    (left / MANIFEST).write_text('{"files": {}}')
    with pytest.raises(RuntimeError), atomic_dir(tmp_path / "train"):
        raise RuntimeError
    assert below(tmp_path) == {"train/a", "benchmark/a"}


def test_only_leftovers_of_this_output_are_removed(tmp_path):
    (tmp_path / ".out.mine.partial").mkdir()
    (tmp_path / ".out.mine.partial" / "precious").write_text("mine")
    stale = tmp_path / ".out.0123456789abcdef.partial"
    stale.mkdir()
    (stale / MANIFEST).write_text('{"files": {}}')
    write(tmp_path / "out")
    assert entries(tmp_path) == [".out.mine.partial", "out"]


def test_a_file_is_replaced_in_one_step_and_keeps_its_mode(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("old")
    path.chmod(0o640)
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomic_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert entries(tmp_path) == ["params.yaml"]


def test_outputs_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_dir(tmp_path / "dir") as folder:
            (folder / "a").write_text("a")
        with atomic_files(tmp_path / "files", ["b"]) as folder:
            (folder / "b").write_text("b")
        with atomic_file(tmp_path / "c") as partial:
            partial.write_text("c")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert {modes[name] for name in ("a", "b", "c", ".lh2face.json")} == {0o640}
    assert {modes[name] for name in ("dir", "files")} == {0o750}


def test_files_beside_the_users_replace_only_the_programs_own(tmp_path):
    (tmp_path / "notes.md").write_text("mine")

    def export(name: str, *inputs: Path) -> None:
        with atomic_files(tmp_path, [f"{name}.onnx", f"{name}.md"], inputs) as folder:
            for kind in ("onnx", "md"):
                (folder / f"{name}.{kind}").write_text(name)

    with pytest.raises(OutputError, match=r"notes\.md: exists"):
        export("notes")
    export("model")
    export("model")
    with pytest.raises(OutputError, match=r"model\.md: is an input"):
        export("model", tmp_path / "model.md")
    (tmp_path / "model.md").write_text("written over by the user")
    with pytest.raises(OutputError, match=r"model\.md: exists"):
        export("model")
    assert entries(tmp_path) == [MANIFEST, "model.md", "model.onnx", "notes.md"]
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    with (
        exclusive(tmp_path / "work"),
        pytest.raises(ValueError, match="works here already"),
        exclusive(tmp_path / "work"),
    ):
        pytest.fail("two at once")
    with exclusive(tmp_path / "work"):
        pass
