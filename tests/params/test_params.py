from itertools import pairwise
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.benchmarks.synthetic import SyntheticBenchmark
from lh2face.data.parameters import HeldOut
from lh2face.data.training_sources import ImageFolder, Records
from lh2face.params import ParamsError, load_params, overlay_params, read_yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_projects_own_parameters_are_valid():
    load_params(ROOT / "params.yaml")


OVERLAYS = {path.name for path in (ROOT / "params").iterdir()}


# The options that are put over the recipes.
OF_TRAIN = "options: {} # override the recipe: {train_cfg.max_epochs: 12}"
OF_FIT3D = "options: {model.reconstructor.pose: landmarks}"


@pytest.mark.parametrize("overlay", sorted(OVERLAYS))
def test_overlays_are_valid_and_keep_comments(params_file, overlay):
    overlay_params([ROOT / "params" / overlay], params_file)
    assert "# The parameters of the pipeline" in params_file.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bootstrap: 200", "bootstrab: 200", "evaluate.bootstrab: unknown key"),
        ("bootstrap: 200", "bootstrap: many", r"evaluate.bootstrap.*found 'many'"),
        ("bootstrap: 200", "bootstrap: 0", r"evaluate.bootstrap.*found 0"),
        ("bootstrap: 200", "bootstrap: 20000", r"evaluate.bootstrap.*10000.*found 20000"),
        (OF_TRAIN, "options: {train_cfg.max_epochs: 0}", r"train: train_cfg.*found 0"),
        (OF_FIT3D, "options: {train_cfg.max_epochs: 0}", r"fit3d: train_cfg.*found 0"),
        (OF_FIT3D, "steps: 900", r"fit3d\.steps: unknown key"),
        (
            "type: synthetic\n    path: plugin/lh2face/data/synthetic # what",
            "type: internet\n    path: plugin/lh2face/data/synthetic # what",
            r"sources\.people\.type: found 'internet', allowed are synthetic, image_folder, ",
        ),
        (
            "scale: 30.0, margin: 0.3}",
            "scale: 30.0, marign: 0.3}",
            r"heads.arcface.marign: unknown",
        ),
        ("type: CosFaceHead", "type: CosFase", r"heads.cosface.type: found 'CosFase'"),
        ("heads: [arcface,", "heads: [arkface,", "compare"),
        (
            "    people: 160",
            "    peeple: 160",
            "sources.people.peeple: unknown key, allowed are path, people, images_per_person, ",
        ),
        ("seeds: [0]", "seeds: [0", "not valid YAML"),
    ],
)
def test_bad_parameters_are_named(params_file, old, new, message):
    text = params_file.read_text()
    assert old in text
    params_file.write_text(text.replace(old, new))
    with pytest.raises(ParamsError, match=message):
        load_params(params_file)


FOLDER = {"type": "image_folder", "path": "photos", "held_out": {"fraction": 0.5, "fold": 1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": None}, r"people\.type: missing, allowed are synthetic, image_folder, "),
        ({"path": None}, r"people\.path: missing"),
        ({"held_out": {"fould": 0}}, r"people\.held_out\.fould: unknown key, allowed are fraction"),
        ({"held_out": {"fold": []}}, r"people\.held_out\.fold.*: .*at least 1 item"),
        ({"held_out": {"fraction": 1.0}}, r"people\.held_out\.fraction: .*less than 1, found 1\.0"),
        ({"held_out": 3}, r"people\.held_out: expected keys with values, as in .*, found 3$"),
        ({"detector": "mtcnn"}, r"people\.detector: expected keys with values, .* found 'mtcnn'$"),
        ({"images_per_person": 3}, r"people\.images_per_person: unknown key, allowed are path, "),
    ],
)
@pytest.mark.parametrize("section", ["sources", "benchmarks"])
def test_each_type_has_its_own_parameters(params_file, section, change, message):
    values = read_yaml(params_file)
    config = {k: v for k, v in {**FOLDER, **change}.items() if v is not None}
    values[section] = {"people": config}
    YAML().dump(values, params_file)
    with pytest.raises(ParamsError, match=rf": {section}\.{message}"):
        load_params(params_file)


