"""Each format, written by its own library, is read back and converted to training records."""

import csv
import io
import os
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet as pq

from lh2face.cli import main
from lh2face.data.datasets import RecordFaces
from lh2face.data.sources import CONVERTIBLE, LeftOut, SourceError, repeated

RNG = np.random.default_rng(0)
PEOPLE = ["n001", "n001", "b 7", "n001", "b 7"]
IMAGES = [
    cv2.imencode(".png", RNG.integers(0, 256, (20, 20, 3), np.uint8))[1].tobytes() for _ in PEOPLE
]
FACES = list(zip(PEOPLE, IMAGES, strict=True))


def write_image_folder(root):
    root = root / "people"
    root.mkdir()
    for i, (person, image) in enumerate(FACES):
        (root / person).mkdir(exist_ok=True)
        (root / person / f"{i}.png").write_bytes(image)
    return root


def write_magface_list(root):
    lines = []
    for i, (person, image) in enumerate(FACES):
        (root / f"{i}.png").write_bytes(image)
        lines.append(f"{i}.png 0 {person.replace(' ', '')}")
    (root / "train.list").write_text("\n".join(lines) + "\n")
    return root / "train.list"


def write_parquet(root, nested=True):
    images = [{"bytes": image, "path": None} for image in IMAGES] if nested else IMAGES
    half = len(images) // 2
    for name, part in (("0.parquet", slice(half)), ("1.parquet", slice(half, None))):
        table = pyarrow.table({"image": images[part], "label": PEOPLE[part]})
        pq.write_table(table, root / name)
    return root


def write_webdataset(root):
    import webdataset

    with webdataset.ShardWriter(str(root / "%d.tar"), maxcount=3, verbose=0) as shards:
        for i, (person, image) in enumerate(FACES):
            shards.write({"__key__": f"{i:04}", "png": image, "cls": person.encode()})
    return root


WRITERS = {
    "image_folder": write_image_folder,
    "magface_list": write_magface_list,
    "parquet": write_parquet,
    "webdataset": write_webdataset,
}


@pytest.mark.parametrize("source", CONVERTIBLE)
def test_every_format_is_read_back(tmp_path, source):
    found = list(CONVERTIBLE[source](WRITERS[source](tmp_path)))
    expected = [(person, image) for person, image in FACES]
    if source == "magface_list":
        expected = [(person.replace(" ", ""), image) for person, image in FACES]
    pairs = [(face.identity, face.encoded) for face in found]
    assert sorted(pairs) == sorted(expected)
    if source != "image_folder":
        assert pairs == expected


def test_parquet_with_plain_bytes_is_read(tmp_path):
    found = list(CONVERTIBLE["parquet"](write_parquet(tmp_path, nested=False)))
    assert [face.encoded for face in found] == IMAGES


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lh2face", "records", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_converted_records_are_a_training_set(monkeypatch, tmp_path):
    (tmp_path / "tar").mkdir()
    shards = write_webdataset(tmp_path / "tar")
    assert not run(monkeypatch, "webdataset", shards, tmp_path / "out")
    faces = RecordFaces(str(tmp_path / "out"), image_size=20)
    assert faces.num_classes == 2
    assert [faces[i]["label"] for i in range(5)] == [0, 0, 1, 0, 1]
    assert (tmp_path / "out" / "identities.csv").read_text() == "identity,class\nn001,0\nb 7,1\n"


def test_a_bad_image_is_skipped_and_listed(monkeypatch, tmp_path):
    root = write_image_folder(tmp_path)
    (root / "n001" / "bad.png").write_bytes(b"no image")
    (root / "n001" / "empty.png").touch()
    assert not run(monkeypatch, "image_folder", root, tmp_path / "out")
    assert len(RecordFaces(str(tmp_path / "out"))) == 5
    listed = (tmp_path / "out" / "failures.csv").read_text()
    assert "bad.png" in listed and "empty.png" in listed


