"""Plan, choice of candidates, comparisons and page of the study work on made-up evaluations."""

import csv
import json
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from lh2face.params import ParamsError, load_params, overlay_params
from workflow.study.synthetic.page import Results, write_page
from workflow.study.synthetic.plan import Plan, folders, load_plan
from workflow.study.synthetic.results import collect
from workflow.study.synthetic.run import choose, clone, git, overlay, run
from workflow.study.tables import cell_code

ROOT = Path(__file__).parents[3]
PLAN = ROOT / "workflow" / "study" / "synthetic" / "plan.yaml"
HELD_OUT = {"fraction": 0.25, "fold": 0, "seed": 0}
PHOTOS = {"type": "image_folder", "path": "../photos", "aligned": True, "held_out": HELD_OUT}
TAR, AREA = "verification.tar.0.001", "reject.area"
VALUES = {
    "base": {"train": {"epochs": 3}, "compare": {"benchmarks": ["people"]}},
    "select": TAR,
    "candidates": {
        "arcface": [{"type": "ArcFaceHead", "scale": scale} for scale in (16.0, 32.0)],
        "lh2face": [{"type": "LH2FaceHead", "vmf_dim": n} for n in (32, 64)],
    },
    "variants": {"no_margin": {"margin_factor": 0.0}},
    "parts": {
        "tuning": {
            "about": "Candidates", "models": "candidates", "seeds": [0], "figures": [TAR],
            "params": {"sources": {"people": {"seed": 1}}, "benchmarks": {"people": {"seed": 1}}},
        },
        "heads": {"about": "Heads", "models": "chosen", "seeds": [0, 1], "figures": [TAR, AREA]},
        "ablation": {"about": "Parts", "models": "variants", "seeds": [0], "figures": [TAR]},
        "pooling": {
            "about": "Pooling", "models": "subject", "reference": "heads", "seeds": [0],
            "figures": [TAR],
            "params": {"evaluate": {"pooling": "kappa"}},
        },
        "photos": {
            "about": "Photos", "models": "chosen", "seeds": [0], "folds": 2, "figures": [TAR],
            "params": {"sources": {"photos": PHOTOS}, "benchmarks": {"photos": PHOTOS},
                       "compare": {"benchmarks": ["photos"]}},
        },
    },
}  # fmt: skip
PROVENANCE = {"commit": "0123456789abcdef", "device": "cpu", "versions": {"torch": "2.13.0"}}
PROVENANCE |= {"data": {}, "params": {"seed": 0}}


@pytest.fixture
def plan():
    return Plan.model_validate(VALUES)


def evaluation(folder, tar, area=0.05, benchmark="people"):
    """Write the files of one model's evaluation that the study reads."""
    out = folder / "evaluation" / benchmark
    out.mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text(json.dumps({"provenance": PROVENANCE}))
    (out / "provenance.json").write_text(json.dumps(PROVENANCE))
    metrics = {"verification": {"tar": {"0.001": tar}}, "reject": {"area": area}}
    metrics["kappa"] = {"mean": 20 * tar}
    (out / "metrics.json").write_text(json.dumps(metrics))
    rounds = np.random.default_rng(0).normal(0, 0.01, 100)
    with (out / "draws.csv").open("w", newline="") as file:
        csv.writer(file).writerows([(TAR, AREA), *((tar + r, area + r / 10) for r in rounds)])


