"""The study on real faces runs on made-up photos, and its figures have known values."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from lh2face.data.align import TEMPLATE
from lh2face.data.synthetic.canonical import canonical_faces, landmark_points, seen_landmarks
from lh2face.evaluation.verification import fold_accuracy, fold_decisions
from lh2face.files.tables import TableError
from lh2face.params import ParamsError
from lh2face.registry import MODELS
from workflow.study.real import figures
from workflow.study.real import run as running
from workflow.study.real.faces import FacesError, parts_of, read_photos
from workflow.study.real.figures import (
    LESS_IS_BETTER,
    TITLES,
    error_rates,
    figures_of,
    right_shares,
)
from workflow.study.real.page import HEADLINE, Results, write_page
from workflow.study.real.plan import Plan, load_plan, part_runs, tuning_runs
from workflow.study.real.results import collect
from workflow.study.real.run import held_out, is_done, joined, run, split, subset, together
from workflow.study.real.training import (
    RECIPE,
    RECONSTRUCTION,
    fit_reconstructor,
    rate_factor,
    train,
)

ROOT = Path(__file__).parents[3]
PLAN = ROOT / "workflow" / "study" / "real" / "plan.yaml"
LARGER = PLAN.with_name("iresnet18.yaml")
BACKBONE = {"type": "MobileFaceNet", "embedding_size": 16, "image_size": 16, "width": 0.125}
VALUES = {
    "size": 16, "backbone": BACKBONE, "batch": 8, "subject": "lh2face",
    "tuning": {"people": 3, "epochs": 1, "seed": 0, "far": 0.1},
    "candidates": {
        "cosface": [{"type": "CosFaceHead", "scale": scale} for scale in (8.0, 16.0)],
        "lh2face": [{"type": "LH2FaceHead", "vmf_dim": n} for n in (4, 16)],
    },
    "views": {
        "turned": [{"type": "RandomMirror"}, {"type": "RandomBlur"}], "plain": [], "known": [],
    },
    "landmarks": ["known"],
    "reconstructor": {
        "config": {
            "type": "Linear3DMMReconstructor", "image_size": 16, "width": 2, "shape_modes": 2,
            "albedo_modes": 2, "faces": 8, "pose": "landmarks",
        },
        "transforms": [{"type": "RandomMirror"}], "epochs": 1, "seed": 0,
    },
    "parts": {
        "wild": {
            "about": "Wild alone", "folds": 0, "heads": ["lh2face", "cosface"], "epochs": 1,
            "seeds": [0, 1, 2], "views": ["turned", "plain", "known"],
        },
        "folds": {
            "about": "Both", "folds": 2, "heads": ["lh2face", "cosface"], "epochs": 1,
            "seeds": [0, 1], "views": ["turned"], "against": "wild",
        },
        "joint": {
            "about": "Together", "folds": 0, "heads": ["lh2face", "cosface"], "epochs": 1,
            "seeds": [0, 1], "views": ["turned"], "against": "folds",
            "joint": {
                "reco_weight": 1.0, "canon_weight": 1.0, "view_weight": 1.0,
                "fusion": "canonical_depth",
            },
        },
    },
}  # fmt: skip


def photo(path, person, rng):
    """Write a picture of one colour per person, with noise; return its row of landmarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = np.random.default_rng(person).integers(60, 200, 3)
    pixels = np.clip(colour + rng.normal(0, 20, (112, 112, 3)), 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), pixels)
    return [f"{path.parent.name}/{path.name}", *TEMPLATE.ravel().tolist()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of nine people for training, and of eight in four folds for testing."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    rows = [
        photo(folder / "wild" / f"p{person}" / f"{n}.jpg", person, rng)
        for person in range(9) for n in range(3)
    ]  # fmt: skip
    write(folder / "wild" / "landmarks.csv", rows)
    people = [f"c{person}" for person in range(8)]
    kinds = {"frontal": 3, "profile": 2}
    rows = [
        photo(folder / "cfp" / name / f"{kind}_{n:02}.jpg", 100 + person, rng)
        for person, name in enumerate(people)
        for kind, count in kinds.items() for n in range(1, count + 1)
    ]  # fmt: skip
    write(folder / "cfp" / "landmarks.csv", rows)
    for kind, other in (("ff", "frontal"), ("fp", "profile")):
        pairs = [["first", "second", "same", "fold"]]
        for at in range(0, 8, 2):
            first, second = people[at : at + 2]
            for a, b in ((first, second), (second, first)):
                pairs += [
                    [f"{a}/frontal_01.jpg", f"{a}/{other}_02.jpg", 1, at // 2 + 1],
                    [f"{a}/frontal_01.jpg", f"{b}/{other}_02.jpg", 0, at // 2 + 1],
                ]
        write(folder / "cfp" / f"pairs_{kind}.csv", pairs)
    return folder


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def photos(folder, tmp_path):
    return read_photos(folder, 16, tmp_path / "faces")


@pytest.fixture
def plan():
    return Plan.model_validate(VALUES)


def test_the_plan_of_the_project_gives_every_head_as_many_candidates():
    plan = load_plan(PLAN)
    heads = len(plan.candidates)
    each = len(next(iter(plan.candidates.values())))
    assert heads == 9 and len(list(tuning_runs(plan))) == heads * each
    assert len({one.name for one in tuning_runs(plan)}) == heads * each


def test_the_overlay_for_a_gpu_changes_sizes_and_keeps_the_rest():
    plan, larger = load_plan(PLAN), load_plan(PLAN, LARGER)
    sides = {
        larger.size, larger.backbone["image_size"], larger.reconstructor.config["image_size"]
    }  # fmt: skip
    assert sides == {112} and MODELS.build(larger.backbone).conv1.weight.shape[0] == 64
    assert larger.candidates == plan.candidates and larger.views == plan.views
    kept = {"epochs": 1, "views": ["turned"]}
    for name, part in plan.parts.items():
        assert larger.parts[name].model_copy(update=kept) == part.model_copy(update=kept)
    assert larger.parts["folds"].epochs > plan.parts["folds"].epochs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["candidates"]["cosface"].pop(), "the same number for each head"),
        (lambda v: v["parts"]["wild"]["heads"].append("other"), r"heads: found \['other'\]"),
        (lambda v: v["parts"]["wild"]["views"].append("other"), r"views: found \['other'\]"),
        (lambda v: v["parts"].update(tuning=v["parts"]["wild"]), "'tuning' is reserved"),
        (lambda v: v["parts"]["wild"].update(folds=9), "folds"),
        (lambda v: v["parts"]["wild"].update(against="joint"), r"found 'joint', allowed are \[\]"),
        (lambda v: v.pop("reconstructor"), r"parts\.joint\.joint: expected a reconstructor"),
        (lambda v: v.update(landmarks=["other"]), r"landmarks: found \['other'\], allowed are"),
        (lambda v: v.update(sizes=3), "sizes"),
    ],
)
def test_a_wrong_plan_is_refused(change, message, tmp_path):
    values = json.loads(json.dumps(VALUES))
    change(values)
    (tmp_path / "plan.yaml").write_text(json.dumps(values))
    with pytest.raises(ParamsError, match=message):
        load_plan(tmp_path / "plan.yaml")