def tar(path, members):
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("source", "make", "message"),
    [
        ("magface_list", lambda r: _text(r, "a.png 0\n"), r"list:1: expected path, x and identity"),
        ("magface_list", lambda r: _text(r, "a.png 0 1\n"), r"list:1: .*a\.png: No such file"),
        ("parquet", lambda r: _text(r, "junk"), "list: "),
        ("parquet", lambda r: r, r"there is no \*\.parquet"),
        (
            "parquet",
            lambda r: _table(r, {"image": [b"x"], "who": [1]}),
            "expected one of the columns",
        ),
        (
            "parquet",
            lambda r: _table(r, {"image": [None], "label": [1]}, pyarrow.binary()),
            "row 0",
        ),
        ("parquet", lambda r: _table(r, {"image": [{"path": "x"}], "label": [1]}), "without bytes"),
        (
            "webdataset",
            lambda r: tar(r / "a.tar", {"1.png": b"x"}),
            r"a\.tar: 1: expected an image",
        ),
        ("webdataset", lambda r: _text(r, "junk"), "list: "),
        ("webdataset", lambda r: r, r"there is no \*\.tar"),
        ("image_folder", lambda r: r, "no image in it can be used"),
    ],
)
def test_bad_sources_are_named(tmp_path, monkeypatch, capsys, source, make, message):
    (tmp_path / "in").mkdir()
    assert run(monkeypatch, source, make(tmp_path / "in"), tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    with pytest.raises(SourceError, match=message):
        raise SourceError(error)
    assert not (tmp_path / "out").exists()


def _text(root, text):
    (root / "list").write_text(text)
    return root / "list"


def _table(root, columns, image_type=None):
    table = pyarrow.table(columns)
    if image_type is not None:
        table = table.set_column(0, "image", table["image"].cast(image_type))
    pq.write_table(table, root / "a.parquet")
    return root


def test_a_tar_cannot_name_a_command(tmp_path):
    victim = tmp_path / "victim"
    name = f"pipe:touch {victim}"
    with pytest.raises(SourceError):
        list(CONVERTIBLE["webdataset"](tmp_path / name))
    assert not victim.exists()


def listed(out):
    """Return the reasons of a conversion's failures by file."""
    with (out / "failures.csv").open(encoding="utf-8") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


def identities(out):
    lines = (out / "identities.csv").read_text("utf-8").splitlines()
    return [line.partition(",")[0] for line in lines[1:]]


def test_every_picture_of_a_folder_is_used_or_listed(monkeypatch, tmp_path):
    (tmp_path / "in").mkdir()
    root = write_image_folder(tmp_path / "in")
    for name in (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX"):
        (root / name / "x").mkdir(parents=True)
        (root / name / "x" / "0.png").write_bytes(IMAGES[0])
    (root / ".git").mkdir()
    (root / ".git" / "config").touch()
    (root / "n001" / "session" / ".thumbnails").mkdir(parents=True)
    (root / "n001" / ".thumbnails").mkdir()
    for name in (
        "beside.jpg", "n001/session/deep.JPG", "n001/session/.thumbnails/t.png",
        "n001/.thumbnails/t.png", "n001/._0.png",
    ):  # fmt: skip
        (root / name).write_bytes(IMAGES[0])
    for name in ("README.md", "n001/.DS_Store", "n001/Thumbs.db", "n001/session/notes.txt"):
        (root / name).write_text("no picture")
    (root / "gone.png").symlink_to("/nowhere/gone.png")
    (root / "n001" / "gone.png").symlink_to("/nowhere/gone.png")
    (root / "gone").symlink_to("/nowhere/gone")
    (root / "a link").symlink_to("n001")
    os.mkfifo(root / "n001" / "pipe.png")
    assert not run(monkeypatch, "image_folder", root, tmp_path / "out")
    assert identities(tmp_path / "out") == ["b 7", "n001"]
    assert len(RecordFaces(str(tmp_path / "out"))) == 5
    found = {file.removeprefix(f"{root}/"): why for file, why in listed(tmp_path / "out").items()}
    hidden, below = (
        "a hidden folder is not used as a person (1 pictures in it)",
        "in a folder below",
    )
    assert {file: reason[: len(below)] for file, reason in found.items()} == {
        **{name: hidden[: len(below)] for name in
           (".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", "n001/.thumbnails")},
        "beside.jpg": "beside the people", "gone.png": "beside the people", "gone": "a broken link",
        "n001/session/deep.JPG": below, "n001/session/.thumbnails/t.png": below,
        "n001/._0.png": "a hidden file", "n001/gone.png": "No such file or d",
        "n001/pipe.png": "not a regular fil", "a link": "the same folder a",
    }  # fmt: skip


LIST_FORMS = {
    "plain": "{} 0 {}\n",
    "tabs": "{}\t0\t{}\n",
    "Windows": "{} 0 {}\r\n",
    "more columns": "{} 0 {} 5 7\n",
    "wide": "{}   0  {} \n",
    "blank lines": "\n{} 0 {}\n  \n",
}


@pytest.mark.parametrize("form", LIST_FORMS)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "mark"])
def test_lists_are_read_as_editors_save_them(tmp_path, form, mark):
    (tmp_path / "0.png").write_bytes(IMAGES[0])
    (tmp_path / "1.png").write_bytes(IMAGES[1])
    rows = [LIST_FORMS[form].format(f"{i}.png", who) for i, who in enumerate("ab")]
    (tmp_path / "list").write_bytes((mark + "".join(rows)).encode())
    found = list(CONVERTIBLE["magface_list"](tmp_path / "list"))
    assert [(face.identity, face.encoded) for face in found] == [("a", IMAGES[0]), ("b", IMAGES[1])]