@pytest.mark.parametrize(
    ("source", "benchmark", "refused"),
    [
        ({}, {}, False),
        ({"held_out": None}, {}, True),
        ({}, {"held_out": None}, True),
        ({"held_out": None}, {"held_out": None}, True),
        ({"held_out": {"fraction": 0.5, "fold": 0}}, {}, True),
        ({"held_out": {"fraction": 0.4, "fold": 1}}, {}, True),
        ({"held_out": {"fraction": 0.5, "fold": [0, 1]}}, {}, False),
        ({}, {"held_out": {"fraction": 0.5, "fold": [0, 1]}}, True),
        ({"held_out": {"fraction": 0.5, "fold": 1, "seed": 2}}, {}, True),
        ({"aligned": True}, {}, True),
        ({}, {"landmarks": "points.csv"}, True),
        ({"held_out": None}, {"path": "others", "held_out": None}, False),
        ({"path": "a/../photos", "held_out": None}, {}, True),
    ],
)
def test_people_of_a_folder_are_not_both_trained_and_tested_on(
    params_file, source, benchmark, refused
):
    values = read_yaml(params_file)
    values["sources"] = {"mine": {**FOLDER, **source}}
    values["benchmarks"] = {"people": {**FOLDER, **benchmark}}
    YAML().dump(values, params_file)
    if not refused:
        load_params(params_file)
        return
    with pytest.raises(ParamsError, match=r": sources\.mine, benchmarks\.people: both use people"):
        load_params(params_file)


SYNTHETIC = {"type": "synthetic", "path": "plugin/lh2face/data/synthetic", "people": 9, "seed": 3}
BIN = {"type": "bin", "path": "bins", "file": "lfw.bin"}
PAIRS = {"type": "pairs", "path": "photos", "list": "pairs.csv"}


@pytest.mark.parametrize(
    ("validation", "benchmark", "by"),
    [
        (SYNTHETIC, {**SYNTHETIC, "people": 60, "image_size": 64}, "seed"),
        (SYNTHETIC, {**SYNTHETIC, "seed": 4}, None),
        (BIN, BIN, "file"),
        (BIN, {"type": "bin", "path": "bins/lfw.bin"}, "file"),
        (BIN, {**BIN, "path": "more/../bins"}, "file"),
        (BIN, {**BIN, "file": "cfp_fp.bin"}, None),
        (PAIRS, PAIRS, "list"),
        (PAIRS, {**PAIRS, "list": "./pairs.csv"}, "list"),
        (PAIRS, {**PAIRS, "list": "others.csv"}, None),
        (FOLDER, FOLDER, "held_out.fold"),
        (FOLDER, {**FOLDER, "held_out": None}, "held_out.fold"),
        (FOLDER, {**FOLDER, "held_out": {"fraction": 0.5, "fold": 0}}, None),
        (FOLDER, {**FOLDER, "held_out": {"fraction": 0.4, "fold": 0}}, "held_out.fold"),
        (FOLDER, {**FOLDER, "held_out": {"fraction": 0.5, "fold": [0, 2]}}, None),
        (FOLDER, {**FOLDER, "held_out": {"fraction": 0.5, "fold": [0, 1]}}, "held_out.fold"),
        (FOLDER, {**FOLDER, "aligned": True}, "held_out.fold"),
        (FOLDER, {**FOLDER, "path": "others"}, None),
        (SYNTHETIC, BIN, None),
    ],
)
def test_validation_and_benchmarks_do_not_share_data(params_file, validation, benchmark, by):
    values = read_yaml(params_file)
    values["benchmarks"] = {"people": benchmark}
    values["validation"] = {"looked_at": validation}
    YAML().dump(values, params_file)
    if by is None:
        load_params(params_file)
        return
    with pytest.raises(ParamsError, match=f"looked_at another path or {by}, or weights would") as e:
        load_params(params_file)
    assert ": validation.looked_at, benchmarks.people: both may use the same people" in str(e.value)


def test_people_of_a_folder_are_not_both_trained_and_validated_on(params_file):
    values = read_yaml(params_file)
    values["sources"] = {"mine": FOLDER}
    values["validation"] = {"mine_too": {**FOLDER, "held_out": {"fraction": 0.5, "fold": 0}}}
    YAML().dump(values, params_file)
    with pytest.raises(
        ParamsError, match=r": sources\.mine, validation\.mine_too: both use people"
    ):
        load_params(params_file)
    values["validation"]["mine_too"] = FOLDER
    YAML().dump(values, params_file)
    load_params(params_file)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (
            {"people": {**BIN}},
            r": validation: found \['people'\], which are also names in benchmarks",
        ),
        (
            {"ijbb": {"type": "ijb", "path": "/data/IJBB", "lists": "ijbb"}},
            r"\.ijbb\.type: found 'ijb', allowed are synthetic, image_folder, bin, pairs$",
        ),
        ({"a": {"path": "x"}}, r": validation\.a\.type: missing, allowed are synthetic, "),
        ([], r": validation: .*found \[\]"),
    ],
)
def test_a_validation_needs_pairs_and_its_own_name(params_file, validation, message):
    values = read_yaml(params_file)
    values["validation"] = validation
    YAML().dump(values, params_file)
    with pytest.raises(ParamsError, match=message):
        load_params(params_file)