def test_errors_in_the_photos_are_named(folder, tmp_path):
    with pytest.raises(FacesError, match=r"nowhere/cfp/landmarks\.csv: no such file"):
        read_photos(tmp_path / "nowhere", 16, tmp_path / "faces")
    copy = tmp_path / "photos"
    shutil.copytree(folder, copy)
    pairs = copy / "cfp" / "pairs_fp.csv"
    pairs.write_text(pairs.read_text() + "c0/frontal_01.jpg,c0/none.jpg,1,1\n")
    with pytest.raises(TableError, match=r"pairs_fp\.csv:18: expected .* found 'c0/none.jpg'"):
        read_photos(copy, 16, tmp_path / "faces")
    pairs.unlink()
    with pytest.raises(FacesError, match=r"pairs_fp\.csv: no such file"):
        read_photos(copy, 16, tmp_path / "faces")
    table = copy / "cfp" / "landmarks.csv"
    table.write_text("c0/frontal_01.jpg,1,2\n")
    with pytest.raises(FacesError, match=r"landmarks\.csv:1: expected a path and 10 numbers"):
        read_photos(copy, 16, tmp_path / "faces")


def test_faces_are_kept_until_the_landmarks_change(folder, tmp_path):
    first = read_photos(folder, 16, tmp_path / "faces")
    copy = tmp_path / "photos"
    shutil.copytree(folder, copy)
    for path in copy.rglob("*.jpg"):
        path.unlink()
    np.testing.assert_array_equal(
        read_photos(copy, 16, tmp_path / "faces").cfp.images, first.cfp.images
    )
    table = copy / "cfp" / "landmarks.csv"
    table.write_text(table.read_text().replace("38.29", "39.29"))
    with pytest.raises(ValueError, match="No such file"):
        read_photos(copy, 16, tmp_path / "faces")