@pytest.mark.parametrize("name", ["my photos/1 2.png", "tab\there/0.png", "ä/\u3000.png"])
def test_a_list_may_name_any_path(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(IMAGES[0])
    (tmp_path / "list").write_text(f"{name} 0 who\n{tmp_path / name} 0 who\n", "utf-8")
    found = list(CONVERTIBLE["magface_list"](tmp_path / "list"))
    assert [(face.identity, face.encoded) for face in found] == [("who", IMAGES[0])] * 2


@pytest.mark.timeout(60)
def test_bad_lines_of_a_list_are_reported(monkeypatch, tmp_path):
    for i, image in enumerate(IMAGES):
        (tmp_path / f"{i}.png").write_bytes(image)
    other = cv2.imencode(".png", np.zeros((30, 20, 3), np.uint8))[1].tobytes()
    (tmp_path / "other.png").write_bytes(other)
    (tmp_path / "cut.png").write_bytes(IMAGES[0][:-30])
    os.mkfifo(tmp_path / "pipe")
    lines = [
        "0.png 0 a", "absent.png 0 a", "", "1.png", "other.png 0 b", "1.png 0 a", "cut.png 0 a",
        "pipe 0 a", "/dev/zero 0 a", ". 0 a", "a\0b 0 a", "2.png 0 c",
    ]  # fmt: skip
    (tmp_path / "list").write_text("\n".join(lines))
    assert not run(monkeypatch, "magface_list", tmp_path / "list", tmp_path / "out")
    faces = RecordFaces(str(tmp_path / "out"), image_size=20)
    assert [faces[i]["label"] for i in range(len(faces))] == [0, 0, 1]
    assert (tmp_path / "out" / "property").read_text() == "2,20,20\n"
    found = {}
    for where, reason in listed(tmp_path / "out").items():
        found[int(where.removeprefix(f"{tmp_path / 'list'}:").partition(":")[0])] = reason
    assert list(found) == [2, 4, 5, 7, 8, 9, 10, 11]
    for line, message in {
        2: "No such file", 4: "expected path, x and identity, found '1.png'",
        5: "20 × 30 px, not 20 × 20 px as the first image", 7: "damaged or cut short",
        8: "not a regular file", 9: "not a regular file", 11: "null byte",
    }.items():  # fmt: skip
        assert message in found[line]


def test_a_first_image_of_an_unusual_size_stops_the_conversion(monkeypatch, tmp_path, capsys):
    root = tmp_path / "in"
    root.mkdir()
    root = write_image_folder(root)
    other = cv2.imencode(".png", np.zeros((30, 20, 3), np.uint8))[1].tobytes()
    (root / "a").mkdir()
    (root / "a" / "0.png").write_bytes(other)
    assert run(monkeypatch, "image_folder", root, tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert "a/0.png: the first image has 20 × 30 px (1 images in all), but 20 × 20 px" in message
    assert not (tmp_path / "out").exists()


def test_a_list_with_an_endless_line_is_refused(tmp_path):
    with (tmp_path / "list").open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(SourceError, match="list:1: the line has 8192"):
        list(CONVERTIBLE["magface_list"](tmp_path / "list"))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("source", ["magface_list", "parquet", "webdataset"])
def test_a_pipe_is_refused(tmp_path, source):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe: not a regular file"):
        list(CONVERTIBLE[source](tmp_path / "pipe"))


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}], ids=["UTF-8", "ASCII"])
def test_file_names_of_any_bytes_are_converted(tmp_path, locale):
    """Neither a name nor a locale that is not UTF-8 makes a conversion fail."""
    for name in map(os.fsdecode, (b"\xe4", "ä".encode(), b"n")):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / f"{name}.png").write_bytes(IMAGES[0])
        (tmp_path / "in" / name / f"{name}0.png").write_bytes(b"no picture")
    script = f"""
from pathlib import Path
from lh2face.tools.records import run
run("image_folder", Path({str(tmp_path / "in")!r}), Path({str(tmp_path / "out")!r}))
"""
    # Python would switch a C locale to UTF-8.
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **plain, **locale},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = identities(tmp_path / "out")
    assert len(set(names)) == 3 and "n" in names and r"\udce4" in names
    assert len(listed(tmp_path / "out")) == 3