@pytest.fixture
def out(tmp_path, plan):
    """A finished study without the part ``ablation``."""
    out = tmp_path / "study"
    chosen = {
        "arcface": VALUES["candidates"]["arcface"][0],
        "lh2face": VALUES["candidates"]["lh2face"][1],
    }
    for name, part in plan.parts.items():
        for fold, folder in enumerate(folders(out, name, part)):
            folder.mkdir(parents=True)
            heads = {} if part.models == "candidates" else chosen
            YAML().dump(overlay(plan, name, fold, heads), folder / "overlay.yaml")
    tars = {"arcface-0": 0.5, "arcface-1": 0.4, "lh2face-0": 0.3, "lh2face-1": 0.6}
    for name, tar in tars.items():
        evaluation(out / "tuning" / "runs" / name / "0", tar)
    for seed in (0, 1):
        evaluation(out / "heads" / "runs" / "arcface" / str(seed), 0.5 + seed / 50, area=0.04)
        evaluation(out / "heads" / "runs" / "lh2face" / str(seed), 0.7 + seed / 50, area=0.06)
    evaluation(out / "pooling" / "runs" / "lh2face" / "0", 0.69)
    for fold in (0, 1):
        evaluation(
            out / f"photos-{fold}" / "runs" / "arcface" / "0", 0.8 + fold / 10, benchmark="photos"
        )
        evaluation(
            out / f"photos-{fold}" / "runs" / "lh2face" / "0", 0.8 - fold / 10, benchmark="photos"
        )
    return out


@pytest.mark.parametrize("part", load_plan(PLAN).parts)
def test_every_part_of_the_plan_gives_valid_parameters(part, params_file, tmp_path):
    plan = load_plan(PLAN)
    chosen = {head: configs[0] for head, configs in plan.candidates.items()}
    YAML().dump(plan.overlay(part, 0, chosen), tmp_path / "overlay.yaml")
    overlay_params([tmp_path / "overlay.yaml"], params_file)
    params = load_params(params_file)
    names = list(plan.heads(plan.parts[part], chosen))
    assert [*params.compare.heads, *params.compare.joint_heads] == names
    assert params.compare.seeds == plan.parts[part].seeds


def test_tuning_has_its_own_people():
    plan = load_plan(PLAN)
    chosen = {head: configs[0] for head, configs in plan.candidates.items()}
    seeds = {True: set(), False: set()}
    for name, part in plan.parts.items():
        values = plan.overlay(name, 0, chosen)
        for section in ("sources", "benchmarks"):
            people = values[section].get("people", {})
            seeds[part.models == "candidates"].add(people.get("seed", 0))
    assert not seeds[True] & seeds[False]


def test_overlays(plan):
    chosen = {"arcface": {"type": "ArcFaceHead"}, "lh2face": {"type": "LH2FaceHead", "vmf_dim": 32}}
    values = plan.overlay("ablation", 0, chosen)
    assert values["train"] == {"epochs": 3} and "evaluate" not in values
    changed = {"type": "LH2FaceHead", "vmf_dim": 32, "margin_factor": 0.0}
    assert values["heads"] == {"lh2face": chosen["lh2face"], "no_margin": changed}
    second_half = PHOTOS | {"held_out": {"fraction": 0.5, "fold": 1, "seed": 0}}
    photos = plan.overlay("photos", 1, chosen)
    assert photos["sources"] == photos["benchmarks"] == {"photos": second_half}
    assert plan.overlay("pooling", 0, chosen)["evaluate"] == {"pooling": "kappa"}
    # The changes of a part do not alter the plan.
    assert plan.base == VALUES["base"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["candidates"]["arcface"].pop(), "expected the same number for every head"),
        (lambda v: v["candidates"].pop("lh2face"), "lh2face is missing"),
        (lambda v: v["parts"].pop("tuning"), r"heads\.tuning: found 'tuning', allowed .*: \[\]"),
        (
            lambda v: v["parts"]["heads"].update(tuning="pooling"),
            r"heads\.tuning: found 'pooling', allowed .*: \['tuning'\]",
        ),
        (lambda v: v["parts"]["heads"].update(models="all"), r"parts\.heads\.models.*found 'all'"),
        (lambda v: v["parts"]["pooling"].update(reference="all"), "found 'all', allowed are"),
        (lambda v: v["parts"]["heads"].update(models=["x"]), r"heads\.models: found \['x'\]"),
        (lambda v: v.update(extra=1), "extra: unknown key"),
        (
            lambda v: v.update(select=AREA),
            r"select: found 'reject\.area', allowed are",
        ),
        (
            lambda v: v["variants"].update(arcface={}),
            r"variants: found \['arcface'\]",
        ),
        (
            lambda v: v["parts"]["heads"].update(seeds=[]),
            r"heads\.seeds: .* at least 1 item",
        ),
        (lambda v: v["parts"]["heads"].update(models=[]), r"heads\.models.* at least 1 item"),
        (lambda v: v["parts"]["heads"].update(figures=["tar"]), r"heads: .*found the figure 'tar'"),
    ],
)
def test_errors_in_a_plan_are_named(change, message, tmp_path):
    values = json.loads(json.dumps(VALUES))
    change(values)
    YAML().dump(values, tmp_path / "plan.yaml")
    with pytest.raises(ParamsError, match=message):
        load_plan(tmp_path / "plan.yaml")