def test_people_of_the_test_are_not_trained_on(plan, photos):
    chosen = {head: configs[0] for head, configs in plan.candidates.items()}
    for one in [*tuning_runs(plan), *part_runs(plan, "wild", chosen)]:
        sources, test = split(plan, one, photos)
        trained = {name for faces, rows in sources for name in faces.names[rows]}
        assert trained and not trained & set(test.names)
    tested = []
    for one in part_runs(plan, "folds", chosen):
        sources, test = split(plan, one, photos)
        trained = {name for faces, rows in sources for name in faces.names[rows]}
        assert not trained & set(test.names)
        assert trained | set(test.names) == {*photos.wild.names, *photos.cfp.names}
        if (one.head, one.seed) == ("lh2face", 0):
            tested += test.paths
    assert sorted(tested) == sorted(photos.cfp.paths)


def test_candidates_are_chosen_without_the_people_of_the_table(plan, photos):
    for one in tuning_runs(plan):
        sources, test = split(plan, one, photos)
        assert [faces for faces, _ in sources] == [photos.wild]
        assert set(test.names) <= set(photos.wild.names)
    out = held_out(photos.wild, 3, 0)
    assert len(set(photos.wild.names[out])) == 3 and out.sum() == 9
    with pytest.raises(ValueError, match=r"tuning\.people: found 9, allowed are up to 8"):
        held_out(photos.wild, 9, 0)


def test_people_of_two_sources_are_different_people(photos):
    every = np.ones(len(photos.wild.paths), bool)
    images, landmarks, labels = joined([(photos.wild, every), (photos.wild, every)])
    assert len(images) == len(landmarks) == 54 and labels.max() == 17


def test_parts_are_runs_of_whole_folds():
    folds = np.array([1, 2, 3, 4, 5, 6, 7, 8, 1])
    assert parts_of(folds, 4).tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 1]


@pytest.mark.parametrize(("path", "warm_up"), [(RECIPE, 1), (RECONSTRUCTION, 0)])
def test_the_rate_is_that_of_the_recipe(path, warm_up):
    steps, epochs = 48, 3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    recipe = Config.fromfile(path)
    schedulers = [
        PARAM_SCHEDULERS.build(
            {"end": epochs, **one},
            default_args={"optimizer": OptimWrapper(optimizer), "epoch_length": steps},
        )
        for one in recipe.param_scheduler
    ]
    expected = []
    for _ in range(steps * epochs):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    found = [rate_factor(step, warm_up * steps, steps * epochs) for step in range(steps * epochs)]
    assert found == pytest.approx(expected, abs=1 / (steps - 1))