def test_an_overlay_can_remove_the_validation(params_file, tmp_path):
    (tmp_path / "none.yaml").write_text("validation: {}\n")
    overlay_params([tmp_path / "none.yaml"], params_file)
    assert load_params(params_file).validation == {}


def test_an_invalid_name_is_refused(params_file):
    params_file.write_text(params_file.read_text().replace("  people:\n", "  a b:\n", 1))
    with pytest.raises(ParamsError, match=r": sources\.a b\.\[key\]: .*pattern.*found 'a b'"):
        load_params(params_file)


def test_sections_build_the_sources_and_benchmarks_they_describe(params_file):
    values = read_yaml(params_file)
    values["sources"] = {"photos": FOLDER, "rec": {"type": "records", "path": "/data/ms1mv3"}}
    values["benchmarks"] = {"people": FOLDER}
    YAML().dump(values, params_file)
    params = load_params(params_file)
    held_out = HeldOut(fraction=0.5, fold=1, seed=0)
    assert params.source("photos") == ImageFolder("photos", held_out=held_out)
    assert params.source("rec") == Records("/data/ms1mv3")
    assert params.benchmark("people") == ImageFolderBenchmark("photos", held_out=held_out)
    strangers = SyntheticBenchmark(
        "plugin/lh2face/data/synthetic", people=10, pairs=100, truth_images=0, seed=100
    )
    assert params.benchmark("strangers") == strangers
    with pytest.raises(ParamsError, match=r"benchmarks, validation: found 'lfw', .*'strangers'"):
        params.benchmark("lfw")
    with pytest.raises(ParamsError, match=r"sources: found 'people', .*\['photos', 'rec'"):
        params.source("people")