def test_named_heads_compete_and_the_first_is_the_contender(plan, out, tmp_path):
    part = plan.parts["heads"].model_copy(update={"models": ["lh2face", "no_margin", "arcface"]})
    chosen = choose(plan, out, "tuning")
    assert list(plan.heads(part, chosen)) == part.models
    assert plan.heads(part, chosen)["no_margin"]["margin_factor"] == 0
    assert plan.contender(part) == "lh2face"
    for seed in (0, 1):
        evaluation(out / "heads" / "runs" / "no_margin" / str(seed), 0.75)
    collect(plan.model_copy(update={"parts": {**plan.parts, "heads": part}}), out, tmp_path)
    found = pd.read_csv(tmp_path / "differences.csv").query("part == 'heads' and figure == @TAR")
    assert found["model"].tolist() == ["lh2face"] * 2
    assert found["reference"].tolist() == ["no_margin", "arcface"]
    assert found["difference"].tolist() == pytest.approx([-0.04, 0.2])


def test_an_unknown_part_is_named(plan, tmp_path):
    with pytest.raises(ValueError, match=r"found \['heds'\], allowed are \['tuning', 'heads'"):
        run(plan, tmp_path, jobs=1, only=["heds"])


def test_missing_results_and_failed_runs_are_named(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # there is no git repository here
    with pytest.raises(ValueError, match="run synthetic tuning` first"):
        run(plan, Path("study"), jobs=1, only=["heads"])
    with pytest.raises(ValueError, match=r"`git clone --quiet …` failed"):
        run(plan, Path("study"), jobs=1, only=["tuning"])


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with one commit."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "params.yaml").write_text("a: 1\n")
    (root / "code.py").write_text("committed\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def test_a_plain_folder_in_place_of_a_clone_is_refused(repository):
    (repository / "code.py").write_text("edited\n")
    folder = repository / "study" / "heads"
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="heads: exists, but is not a clone"):
        clone(repository, folder)
    assert (repository / "code.py").read_text() == "edited\n"
    assert git(repository, "symbolic-ref", "HEAD")


def test_a_clone_is_reused_only_without_edits(repository, tmp_path):
    folder = tmp_path / "heads"
    for _ in range(2):
        clone(repository, folder)
        (folder / "params.yaml").write_text("a: 2\n")
    (folder / "code.py").write_text("edited\n")
    with pytest.raises(ValueError, match=r"heads: a run would undo the changes of code\.py"):
        clone(repository, folder)
    assert (folder / "code.py").read_text() == "edited\n"


def test_a_clone_of_another_repository_is_refused(repository, tmp_path):
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", repository, other], check=True)
    clone(other, tmp_path / "heads")
    with pytest.raises(ValueError, match="not a clone"):
        clone(repository, tmp_path / "heads")


def test_paths_of_photos_are_made_absolute(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people = {"type": "synthetic", "path": "plugin"}
    YAML().dump(
        {"sources": {"people": people}, "benchmarks": {"people": people}}, Path("params.yaml")
    )
    chosen = {"lh2face": {"type": "LH2FaceHead"}}
    photos = overlay(plan, "photos", 1, chosen)
    for section in ("sources", "benchmarks"):
        assert photos[section]["photos"]["path"] == str(tmp_path.parent / "photos")
        assert photos[section]["photos"]["held_out"]["fold"] == 1
    # Parts without photos have the same parameters on every machine.
    assert "sources" not in overlay(plan, "heads", 0, chosen)


def test_a_part_has_one_benchmark(tmp_path):
    plan = load_plan(PLAN)
    assert plan.benchmark("heads") == "people" and plan.benchmark("att_faces") == "att_faces"
    folder = tmp_path / "att_faces-1" / "runs" / "lh2face" / "0" / "evaluation" / "att_faces"
    assert plan.evaluations(tmp_path, "att_faces", "lh2face")[1] == folder
    values = deepcopy(VALUES)
    values["parts"]["pooling"]["params"]["compare"] = {"benchmarks": ["people", "lfw"]}
    with pytest.raises(
        ValueError, match=r"parts\.pooling\.params\.compare\.benchmarks: expected one"
    ):
        Plan.model_validate(values)
    del values["parts"]["pooling"]["params"]["compare"], values["base"]["compare"]
    with pytest.raises(ValueError, match=r"tuning\.params\.compare\.benchmarks: .*found None"):
        Plan.model_validate(values)


def test_results_of_other_parameters_are_reported(plan, out, tmp_path, caplog):
    collect(plan, out, tmp_path)
    assert "overlay.yaml" not in caplog.text
    changed = {**plan.base, "train": {"epochs": 4}}
    collect(plan.model_copy(update={"base": changed}), out, tmp_path)
    assert f"heads: {out / 'heads' / 'overlay.yaml'} differs from the current plan" in caplog.text


def test_the_candidate_with_the_smallest_area_is_chosen(plan, out):
    plan = plan.model_copy(update={"select": AREA})
    evaluation(
        out / "tuning" / "runs" / "arcface-0" / "1", 0.5, area=0.9
    )  # a seed that is not in the plan
    tables = out / "tuning" / "runs" / "arcface-1" / "0" / "evaluation/people/metrics.json"
    tables.write_text(tables.read_text().replace('"area": 0.05', '"area": 0.01'))
    assert choose(plan, out, "tuning")["arcface"]["scale"] == 32


def test_runs_are_paired_by_seed_and_incomplete_parts_are_left_out(plan, out, tmp_path):
    parts = {name: plan.parts[name] for name in ("tuning", "heads", "pooling")}
    parts["pooling"] = parts["pooling"].model_copy(update={"seeds": [10, 2]})
    parts["heads"] = parts["heads"].model_copy(update={"seeds": [2, 10]})
    for seed, tar in ((2, 0.2), (10, 0.4)):
        for model in ("arcface", "lh2face"):
            evaluation(out / "heads" / "runs" / model / str(seed), tar)
        evaluation(out / "pooling" / "runs" / "lh2face" / str(seed), tar + 0.1)
    plan = plan.model_copy(update={"parts": parts})
    collect(plan, out, tmp_path)
    found = pd.read_csv(tmp_path / "differences.csv").query("part == 'pooling'")
    # Paired by seed, runs differ only by the change of the part.
    assert found[["difference", "low", "high"]].values.tolist() == [pytest.approx([0.1] * 3)]
    shutil.rmtree(out / "heads" / "runs" / "arcface" / "10")
    collect(plan, out, tmp_path)
    assert set(pd.read_csv(tmp_path / "figures.csv")["part"]) == {"tuning", "pooling"}


def test_an_unknown_figure_is_named(plan, out, tmp_path):
    part = plan.parts["heads"].model_copy(update={"figures": ["verification.tar.0.5"]})
    plan = plan.model_copy(update={"parts": {**plan.parts, "heads": part}})
    with pytest.raises(ValueError, match=r"heads\.figures: found \['verification\.tar\.0\.5'\]"):
        collect(plan, out, tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("metrics.json", {"kappa": None}, "expected a number as 'kappa.mean', found None"),
        ("metrics.json", {"kappa": {"mean": "x"}}, "expected a number as 'kappa.mean', found 'x'"),
        ("provenance.json", {"commit": None}, None),
        ("../../model/model.json", {"provenance": None}, "it has no provenance"),
        (
            "../../model/model.json",
            {"provenance": {"commit": 1}},
            "expected the commit, device and",
        ),
        (
            "../../model/model.json",
            {"provenance": {**PROVENANCE, "versions": [1]}},
            "expected the commit, device and versions",
        ),
    ],
)
def test_a_damaged_result_is_named(plan, out, tmp_path, file, change, words):
    path = out / "heads" / "runs" / "arcface" / "1" / "evaluation" / "people" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    if words is None:  # made outside a git repository
        collect(plan, out, tmp_path / "to")
        return
    with pytest.raises(ValueError, match=f"{path.resolve().name}: {words}"):
        collect(plan, out, tmp_path / "to")
    path.unlink()
    with pytest.raises(ValueError, match=path.name):
        collect(plan, out, tmp_path / "to")


def test_text_shown_as_code_does_not_end_its_table_cell():
    assert cell_code("a|b`\n") == r"`` a\|b`\n ``"


def test_the_best_candidate_is_chosen(plan, out):
    chosen = choose(plan, out, "tuning")
    assert chosen["arcface"]["scale"] == 16 and chosen["lh2face"]["vmf_dim"] == 64


def test_a_part_has_the_heads_that_its_tuning_chose(plan, out, tmp_path, monkeypatch, caplog):
    tunings = dict.fromkeys(("tuning", "again"), plan.parts["tuning"])
    heads = plan.parts["heads"].model_copy(update={"tuning": "again"})
    plan = plan.model_copy(update={"parts": {**tunings, "heads": heads}})
    collect(plan, out, tmp_path)  # the part "again" is missing
    assert set(pd.read_csv(tmp_path / "figures.csv")["part"]) == {"tuning"}
    for name, tar in {
        "arcface-0": 0.1,
        "arcface-1": 0.2,
        "lh2face-0": 0.4,
        "lh2face-1": 0.3,
    }.items():
        evaluation(out / "again" / "runs" / name / "0", tar)
    shutil.copy(out / "tuning" / "overlay.yaml", out / "again")
    collect(plan, out, tmp_path)
    assert "heads" in set(pd.read_csv(tmp_path / "figures.csv")["part"])
    chosen = json.loads((tmp_path / "origin.json").read_text())["chosen"]
    assert {name: one["lh2face"]["vmf_dim"] for name, one in chosen.items()} == {
        "tuning": 64, "again": 32,
    }  # fmt: skip
    made = []
    monkeypatch.setattr("workflow.study.synthetic.run.clone", lambda *_: None)
    monkeypatch.setattr(
        "workflow.study.synthetic.run.reproduce", lambda _, __, values, *___: made.append(values)
    )
    run(plan, out, jobs=1, only=["heads"])
    assert made[0]["heads"] == chosen["again"] != chosen["tuning"]
    YAML().dump(made[0], out / "heads" / "overlay.yaml")
    caplog.clear()
    collect(plan, out, tmp_path)
    assert "heads/overlay.yaml" not in caplog.text


def test_without_a_whole_part_there_is_no_page(plan, tmp_path):
    with pytest.raises(ValueError, match=r"study: no part of the plan is complete"):
        collect(plan, tmp_path / "study", tmp_path)


def test_tables_have_figures_and_paired_differences(plan, out, tmp_path):
    collect(plan, out, tmp_path / "docs")
    figures = pd.read_csv(tmp_path / "docs" / "figures.csv")
    heads = figures[(figures["part"] == "heads") & (figures["figure"] == TAR)]
    assert heads.groupby("model")["value"].mean().to_dict() == pytest.approx(
        {"arcface": 0.51, "lh2face": 0.71}
    )
    kappa = figures[(figures["part"] == "heads") & (figures["figure"] == "kappa.mean")]
    assert kappa[kappa["model"] == "lh2face"]["value"].tolist() == pytest.approx([14, 14.4])
    found = pd.read_csv(tmp_path / "docs" / "differences.csv").set_index(["part", "figure"])
    assert set(found.index.get_level_values("part")) == {"heads", "pooling", "photos"}
    row = found.loc[("heads", TAR)]
    assert (row["model"], row["reference"]) == ("lh2face", "arcface")
    # Errors of templates and of seeds are shared, so they cancel.
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([0.2, 0.2, 0.2])
    # The model is compared with itself in the part "heads", seed by seed.
    assert found.loc[("pooling", TAR), "difference"] == pytest.approx(-0.01)
    row = found.loc[("photos", TAR)]
    assert row["difference"] == pytest.approx(-0.1) and row["low"] < -0.15 < -0.05 < row["high"]


def test_the_page_has_tables_and_figures(plan, out, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    collect(plan, out, tmp_path / "study")
    write_page(plan, tmp_path)
    page = (tmp_path / "study.md").read_text()
    assert "| arcface | `scale: 16.0` | **50.0** |" in page
    assert "| arcface | `scale: 32.0` | 40.0 |" in page
    assert "| `lh2face` | **71.0 ± 1.4** | 6.00 ± 0.00 |" in page
    assert (
        "| TAR at FAR 1e-3 | `lh2face` − `arcface` | **+20.0 (+20.0 … +20.0)** | better |" in page
    )
    # A smaller area under the reject curve is better.
    assert "| **4.00 ± 0.00** |" in page
    assert "| reject-curve area | `lh2face` − `arcface` | **+2.0 (+2.0 … +2.0)** | worse |" in page
    assert "`0123456789`" in page and "ablation" not in page
    assert "<svg" in (tmp_path / "study" / "heads.svg").read_text()


def test_findings_are_computed_from_the_tables(plan, out, tmp_path):
    collect(plan, out, tmp_path)
    figures, differences = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("figures", "differences"))
    results = Results(
        plan, figures, differences, json.loads((tmp_path / "origin.json").read_text())
    )
    assert results.lead("heads") == 1  # in TAR, not in the area under the reject curve
    assert results.count("heads", "better") == ["TAR at FAR 1e-3"]
    assert results.count("heads", "worse") == ["reject-curve area"]
    assert results.beaten("heads", TAR) == "`arcface`" and results.beaten("heads", AREA) == "none"
    assert results.difference("heads", "lh2face", "arcface", TAR) == "+20.0 (+20.0 … +20.0)"
    assert results.value("heads", "arcface", TAR) == "51.0 ± 1.4"
    assert results.significant("pooling", "worse") == "`lh2face`"
    assert results.significant("pooling", "better") == "none"


def test_the_page_in_docs_is_what_the_command_makes_of_the_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shutil.copytree(ROOT / "docs" / "study", tmp_path / "study")
    write_page(load_plan(PLAN), tmp_path)
    for path in [Path("study.md"), *(p.relative_to(tmp_path) for p in tmp_path.rglob("*.svg"))]:
        assert (tmp_path / path).read_text() == (ROOT / "docs" / path).read_text()


def test_the_table_among_the_results_is_that_of_the_page():
    results, page = (
        (ROOT / "docs" / name).read_text().splitlines() for name in ("results.md", "study.md")
    )
    rows = {line for line in results if line.startswith("| `") and " ± " in line}
    assert rows and rows <= set(page)