def test_training_depends_on_its_seed_alone_and_learns(photos):
    images, _, labels = joined([(photos.wild, np.ones(len(photos.wild.paths), bool))])
    given = {
        "backbone": BACKBONE, "head": {"type": "CosFaceHead", "scale": 8.0}, "batch": 9,
        "transforms": [{"type": "RandomMirror"}],
    }  # fmt: skip
    first, again, other = (
        train(images, labels, epochs=2, seed=seed, **given).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.stem.0.0.weight"], other["backbone.stem.0.0.weight"])
    model = train(images, labels, epochs=30, seed=0, **given)
    assert next(model.parameters()).device.type == get_device()
    model.cpu()
    scores = model.head(model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1))
    assert (scores.argmax(1).numpy() == labels).mean() > 0.8


def test_training_runs_on_the_device_of_mmengine(photos, monkeypatch):
    """On the device "meta" there are no values, so a training that runs there cannot go on."""
    monkeypatch.setattr("workflow.study.real.training.get_device", lambda: "meta")
    images, _, labels = joined([(photos.wild, np.ones(len(photos.wild.paths), bool))])
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        train(
            images, labels, backbone=BACKBONE, head={"type": "CosFaceHead"}, transforms=[],
            epochs=1, batch=9, seed=0,
        )  # fmt: skip


def test_landmarks_follow_their_faces(folder, photos):
    """Aligned landmarks are those of the template here; of a subset they are the subset's."""
    assert photos.cfp.landmarks.shape == (40, 5, 2)
    np.testing.assert_allclose(photos.cfp.landmarks, np.tile(TEMPLATE, (40, 1, 1)), atol=1e-3)
    numbered = replace(photos.wild, landmarks=np.arange(27.0)[:, None, None])
    rows = np.arange(27) % 3 == 1
    assert subset(numbered, rows).landmarks.ravel().tolist() == list(range(1, 27, 3))
    assert joined([(numbered, rows)])[1].ravel().tolist() == list(range(1, 27, 3))


def test_a_reconstructor_is_fitted_once_and_begins_every_joint_training(
    plan, photos, tmp_path, monkeypatch
):
    chosen = {head: configs[0] for head, configs in plan.candidates.items()}
    one = next(part_runs(plan, "joint", chosen))
    given = [together(plan, one, photos.wild, tmp_path) for _ in range(2)]
    assert len(list((tmp_path / "reconstructor").glob("*.safetensors"))) == 1
    assert all(torch.equal(given[0]["fitted"][name], w) for name, w in given[1]["fitted"].items())
    raw = MODELS.build(plan.reconstructor.config).state_dict()
    assert not all(torch.equal(raw[name], w) for name, w in given[0]["fitted"].items())
    given = given[0] | {
        "landmarks": photos.wild.landmarks,
        "backbone": BACKBONE,
        "head": one.config,
        "transforms": [],
        "batch": 9,
    }
    labels = np.unique(photos.wild.names, return_inverse=True)[1]
    still = train(photos.wild.images, labels, epochs=1, seed=0, rate=0.0, **given)
    assert still.fusion == "canonical_depth"
    moved = train(photos.wild.images, labels, epochs=1, seed=0, **given)
    for model in (still, moved):
        model.cpu()
    for name, weight in given["fitted"].items():
        assert torch.equal(still.reconstructor.state_dict()[name], weight)
    assert any(
        not torch.equal(moved.reconstructor.state_dict()[name], weight)
        for name, weight in given["fitted"].items()
    )
    # Recognizers of the other parts have none.
    alone = next(part_runs(plan, "wild", chosen))
    assert together(plan, alone, photos.wild, tmp_path) == {}