def test_sources_of_an_overlay_replace_those_of_the_parameters(params_file, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("sources: {people: {people: 20}}\nbenchmarks: {people: {seed: 5}}\n")
    overlay_params([overlay], params_file)
    params = load_params(params_file)
    assert (params.sources["people"].people, params.sources["people"].seed) == (20, 0)
    assert params.benchmarks["people"].seed == 5
    overlay.write_text(
        "sources: {rec: {type: records, path: /a}}\n"
        "benchmarks: {lfw: {type: bin, path: /a/lfw.bin}}\ncompare: {benchmarks: [lfw]}\n"
    )
    overlay_params([overlay], params_file)
    params = load_params(params_file)
    assert list(params.sources) == ["rec"] and list(params.benchmarks) == ["lfw"]


def test_a_bad_overlay_changes_nothing(params_file, tmp_path):
    (tmp_path / "bad.yaml").write_text("fit3d: {steps: -1}")
    before = params_file.read_text()
    with pytest.raises(ParamsError, match=r"fit3d\.steps"):
        overlay_params([tmp_path / "bad.yaml"], params_file)
    assert params_file.read_text() == before


def test_no_training_begins_with_what_it_writes(params_file):
    """DVC alone would say that an item is both a dependency and an output."""
    text = params_file.read_text()
    for path, written in {
        "runs/lh2face/0/model": True, "./runs/untrained/../lh2face_joint/0/model": True,
        "runs/adaface/0/model": False, "start": False,
    }.items():  # fmt: skip
        params_file.write_text(text.replace("init: []", f"init: [{{path: {path}}}]"))
        if not written:
            assert load_params(params_file).train.init[0].path == path
            continue
        with pytest.raises(ParamsError, match=r"train\.init: found the path '.*cp -r \S+ start$"):
            load_params(params_file)


def test_missing_parameters_are_named(tmp_path):
    with pytest.raises(ParamsError, match="not found"):
        load_params(tmp_path / "params.yaml")


# Each is a line of params.yaml, its replacement, and the beginning of the message.
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bootstrap: 200", 'bootstrap: "6"', r"evaluate\.bootstrap: .*integer, found '6'"),
        ("bootstrap: 200", "bootstrap: true", r"evaluate\.bootstrap: .*integer, found True"),
        ("bootstrap: 200", "bootstrap: 6.0", r"evaluate\.bootstrap: .*integer, found 6\.0"),
        ("matching: cosine", "matching: cosine\n  vmf_dim: 1", r"evaluate\.vmf_dim: .*equal to 2"),
        ("reco_weight: 0.1", 'reco_weight: "0"', r"joint\.reco_weight: .*number, found '0'"),
        ("reco_weight: 0.1", "reco_weight: .nan", r"joint\.reco_weight: .*finite number"),
        ("  seeds: [0]", "  seeds: [0, 1, 1]", r"compare\.seeds: found 1 more than once"),
        ("  seeds: [0]", "  seeds: []", r"compare\.seeds: .*at least 1 item"),
        ("  seeds: [0]", "  seeds: [4294967296]", r"compare\.seeds\.0: .*less than"),
        ("[untrained, arc", "[untrained, untrained, arc", "compare.models: found 'untrained' more"),
        ("models: [untrained, ", "models: [", r"compare\.models: found .* expected \['arcface'"),
        ("heads: [arcface,", "heads: [arcface, arcface,", "compare.heads: found 'arcface' more"),
        ("heads: [lh2face_joint]", "heads: [lh2face]", r"joint_heads: found \['lh2face'\], which"),
        (
            "heads: [arcface, cosface, lh2face]\n  joint_heads: [lh2face_joint]",
            "heads: []\n  joint_heads: []", "heads, joint_heads: both are empty",
        ),
        ("  arcface: {", "  untrained: {", r"heads\.untrained.*reserved"),
        ("  arcface: {", "  fit3d: {", r"heads\.fit3d.*reserved"),
        ("  arcface: {", "  depth: {", r"heads\.depth.*reserved"),
        ("  arcface: {", "  --help: {", r"heads\.--help.*pattern"),
        ("  arcface: {", "  -x: {", r"heads\.-x.*pattern"),
        ("margin: 0.35}", "num_classes: 3}", r"heads\.cosface\.num_classes: unknown"),
        ("margin: 0.35}", "in_channels: 3}", r"heads\.cosface\.in_channels: unknown"),
        ("configs/small", "configs/smalls", r"train: config: .*smalls\.py: no such file"),
        ("configs/reconst", "config/reconst", r"fit3d: config: .*reconstruction\.py: no such file"),
        (" 64}\n  lh2face_joint", " x}\n  lh2face_joint", r"heads\.lh2face\.vmf_dim: .*int, found"),
        ("margin: 0.35}", "margin: 3.5}", r"train: heads\.cosface: .* from 0 to 2, found 3\.5"),
        (OF_TRAIN, "options: {a: 1}", r"train: options: found 'a', which mmengine does not"),
        (
            OF_FIT3D, "options: {model.reconstructor.image_size: 40}",
            r"fit3d: model: .*image_size: expected a power of two .* found 40",
        ),
        (
            OF_FIT3D, "options: {model.reconstructor.width: many}",
            r"fit3d: model\.reconstructor\.width: expected int, found 'many'",
        ),
        (OF_FIT3D, "options: {model.reconstructor.type: X}", r"fit3d: .*type: found 'X'"),
        (OF_FIT3D, "options: {model.type: FaceRecognizer}", r"fit3d: .*type: found 'FaceRec"),
        (OF_FIT3D, "options: {optim_wrapper.optimizer.lr: -1}", r"fit3d: .*learning rate: -1"),
        (
            OF_TRAIN, "options: {model.backbone.image_size: 40}",
            r"train: model: .*multiple of 16.* found 40",
        ),
        ("far: [1.0e-6, 1.0e-5", "far: [1.0e-5, 1.0e-6", r"far: expected ascending .* 1e-06 after"),
        ("far: [1.0e-6, 1.0e-5", "far: [1.0e-5, 1.0e-5", r"far: expected ascending .* 1e-05 after"),
        ("far: [1.0e-6,", 'far: ["1.0e-6",', r"evaluate\.far\.0: .*number, found '1\.0e-6'"),
        ("shard: [0]", "shard: [1]", r"embed: shard: found \[1\], expected every number from 0 to"),
        ("shard: [0]", "shard: []", r"embed: shard: found \[\]"),
        ("shards: 1", "shards: 2", r"embed: shard: found \[0\], expected .* 0 to 1"),
        ("shards: 1", "shards: 1000000000", r"embed\.shards: .*10000, found"),
        ("    people: 60", "    people: 3", r"benchmarks\.people\.people: .*equal to 4, found 3"),
        ("    people: 160", '    people: "160"', r"sources\.people\.people: .*found '160'"),
        (
            "others: []", "others: [{name: arcface, path: a.onnx}]",
            r"others: found \['arcface'\], which are also names in heads",
        ),
        (
            "others: []", "others: [{name: w600k, path: a.onnx}]",
            r"compare\.models: found .*, expected .*'w600k'\]",
        ),
        ("others: []", "others: [{name: w600k}]", r"others\.0\.path: missing"),
        ("others: []", "others: [{name: a/b, path: c}]", r"others\.0\.name: .*pattern"),
        ("benchmarks: [people]", "benchmarks: []", r"compare\.benchmarks: .*at least 1 item"),
        ("benchmarks: [people]", "benchmarks: [lfw]", r"found \['lfw'\], expected .*\['people'\]"),
    ],
)  # fmt: skip
def test_values_of_a_wrong_type_or_range_are_refused(params_file, old, new, message):
    text = params_file.read_text()
    assert text.count(old) == 1
    params_file.write_text(text.replace(old, new))
    with pytest.raises(ParamsError, match=message) as raised:
        load_params(params_file)
    assert all(line.startswith(f"{params_file}: ") for line in str(raised.value).splitlines())


