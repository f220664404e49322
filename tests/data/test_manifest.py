"""The manifest of training faces is read back as it was written; bad ones are named."""

import json
import os
from dataclasses import asdict, replace

import pytest

from lh2face.data.manifest import (
    MANIFEST,
    UNKNOWN,
    Manifest,
    ManifestError,
    face_folders,
    origin_of,
    read_manifest,
    records_of,
    write_manifest,
)

GOOD = Manifest("photos", "/data/ms1mv3", True, 12, 3, 1, "12 images", "0" * 64)


def test_a_manifest_is_read_back_as_it_was_written(tmp_path):
    for name in ("/data/ms1mv3", ".", "fotos/Äpfel", os.fsdecode(b"n\xe4me")):
        written = replace(GOOD, records=name)
        write_manifest(tmp_path, written)
        assert read_manifest(tmp_path) == written


def test_the_path_of_the_records_is_resolved(tmp_path):
    assert records_of(tmp_path, replace(GOOD, records=".")) == tmp_path
    assert str(records_of(tmp_path, replace(GOOD, records="data/x"))) == "data/x"
    assert str(records_of(tmp_path, GOOD)) == "/data/ms1mv3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": "film"}, "origin: expected synthetic or photos, found 'film'"),
        ({"origin": ["photos"]}, r"origin: expected synthetic or photos, found \['photos'\]"),
        ({"images": 0}, "images: expected at least 1, found 0"),
        ({"identities": -1}, "identities: expected at least 1, found -1"),
        ({"images": True}, "images: expected a whole number, found True"),
        ({"images": 3.0}, "images: expected a whole number, found 3.0"),
        ({"left_out": -1}, "left_out: expected at least 0"),
        ({"left_out": None}, "left_out: expected a whole number, found None"),
        ({"aligned": 1}, "aligned: expected true or false, found 1"),
        ({"aligned": "true"}, "aligned: expected true or false, found 'true'"),
        ({"records": ""}, "records: expected a folder, found ''"),
        ({"records": 3}, "records: expected text, found 3"),
        ({"layout": None}, "layout: expected text"),
        ({"digest": "0" * 63}, "digest: expected 64 hexadecimal digits"),
        ({"digest": "0" * 64 + "\n"}, "digest: expected 64 hexadecimal digits"),
        ({"code": "x"}, "'code': unknown; allowed are origin, records"),
    ],
)
def test_a_bad_value_is_named(tmp_path, change, message):
    (tmp_path / MANIFEST).write_text(json.dumps({**asdict(GOOD), **change}))
    with pytest.raises(ManifestError, match=rf"manifest\.json: {message}") as error:
        read_manifest(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("key", asdict(GOOD))
def test_a_missing_key_is_named(tmp_path, key):
    content = asdict(GOOD)
    del content[key]
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=rf"manifest\.json: {key}: missing"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; expected a folder of training faces"),
        ("", "not valid JSON"),
        ("[]", "expected a JSON object, found list"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path)


def sources(root, **manifests):
    for name, manifest in manifests.items():
        (root / name).mkdir(parents=True)
        write_manifest(root / name, manifest)
    return root


def test_a_folder_is_one_source_or_holds_several(tmp_path):
    root = sources(tmp_path, b=GOOD, a=GOOD, B=GOOD)
    (root / ".ipynb_checkpoints").mkdir()
    (root / "notes.txt").touch()
    assert face_folders(root) == [root / "B", root / "a", root / "b"]
    assert face_folders(root / "a") == [root / "a"]
    (root / "train.rec").touch()
    assert face_folders(root) == [root]


def test_folders_that_are_no_sources_are_named(tmp_path):
    with pytest.raises(ManifestError, match=r"gone: no such folder; expected one with training"):
        face_folders(tmp_path / "gone")
    with pytest.raises(ManifestError, match=r"expected train\.rec, manifest\.json, or folders"):
        face_folders(tmp_path)
    root = sources(tmp_path, a=GOOD)
    (root / "b").mkdir()
    with pytest.raises(ManifestError, match=r"b: there is no manifest\.json in it"):
        face_folders(root)


def test_the_origin_of_several_sources_is_combined(tmp_path):
    synthetic = replace(GOOD, origin="synthetic")
    assert (
        origin_of(face_folders(sources(tmp_path / "one", a=synthetic, b=synthetic))) == "synthetic"
    )
    assert origin_of(face_folders(sources(tmp_path / "two", a=synthetic, b=GOOD, c=GOOD))) == (
        "mixed: photos and synthetic"
    )
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "train.rec").touch()
    assert origin_of([tmp_path / "bare"]) == UNKNOWN