def test_a_reconstructor_learns_the_pose_of_the_landmarks():
    """Faces of one grey level each, whose level says how far they are turned."""
    rng = np.random.default_rng(0)
    depth = canonical_faces(4, 112)[0].mean(0)
    yaw = torch.linspace(-0.7, 0.7, 64)
    view = torch.zeros(64, 6)
    view[:, 1] = yaw
    landmarks = seen_landmarks(landmark_points(depth), view, 112, 0.94).numpy()
    level = (128 + 150 * yaw.numpy())[:, None, None, None] + rng.normal(0, 2, (64, 16, 16, 3))
    weights = fit_reconstructor(
        level.astype(np.uint8), landmarks.astype(np.float32),
        config=VALUES["reconstructor"]["config"], transforms=[], epochs=40, seed=0,
    )  # fmt: skip
    model = MODELS.build(VALUES["reconstructor"]["config"])
    model.load_state_dict(weights)
    images = torch.from_numpy(level).float().permute(0, 3, 1, 2) / 127.5 - 1
    found = model.view_of(images)[:, 1].detach()
    assert np.corrcoef(found, yaw)[0, 1] > 0.9


def test_error_rates_equal_those_of_repeated_people():
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 6, 4000) for _ in range(2))
    same, scores = first == second, rng.normal(size=4000) + (first == second)
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 3, 1, 1]], np.float32).T
    found = error_rates(scores, same, first, second, weights, [0.05])
    for number, times in enumerate(weights.T):
        count = np.where(same, times[first], times[first] * times[second]).astype(int)
        own, others = (np.repeat(scores[kind], count[kind]) for kind in (same, ~same))
        # The threshold is the lowest score with at most this share of impostors above it.
        threshold = min(s for s in others if (others > s).mean() <= 0.05)
        assert found["tar"][0, number] == pytest.approx((own > threshold).mean(), abs=0.01)
        gaps = [abs((others > s).mean() - (own <= s).mean()) for s in np.unique(scores)]
        level = np.unique(scores)[int(np.argmin(gaps))]
        rate = ((others > level).mean() + (own <= level).mean()) / 2
        assert found["eer"][number] == pytest.approx(rate, abs=0.01)


def test_accuracy_equals_that_of_the_protocol(photos):
    rng = np.random.default_rng(0)
    found = rng.normal(size=(len(photos.cfp.paths), 4))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    who = np.unique(photos.cfp.names, return_inverse=True)[1]
    pairs = photos.profile
    scores = (found[pairs.first] * found[pairs.second]).sum(1)
    expected, _ = fold_accuracy(
        fold_decisions(scores, pairs.same, fold=pairs.fold), fold=pairs.fold
    )
    times = np.array([1, 2, 0, 1, 3, 1, 1, 1], np.float32)
    of_ones, of_drawn = right_shares(
        found, who, pairs, np.stack([np.ones(8, np.float32), times], 1)
    ).T
    assert of_ones.mean() == pytest.approx(expected)
    right = fold_decisions(scores, pairs.same, fold=pairs.fold)
    a, b = times[who[pairs.first]], times[who[pairs.second]]
    shares = [
        np.average(right[pairs.same], weights=a[pairs.same]),
        np.average(right[~pairs.same], weights=(a * b)[~pairs.same]),
    ]
    assert of_drawn == pytest.approx(shares)


def test_perfect_embeddings_have_perfect_figures(photos):
    who = np.unique(photos.cfp.names, return_inverse=True)[1]
    embeddings = np.repeat(np.eye(8, dtype=np.float32)[who][:, None], 2, 1)
    embeddings[photos.cfp.profile] *= 3
    found = figures_of(photos.cfp, embeddings, photos.folds(), photos.frontal, photos.profile)
    assert list(found) == list(TITLES)
    assert {name: round(float(draws[0]), 6) for name, draws in found.items()} == {
        "fp.accuracy": 1, "ff.accuracy": 1, "fp.tar.0.01": 1, "fp.tar.0.001": 1, "fp.eer": 0,
        "fp.far": 0, "fp.reject_area": 0, "ff.reject_area": 0,
        "kappa.frontal": 1, "kappa.profile": 3,
    }  # fmt: skip