def test_a_whole_number_is_accepted_as_a_real_one(params_file):
    params_file.write_text(params_file.read_text().replace("reco_weight: 0.1", "reco_weight: 1"))
    assert load_params(params_file).joint.reco_weight == 1.0


def test_up_to_ten_unknown_keys_are_listed(params_file):
    with params_file.open("a") as file:
        file.writelines(f"key{i}: 1\n" for i in range(25))
    with pytest.raises(ParamsError, match=r"and 15 more$") as raised:
        load_params(params_file)
    assert len(str(raised.value).splitlines()) == 11


def doubled(line: str) -> bytes:
    """Return twelve lines of aliases, each nine times the one before: 9¹² values."""
    names = [chr(ord("a") + i) for i in range(13)]
    lines = [line.format(new=new, old=",".join([f"*{old}"] * 9))
             for old, new in pairwise(names)]  # fmt: skip
    return "\n".join(["a: &a {x: 1, y: 2}", *lines]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a mapping of keys to values, found nothing"),
        (b"# only\n", "found nothing"),
        (b"- 1\n", r"found \[1\]"),
        (b"hello", "found 'hello'"),
        (b"1: 2", "1: Keys should be strings"),
        (b"? [a]\n: 1", "Keys should be strings"),
        (b"null: 3", "None: Keys should be strings"),
        (b"train: 3", "train: .*found 3"),
        (b"fit3d: {seed: -1}", r"fit3d\.seed: .*found -1"),
        (b"a: [1", "not valid YAML: .*line 1"),
        (b"fit3d: {seed: 1}\nfit3d: {seed: 2}", "not valid YAML: .*duplicate key"),
        (b"a\0b: 1", "not valid YAML"),
        (b"\xff\xfe\0x", "not UTF-8 at byte 0"),
        (b"x: " + b"1" * 5000, "not valid YAML: .*4300 digits"),
        (b'"bad\\nkey": 1', r"bad\\nkey: unknown key"),
        (b"!!python/object/apply:os.system [x]", "not valid YAML: .*tag"),
        (b"fit3d: !own {seed: 2}", "not valid YAML: .*tag"),
        (b"[" * 3000, "nested too deep"),
        (b"a: &a [*a]", "every alias"),
        (doubled("{new}: &{new} [{old}]"), "every alias"),
        (doubled("{new}: &{new} {{<<: [{old}]}}"), "every alias"),
        (b"x: " + b"a" * 100_000, "larger than 64 KiB"),
        (None, "not found"),
        ("folder", "not a file"),
    ],
    ids=range(24),
)
@pytest.mark.timeout(30)
def test_an_unusable_file_gives_one_line_and_changes_nothing(params_file, content, message):
    """The file is tried as an overlay and, if it is no mapping, as the parameters themselves."""
    tmp_path, params, good = params_file.parent, params_file, params_file.read_text()
    odd = tmp_path / "odd.yaml"
    if content == "folder":
        odd.mkdir()
    elif content is not None:
        odd.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ParamsError, match=message) as raised:
        overlay_params([odd], params)
    assert str(raised.value).startswith(str(odd)) and "\n" not in str(raised.value)
    assert params.read_text() == good and sorted(tmp_path.iterdir()) == before
    with pytest.raises(ParamsError) as raised:
        load_params(odd)
    assert str(raised.value).startswith(str(odd))
    (tmp_path / "overlay.yaml").write_text("fit3d: {steps: 3}")
    with pytest.raises(ParamsError):
        overlay_params([tmp_path / "overlay.yaml"], odd)
    if isinstance(content, bytes):
        assert odd.read_bytes() == content