def test_concatenated_tars_are_read_to_the_end(tmp_path):
    shards = write_webdataset(tmp_path)
    parts = [path.read_bytes() for path in sorted(shards.glob("*.tar"))]
    (tmp_path / "joined").write_bytes(b"".join(parts))
    found = list(CONVERTIBLE["webdataset"](tmp_path / "joined"))
    assert [(face.identity, face.encoded) for face in found] == FACES
    # A name that comes again begins another sample.
    (tmp_path / "joined").write_bytes(parts[1] + parts[1])
    assert len(list(CONVERTIBLE["webdataset"](tmp_path / "joined"))) == 4


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="this system cannot find holes in files")
def test_holes_of_a_sparse_tar_are_skipped(tmp_path):
    """A file of 64 GB takes a few kB of disk: after a tar come zeros, and then another tar."""
    path = tar(tmp_path / "a.tar", {"1.png": IMAGES[0], "1.cls": b"a"})
    second = tar(tmp_path / "b", {"2.png": IMAGES[1], "2.cls": b"b"})
    os.truncate(path, 64 << 30)
    assert len(list(CONVERTIBLE["webdataset"](path))) == 1
    with path.open("r+b") as file:
        file.seek(32 << 30)
        file.write(second.read_bytes())
    assert [face.identity for face in CONVERTIBLE["webdataset"](path)] == ["a", "b"]


def test_damaged_tars_are_named(tmp_path):
    """Wherever a block is lost, cut or overwritten, all samples come out, or an error."""
    path = tar(
        tmp_path / "a.tar",
        {f"{i}.{kind}": image for i, image in enumerate(IMAGES) for kind in ("png", "cls")},
    )
    raw = path.read_bytes()
    end = len(raw.rstrip(b"\0"))
    for at in range(0, end, 512):
        for damaged in (
            raw[:at],
            raw[:at] + raw[at + 512 :],
            raw[:at] + b"x" * 512 + raw[at + 512 :],
        ):
            path.write_bytes(damaged)
            try:
                found = list(CONVERTIBLE["webdataset"](path))
            except SourceError as error:
                assert str(path) in str(error)
            else:
                # A file that ends after a whole member does not show that more followed.
                assert len(found) == len(IMAGES) or len(damaged) <= at


