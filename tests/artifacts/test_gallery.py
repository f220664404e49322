"""A gallery is read back as it was written; a damaged one and one of another model are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lh2face.artifacts import gallery as artifact
from lh2face.artifacts.gallery import RECORD, TEMPLATES, Gallery, read_gallery, write_gallery
from lh2face.files.digests import digest

KAPPA = {"mean": 2.0, "std": 1.0, "p5": 0.5}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A gallery of three people, one of whose names is not UTF-8."""
    monkeypatch.setattr(artifact, "model_digest", str)
    people = {"b": 2, "caf\udce9": 1, "a\n": 5}
    write_gallery(tmp_path, Gallery(people, KAPPA, np.eye(3, 4), np.array([0.25, -1])), Path("m"))
    return tmp_path


def test_a_gallery_is_read_back_as_it_was_written(folder):
    found = read_gallery(folder, Path("m"))
    assert list(found.people.items()) == [("b", 2), ("caf\udce9", 1), ("a\n", 5)]
    assert found.kappa == KAPPA
    np.testing.assert_array_equal(found.templates, np.eye(3, 4))
    np.testing.assert_array_equal(found.non_mated, [0.25, -1])


def test_a_gallery_of_another_model_is_refused(folder):
    with pytest.raises(
        ValueError, match=r"gallery\.json: .* another model: its weights have the digest m, those"
    ):
        read_gallery(folder, Path("other"))


@pytest.mark.parametrize("key", ["model", "templates", "people", "kappa"])
@pytest.mark.parametrize("value", [None, 3, [1], "x", {"p5": float("nan")}, {"p5": 10**400}])
def test_a_damaged_record_is_refused(folder, key, value):
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {key: value}))
    with pytest.raises(ValueError, match=r"enrol the people again|another model") as error:
        read_gallery(folder, Path("m"))
    assert str(error.value).startswith(str(folder)) and "\n" not in str(error.value)
    del record[key]
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"gallery\.json: expected model, templates, people and"):
        read_gallery(folder, Path("m"))


def test_templates_of_another_enrolment_are_refused(folder):
    """The number of people is the same: only the digest shows that the names are of others."""
    arrays = {"templates": np.eye(3, 4)[::-1].copy(), "non_mated": np.array([0.25, -1])}
    save_file(arrays, folder / TEMPLATES)
    with pytest.raises(ValueError, match=r"templates\.safetensors: damaged, or not the file"):
        read_gallery(folder, Path("m"))


@pytest.mark.parametrize(
    "arrays",
    [
        {"templates": np.eye(3, 4)},
        {"templates": np.eye(2, 4), "non_mated": np.zeros(2)},
        {"templates": np.ones(3), "non_mated": np.zeros(2)},
        {"templates": np.eye(3, 4) * np.nan, "non_mated": np.zeros(2)},
        {"templates": np.zeros((3, 4)), "non_mated": np.zeros(2)},
        {"templates": np.eye(1, 4), "non_mated": np.zeros(2)},
    ],
)
def test_templates_of_a_wrong_shape_are_refused(folder, arrays):
    """They are refused even if the record holds the file's digest."""
    save_file(arrays, folder / TEMPLATES)
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"templates": digest(folder / TEMPLATES)}))
    with pytest.raises(ValueError, match=r"templates\.safetensors: damaged"):
        read_gallery(folder, Path("m"))


@pytest.mark.parametrize("content", [b"", b"text", bytes(100)])
@pytest.mark.parametrize("name", [RECORD, TEMPLATES])
def test_a_damaged_or_missing_file_is_refused(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        read_gallery(folder, Path("m"))
    (folder / name).unlink()
    with pytest.raises(
        ValueError, match=f"{name}: no such file; expected a folder of lh2face enro"
    ):
        read_gallery(folder, Path("m"))
