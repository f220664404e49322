"""A benchmark folder is read back as it was written; a damaged one is named."""

import numpy as np
import pytest

from lh2face.data.benchmark import read_benchmark, write_benchmark
from lh2face.data.ijb_meta import write_meta
from lh2face.data.paths import below, inside
from lh2face.data.template_lists import benchmark_meta

NAMES = [f"ñ {i}.png" for i in range(6)]
PAIRS = [(NAMES[0], NAMES[1], 1, 3), (NAMES[5], NAMES[2], 0, 4)]


def write(folder, images=None, pairs=PAIRS, lists=None):
    folder.mkdir()
    write_benchmark(folder, "photos", images or {"name": NAMES}, {"ab": pairs}, lists)
    return folder


def write_lists(folder, names):
    ids = np.arange(1, len(names) + 1)
    meta = benchmark_meta(
        names, np.zeros((len(names), 5, 2), np.float32), np.ones(len(names), np.float32), ids, ids,
        subjects=np.arange(len(names)) // 2, rng=np.random.default_rng(0),
    )  # fmt: skip
    write_meta(folder, "ijbx", meta)


def test_a_benchmark_is_read_back_as_it_was_written(tmp_path):
    columns = {"name": NAMES, "identity": range(6), "kind": ["a"] * 6, "yaw": [0.5] * 6}
    made = read_benchmark(write(tmp_path / "it", columns))
    assert made.names == NAMES and made.origin == "photos" and made.templates is None
    assert made.knows("identity", "kind", "yaw") and not made.knows("quality")
    assert made.images["identity"].tolist() == list(range(6))
    assert made.people == 6
    (listed,) = made.pairs.values()
    assert (listed.first.tolist(), listed.second.tolist()) == ([0, 5], [1, 2])
    assert (listed.same.tolist(), listed.fold.tolist()) == ([True, False], [3, 4])


def test_lists_are_read_from_the_folder_or_from_elsewhere(tmp_path):
    names = [f"{i}.png" for i in range(6)]
    write_lists(tmp_path / "elsewhere", names)
    for number, root in enumerate((str(tmp_path / "elsewhere"), "../elsewhere")):
        folder = write(tmp_path / f"{number}", {"name": names}, [], (root, "ijbx"))
        found = read_benchmark(folder)
        assert found.templates.names == names and found.people == 3
    assert read_benchmark(write(tmp_path / "pairs")).people is None
    folder = write(tmp_path / "other", {"name": names[::-1]}, [], (root, "ijbx"))
    with pytest.raises(
        ValueError, match=r"images\.csv: its images differ from those of the lists ijbx_\* in"
    ):
        read_benchmark(folder).templates  # noqa: B018


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("benchmark.json", "{", r"benchmark\.json: not valid JSON"),
        ("benchmark.json", '{"origin": 3, "lists": null}', r"json: expected origin and lists"),
        ("benchmark.json", '{"origin": "a", "lists": ["b"]}', r"json: expected origin and lists"),
        ("images.csv", "name\n", r"images\.csv: names no image"),
        ("images.csv", "name\na\nb\na\n", r"images\.csv: names a twice"),
        ("images.csv", "name,identity\na,x\n", r"images\.csv:2: .*'x'"),
        ("pairs/ab.csv", "first,second,same\na,b,1\n", r"ab\.csv: there is no image a"),
        ("pairs/ab.csv", "first,second,same\n", r"ab\.csv: names no pair"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, text, message):
    folder = write(tmp_path / "it")
    (folder / file).write_text(text)

    def read():
        made = read_benchmark(folder)
        return made.pairs, made.templates

    with pytest.raises(ValueError, match=message):
        read()


def test_a_folder_without_a_benchmark_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"benchmark\.json: no such file"):
        read_benchmark(tmp_path)


def test_names_that_leave_the_folder_are_refused(tmp_path):
    assert below(tmp_path, "a/../b.csv") == tmp_path / "b.csv"
    for name in ("../b.csv", "/etc/passwd", "a/../../b"):
        with pytest.raises(ValueError, match="leads out of"):
            below(tmp_path, name)
    (tmp_path / "root").mkdir()
    (tmp_path / "b.csv").touch()
    (tmp_path / "root" / "link.csv").symlink_to(tmp_path / "b.csv")
    with pytest.raises(ValueError, match=r"landmarks: link\.csv is not in"):
        inside(tmp_path / "root", "link.csv", "landmarks")