def test_of_a_network_that_knows_two_kinds_of_people_the_far_is_seen(photos):
    """In every other fold, two people are of one kind, and are accepted as one person."""
    kinds = np.array([0, 0, 0, 1, 0, 0, 0, 1])
    who = np.unique(photos.cfp.names, return_inverse=True)[1]
    embeddings = np.repeat(np.eye(2, dtype=np.float32)[kinds[who]][:, None], 2, 1)
    found = figures_of(photos.cfp, embeddings, photos.folds(), photos.frontal, photos.profile)
    assert found["fp.accuracy"][0] == 0.75 and found["fp.far"][0] == 0.5


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """The results of a finished study."""
    out = tmp_path_factory.mktemp("out")
    run(Plan.model_validate(VALUES), read_photos(folder, 16, out / "faces"), out, [])
    return out


@pytest.fixture
def out(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def test_a_study_resumes_where_it_stopped(plan, photos, out, monkeypatch):
    one = next(part_runs(plan, "folds", running.choose(plan, photos, out)))
    path = out / f"{one.name}.npz"
    before = path.read_bytes()
    path.unlink()
    done = []
    whole = train

    def count(*arguments, **options):
        done.append(options)
        return whole(*arguments, **options)

    monkeypatch.setattr(running, "train", count)
    run(plan, photos, out, [])
    assert len(done) == 1
    again, first = (dict(np.load(source)) for source in (path, _file(before, path)))
    np.testing.assert_array_equal(again["embeddings"], first["embeddings"])


def _file(content, path):
    copy = path.with_suffix(".before.npz")
    copy.write_bytes(content)
    return copy


def test_only_the_views_that_are_named_give_their_transforms_the_landmarks(
    plan, photos, out, monkeypatch
):
    chosen, given = running.choose(plan, photos, out), {}
    monkeypatch.setattr(running, "embed_images", lambda *_: np.zeros((1, 2, 16), np.float32))
    monkeypatch.setattr(running, "train", lambda *_, **options: given.update(options))
    for one in part_runs(plan, "wild", chosen):
        running.once(plan, one, photos, out.parent / "other")
        if one.view == "known":
            np.testing.assert_array_equal(given["landmarks"], photos.wild.landmarks)
        else:
            assert given["landmarks"] is None


def test_results_from_before_there_were_views_with_landmarks_still_count(plan, photos, out):
    one = next(part_runs(plan, "wild", running.choose(plan, photos, out)))
    path = out / f"{one.name}.npz"
    found = dict(np.load(path))
    made = json.loads(str(found["about"]))
    assert made["settings"].pop("landmarks") is None
    np.savez(path, embeddings=found["embeddings"], about=np.array(json.dumps(made)))
    assert is_done(plan, one, out)
    with pytest.raises(ValueError, match="with other settings: landmarks;"):
        is_done(plan, replace(one, landmarks=True), out)


def test_a_run_of_another_plan_is_not_reused(plan, photos, out):
    values = json.loads(json.dumps(VALUES))
    values["tuning"]["epochs"] = 2
    other = Plan.model_validate(values)
    with pytest.raises(ValueError, match=r"was run with other settings: epochs, tuning; remove it"):
        is_done(other, next(tuning_runs(other)), out)
    with pytest.raises(ValueError, match=r"parts: found \['other'\], allowed are"):
        run(plan, photos, out, ["other"])


def test_the_tuning_has_to_come_first(plan, photos, tmp_path):
    with pytest.raises(ValueError, match="run the part 'tuning' first"):
        run(plan, photos, tmp_path / "out", ["wild"])


@pytest.fixture
def page_of(plan, photos, out, tmp_path, monkeypatch):
    """Collects the tables, writes the page, and returns its text."""
    monkeypatch.setattr(figures, "ROUNDS", 20)

    def page():
        collect(plan, photos, out, tmp_path / "docs" / "study")
        write_page(plan, tmp_path / "docs")
        return (tmp_path / "docs" / "study_real.md").read_text(encoding="utf-8")

    return page


def test_tables_and_page(page_of, photos, out, tmp_path):
    next(out.glob("wild/lh2face-plain-2.npz")).unlink()
    page = page_of()
    # A seed with a missing run does not count for its row, and the page says so.
    assert "`wild`: 1 epochs, seeds 0, 1, 2.\n" in page
    assert "with the seeds that they have: `lh2face` plain (0, 1).\n" in page
    assert "| `wild` | `plain` | 2 |" in page and "| `wild` | `turned` | 3 |" in page
    table = pd.read_csv(tmp_path / "docs" / "study" / "real_figures.csv")
    wild = table[table["part"] == "wild"].groupby(["head", "view"])["seed"].nunique()
    assert wild["lh2face", "plain"] == 2 and set(wild.drop(("lh2face", "plain"))) == {3}
    assert "| `lh2face-turned` − `cosface-turned` |" in page
    # Each view is compared with each later one.
    for first, second in (("turned", "plain"), ("turned", "known"), ("plain", "known")):
        assert page.count(f"| `lh2face-{first}` − `lh2face-{second}` |") == 2
        assert f"### Faces `{first}` beside `{second}`\n" in page
    assert "by nothing; the transforms get the landmarks" in page
    assert "| `lh2face-turned` − `wild:lh2face-turned` |" in page
    assert "(`fusion: canonical_depth`)" in page
    # Parts are compared with the part that the plan names, and with no other.
    rows = pd.read_csv(tmp_path / "docs" / "study" / "real_differences.csv")
    across = rows[rows["second"].str.contains(":")]
    assert set(across["part"]) == {"folds", "joint"}
    assert "| `joint` − `folds` | `turned` |" in page and "| `folds` − `wild` | `turned` |" in page
    # As many rows of the first table as it has, for each of its figures.
    assert len(re.findall(r"\d of 5 \(significantly", page.partition("## How to")[0])) == 4
    written = page + "".join(path.read_text() for path in (tmp_path / "docs" / "study").iterdir())
    assert not any(name in written for name in {*photos.cfp.paths, *photos.wild.paths})


def test_a_view_without_the_subject_is_left_out(page_of, out, tmp_path):
    for path in out.glob("wild/lh2face-plain-*.npz"):
        path.unlink()
    page = page_of()
    table = pd.read_csv(tmp_path / "docs" / "study" / "real_figures.csv")
    assert set(table.loc[table["part"] == "wild", "view"]) == {"turned", "known"}
    assert "`lh2face` plain (none), `cosface` plain (none)" in page


def test_a_variant_that_was_not_run_yet_is_named(photos, out, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "ROUNDS", 20)
    values = json.loads(json.dumps(VALUES))
    values["variants"] = {"lh2face_wide": {"type": "LH2FaceHead", "margin_factor": 0.5}}
    values["parts"]["wild"]["heads"].append("lh2face_wide")
    plan = Plan.model_validate(values)
    collect(plan, photos, out, tmp_path / "study")
    write_page(plan, tmp_path)
    page = (tmp_path / "study_real.md").read_text(encoding="utf-8")
    assert "with the seeds that they have: `lh2face_wide` turned (none)," in page
    assert "| `wild` | `turned` | 3 |" in page


def test_parts_without_a_whole_seed_are_named(page_of, out):
    for path in out.glob("folds/cosface-*-1.npz"):
        path.unlink()
    page = page_of()
    assert "because too little of them is complete: `folds`." in page
    assert "`folds`: 1 epochs" not in page and "`joint`: 1 epochs, seeds 0, 1." in page
    assert "### Against the part" not in page
    assert "What a part changes" not in page


def test_what_is_better_and_worse(plan):
    columns = ["part", "first", "second", "figure", "difference", "low", "high"]
    rows = [
        ("wild", "lh2face-plain", "cosface-plain", "fp.accuracy", 0.02, 0.01, 0.03),
        ("wild", "lh2face-plain", "cosface-plain", "fp.eer", 0.02, 0.01, 0.03),
        ("wild", "lh2face-plain", "cosface-plain", "kappa.profile", 2.0, 1.0, 3.0),
    ]
    assert "fp.eer" in LESS_IS_BETTER
    origin = {"parts": {"wild": {}}}
    found = Results(plan, pd.DataFrame(), pd.DataFrame(rows, columns=columns), origin)
    duels = found.duels("wild", "plain", "lh2face")
    assert duels["better"].tolist() == [True, False, False]
    assert duels["worse"].tolist() == [False, True, False]
    assert found.summary(duels, "fp.eer") == (
        "0 of 1 (significantly better in 0, significantly worse in 1)"
    )


def test_a_variant_is_beside_the_best_baseline_not_beside_the_subject():
    values = json.loads(json.dumps(VALUES))
    values["variants"] = {"wide": {}, "unrun": {}}
    values["parts"]["wild"]["heads"] += ["wide", "unrun"]
    plan = Plan.model_validate(values)
    means = {"lh2face": 0.9, "cosface": 0.6, "wide": 0.7}
    figure_rows = [
        ("wild", view, head, seed, figure, value)
        for figure in HEADLINE
        for view in ("turned", "plain")
        for head, value in means.items()
        for seed in (0, 1)
        if (head, view) != ("wide", "plain")
    ]
    table = pd.DataFrame(figure_rows, columns=["part", "view", "head", "seed", "figure", "value"])
    columns = ["part", "first", "second", "figure", "difference", "low", "high"]
    differences = pd.DataFrame(
        [
            ("wild", f"{head}-turned", "cosface-turned", figure, means[head] - 0.6, 0.05, 0.4)
            for head in ("lh2face", "wide")
            for figure in HEADLINE
        ],
        columns=columns,
    )  # fmt: skip
    found = Results(plan, table, differences, {"parts": {"wild": {}}})
    assert found.shown_subjects() == ["lh2face", "wide"]
    rows = found.headline("wide").splitlines()
    assert len(rows) == 3
    assert rows[2].startswith("| `wild` | `turned` | 2 | 70.0, `cosface` 60.0: **+10.0 (+5.0 …")
    assert len(found.headline("lh2face").splitlines()) == 4
    beside = found.beside_best("wide")
    assert beside["difference"].tolist() == pytest.approx([0.1] * len(HEADLINE))
    turning = found.turning()
    assert "`lh2face-turned` − `lh2face-plain` | too few seeds" in turning
    assert "wide" not in turning


def test_the_table_among_the_results_is_that_of_the_page():
    results, page = (
        (ROOT / "docs" / name).read_text().splitlines() for name in ("results.md", "study_real.md")
    )
    rows = {line for line in results if line.startswith("| `wild` ")}
    assert rows and rows <= set(page)


def test_the_page_in_docs_is_what_the_command_makes_of_the_tables(tmp_path):
    shutil.copytree(ROOT / "docs" / "study", tmp_path / "study")
    write_page(load_plan(PLAN), tmp_path)
    assert (tmp_path / "study_real.md").read_text() == (ROOT / "docs/study_real.md").read_text()


def test_the_table_of_the_readme_is_that_of_the_page():
    page = (ROOT / "docs" / "study_real.md").read_text("utf-8")
    turned = page.partition("### Faces `turned`")[2].partition("### ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if line.startswith("| ")
    ]
    first, *heads = [row for row in rows if row[0] != "---"]
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in turned.splitlines()
        if line.startswith("| ")
    ]
    columns = [table[0].index(name) for name in first]
    assert len(heads) == 9
    assert all([row[at] for at in columns] in heads for row in table[2:11])
