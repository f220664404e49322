"""Stage evaluate measures whatever a benchmark has: templates, pairs of photos or conditions."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lh2face.data.benchmark import read_benchmark, write_benchmark
from lh2face.data.ijb_meta import write_meta
from lh2face.data.template_lists import benchmark_meta
from lh2face.evaluation import pairs
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.protocol import Protocol, run_protocol
from lh2face.evaluation.quality import calibration
from lh2face.evaluation.verification import fold_accuracy, fold_decisions, grid_threshold
from lh2face.params import load_params
from lh2face.stages import evaluate

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(1)
PEOPLE, EACH = 40, 5
IDENTITY = np.repeat(np.arange(PEOPLE), EACH)
NAMES = [f"{i}.png" for i in range(PEOPLE * EACH)]
CENTRES = RNG.normal(size=(PEOPLE, 1, 8))[IDENTITY]
FACES = (CENTRES + 0.9 * RNG.normal(size=(len(NAMES), 2, 8))).astype(np.float32)
# Pairs: the first face of each person with their second, and with the first of the next person.
FIRST = np.repeat(np.arange(PEOPLE) * EACH, 2)
SECOND = (FIRST + np.tile([1, EACH], PEOPLE)) % len(NAMES)
SAME = np.tile([True, False], PEOPLE)
FOLD = RNG.permutation(np.arange(2 * PEOPLE) % 4)
CURVES = ("roc", "cmc", "reject", "calibration", "pairs", "draws", "kappa")


@pytest.fixture(scope="module")
def params():
    given = load_params(ROOT / "params.yaml")
    return given.model_copy(
        update={"evaluate": given.evaluate.model_copy(update={"bootstrap": 20})}
    )


def write(folder: Path, *, templates=False, pairs=False, kinds=False, folds=False) -> Path:
    """Write a benchmark with some parts, and embeddings of its faces beside it."""
    folder.mkdir()
    lists = None
    if templates:
        ids = np.arange(1, len(NAMES) + 1)
        points = np.zeros((len(NAMES), 5, 2), np.float32)
        meta = benchmark_meta(
            NAMES, points, np.ones(len(NAMES), np.float32), ids, ids, subjects=IDENTITY,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        write_meta(folder, "bench", meta)
        lists = (".", "bench")
    rows = zip(
        [NAMES[i] for i in FIRST], [NAMES[i] for i in SECOND], SAME.astype(int).tolist(),
        *([FOLD.tolist()] if folds else []), strict=True,
    )  # fmt: skip
    images = {"name": NAMES}
    if kinds:
        kind = ["frontal" if i % EACH < 2 else "profile" for i in range(len(NAMES))]
        images |= {"identity": (7 + IDENTITY).tolist(), "kind": kind}
    write_benchmark(folder, "photos", images, {"frontal": rows} if pairs else {}, lists)
    shard = folder.with_name(f"{folder.name}.embeddings") / "0"
    shard.mkdir(parents=True)
    np.save(shard / "embeddings.npy", FACES)
    (shard / "embedded_by.json").write_text('{"model": "of weights"}')
    return folder


def run(params, folder: Path) -> tuple[dict, dict[str, list[list[str]]]]:
    """Run the stage; return the figures, and the rows of each table."""
    out = folder.with_name(f"{folder.name}.out")
    evaluate.run(params, folder.with_name(f"{folder.name}.embeddings"), folder, out)
    tables = {}
    for name in CURVES:
        with (out / f"{name}.csv").open(newline="") as file:
            tables[name] = list(csv.reader(file))
    return json.loads((out / "metrics.json").read_text()), tables


def test_a_benchmark_of_pairs_alone_is_evaluated(params, tmp_path):
    metrics, tables = run(params, write(tmp_path / "bench", pairs=True))
    assert set(metrics) == {"bins", "kappa", "single_images", "reject", "calibration"}
    assert metrics["single_images"]["source"] == "photos"
    assert len(tables["roc"]) == len(tables["cmc"]) == 1 and len(tables["pairs"]) == 1 + len(SAME)
    assert tables["draws"][0] == ["bins.frontal.accuracy", "reject.area", "reject.area_at_far"]
    made = json.loads((tmp_path / "bench.out" / "provenance.json").read_text())
    assert made["people"] is None  # a list of pairs does not say who is who
    assert made["model"] == "of weights" and set(made["data"]) == {
        "bench.embeddings", "pairs", "images.csv",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("of_head", "given", "used"), [(24, None, 24), (None, None, 8), (24, 16, 16)]
)
def test_the_vmf_dimension_is_that_of_the_head(params, tmp_path, of_head, given, used):
    """It is d, here 8, for a head without one; the parameter overrides both."""
    folder = write(tmp_path / "bench", templates=True, pairs=True)
    record = {"model": "of weights", "vmf_dim": of_head}
    path = tmp_path / "bench.embeddings" / "0" / "embedded_by.json"
    path.write_text(json.dumps(record))
    changed = {"matching": "mutual_likelihood", "vmf_dim": given}
    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update=changed)})
    metrics, tables = run(params, folder)
    assert metrics["calibration"]["dim"] == used
    kappa = np.array([float(row[1]) for row in tables["kappa"][1:]])
    unit = FACES.sum(1) / np.linalg.norm(FACES.sum(1), axis=1, keepdims=True)
    cosine = (unit[FIRST] * unit[SECOND]).sum(1)
    expected = calibration(
        expected_cosine(kappa[FIRST][SAME], kappa[SECOND][SAME], used), cosine[SAME]
    )
    assert metrics["calibration"]["ece_as_trained"] == pytest.approx(expected[2], abs=1e-5)
    made = json.loads((tmp_path / "bench.out" / "provenance.json").read_text())
    assert made["params"]["vmf_dim"] == used
    options = {**params.evaluate.model_dump(), "vmf_dim": used}
    results = run_protocol(FACES, read_benchmark(folder).templates, Protocol(**options))
    assert metrics["verification"] == json.loads(json.dumps(results.figures["verification"]))


def test_a_benchmark_of_templates_alone_is_evaluated(params, tmp_path):
    metrics, tables = run(params, write(tmp_path / "bench", templates=True))
    assert set(metrics) == {"verification", "identification", "kappa"}
    for name in ("reject", "calibration", "pairs"):
        assert len(tables[name]) == 1
    assert len(tables["kappa"]) == 1 + len(NAMES) and len(tables["cmc"]) == 21
    made = json.loads((tmp_path / "bench.out" / "provenance.json").read_text())
    assert set(made["data"]) == {"bench.embeddings", "meta", "pairs", "images.csv"}
    assert made["people"] == len(set(IDENTITY.tolist()))


def test_figures_of_a_part_do_not_depend_on_other_parts(params, tmp_path):
    """Identities need not begin at 0."""
    parts = {"templates": True, "pairs": True, "kinds": True}
    metrics, _ = run(params, write(tmp_path / "all", **parts))
    assert set(metrics["conditions"]) == {"frontal", "profile"}
    for name in parts:
        alone, _ = run(params, write(tmp_path / name, **{name: True}))
        assert alone == {key: metrics[key] for key in alone}


def test_a_benchmark_without_pairs_and_templates_gives_kappa(params, tmp_path):
    """Such a benchmark is a set of photos for which only κ is wanted."""
    metrics, tables = run(params, write(tmp_path / "bench"))
    assert set(metrics) == {"kappa"} and len(tables["kappa"]) == 1 + len(NAMES)


@pytest.mark.parametrize("formulas", ["definition", "insightface"])
@pytest.mark.parametrize("folds", [False, True])
def test_the_accuracy_follows_the_rule_and_the_folds(params, tmp_path, formulas, folds):
    folder = write(tmp_path / "bench", pairs=True, folds=folds)
    params = params.model_copy(
        update={"evaluate": params.evaluate.model_copy(update={"formulas": formulas})}
    )
    metrics, tables = run(params, folder)
    unit = FACES.sum(1) / np.linalg.norm(FACES.sum(1), axis=1, keepdims=True)
    scores = (unit[FIRST] * unit[SECOND]).sum(1)
    fold = FOLD if folds else np.repeat(np.arange(10), len(SAME) // 10)
    right = np.empty(len(SAME), bool)
    for one in np.unique(fold):
        rule = pairs.RULES[formulas]
        threshold = rule(scores[fold != one], SAME[fold != one])
        right[fold == one] = (scores[fold == one] >= threshold) == SAME[fold == one]
    found = metrics["bins"]["frontal"]
    each = [right[fold == one].mean() for one in np.unique(fold)]
    assert found["accuracy"] == pytest.approx(np.mean(each))
    assert found["accuracy_std"] == pytest.approx(np.std(each))
    rows = tables["pairs"][1:]
    assert [row[-1] for row in rows] == [str(int(r)) for r in right]
    np.testing.assert_allclose([float(row[4]) for row in rows], scores, atol=1e-5)
    assert [row[1] for row in rows] == [NAMES[i] for i in FIRST]
    # The rounds of the bootstrap count the same decisions.
    listed = pairs.decide_pairs(
        unit, np.ones(len(NAMES)), read_benchmark(folder).pairs["frontal"],
        Protocol(formulas=formulas, bootstrap=50),
    )  # fmt: skip
    draws = pairs.accuracy_draws(listed, Protocol(formulas=formulas, bootstrap=50))
    assert draws.mean() == pytest.approx(right.mean(), abs=0.03)


def test_invalid_folds_are_refused(tmp_path):
    scores = np.linspace(-1, 1, 20)
    with pytest.raises(ValueError, match="fold: expected at least two folds, found "):
        fold_decisions(scores, scores > 0, fold=np.zeros(20, int))
    with pytest.raises(ValueError, match=r"fold: expected \(20,\), found \(3,\)"):
        fold_decisions(scores, scores > 0, fold=np.arange(3))
    with pytest.raises(ValueError, match="ten folds need at least 10, found 5"):
        fold_accuracy(scores[:5] > 0)
    assert fold_decisions(scores, scores > 0, grid_threshold).shape == (20,)


def test_embeddings_of_other_faces_are_refused(params, tmp_path):
    folder = write(tmp_path / "bench", pairs=True)
    np.save(tmp_path / "bench.embeddings" / "0" / "embeddings.npy", FACES[:-1])
    with pytest.raises(
        ValueError, match=r"bench\.embeddings: found 199 faces, expected the 200 of .*bench"
    ):
        run(params, folder)
    assert not (tmp_path / "bench.out").exists()