def test_sparse_members_of_a_huge_size_are_left_out(tmp_path):
    """A sparse member of GNU tar can claim gigabytes in a few hundred bytes."""
    info = tarfile.TarInfo("2.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (100 << 20, 0)
    header[483:495] = b"%011o\0" % (100 << 20)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tar(tmp_path / "a.tar", {"1.png": IMAGES[0], "1.cls": b"a"})
    rest = tar(tmp_path / "b.tar", {"2.cls": b"a", "3.png": IMAGES[1], "3.cls": b"b"})
    end = len(path.read_bytes().rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(path.read_bytes()[:end] + header + rest.read_bytes())
    found = list(CONVERTIBLE["webdataset"](path))
    assert [type(face) is LeftOut for face in found] == [False, True, False]
    assert found[1].where.endswith("a.tar: 2") and "found ['cls', 'png']" in found[1].reason


def test_a_sample_with_a_repeated_member_is_left_out(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for name, content in (("1.png", b"x"), ("1.png", b"y"), ("1.cls", b"a")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    assert "each once" in next(CONVERTIBLE["webdataset"](path)).reason


def test_parquet_rows_without_a_face_are_left_out(tmp_path):
    root = _table(tmp_path, {"image": [IMAGES[0], None, IMAGES[1]], "label": ["a", "b", None]})
    found = list(CONVERTIBLE["parquet"](root))
    assert [type(face) is LeftOut for face in found] == [False, True, True]
    assert found[1].where.endswith("a.parquet: row 1")


def test_equal_files_of_a_person_count_once_and_of_two_people_never():
    files = {"a/1": 1, "a/2": 2, "a/3": 1, "b/1": 3, "b/2": 3, "c/1": 4, "d/1": 3, "c/2": 1}
    digests = {Path(file): bytes([content]) for file, content in files.items()}
    reasons = {where: reason.split()[-1] for where, reason in repeated(digests)}
    assert reasons == {
        "a/1": "c/2", "a/3": "c/2", "c/2": "a/1", "b/1": "d/1", "b/2": "d/1", "d/1": "b/1"
    }  # fmt: skip
    assert repeated({Path("a/1"): b"x", Path("a/2"): b"x", Path("a/3"): b"y"}) == [
        LeftOut("a/2", "the same file as 1")
    ]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("nested", [False, True], ids=["plain", "struct"])
def test_a_dictionary_of_large_images_takes_the_memory_of_one(tmp_path, nested):
    large = pyarrow.array([b"\0" * (1 << 24)] * 64)
    column = pyarrow.StructArray.from_arrays([large], ["bytes"]) if nested else large
    pq.write_table(
        pyarrow.table({"image": column, "label": list(range(64))}), tmp_path / "a.parquet"
    )
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 22
    code = """
        import re, sys
        from pathlib import Path
        from lh2face.data.sources import parquet
        # Not ru_maxrss, which a process takes over from the one that started it.
        def peak():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        list(parquet(Path(sys.argv[1]).parent / "small"))
        before = peak()
        assert sum(len(face.encoded) == 1 << 24 for face in parquet(Path(sys.argv[1]))) == 64
        print((peak() - before) >> 10)
    """
    (tmp_path / "small").mkdir()
    pq.write_table(pyarrow.table({"image": [b"x"], "label": [0]}), tmp_path / "small" / "a.parquet")
    command = [sys.executable, "-c", textwrap.dedent(code), tmp_path / "a.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Decoded, the rows of one batch would take 512 MiB.
    assert done.returncode == 0 and int(done.stdout) < 200, done.stdout + done.stderr


def test_a_name_too_long_for_the_file_system_is_skipped(tmp_path):
    root = write_image_folder(tmp_path)
    photo = next(root.rglob("*.png")).relative_to(tmp_path)
    lines = [f"{photo} 0 1".replace("my ", "my\\ "), f"{5000 * 'x'}.png 0 1"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = list(CONVERTIBLE["magface_list"](tmp_path / "list.txt"))
    assert len(found) == 2 and isinstance(found[1], LeftOut)
    assert found[1].reason == "File name too long" and len(found[1].where) < 1000
