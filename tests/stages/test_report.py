"""The report of a small run shows its figures, and works in a real browser."""

import base64
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly", reason="needs the pipeline extra")

from lh2face.artifacts.evaluations import read_run
from lh2face.artifacts.run_metrics import read_depth, read_fit
from lh2face.data.benchmark import read_benchmark
from lh2face.params import Params, read_yaml
from lh2face.report import plots
from lh2face.report.pictures import hardest
from lh2face.report.training import training_plots
from lh2face.stages import align_benchmark, benchmark, evaluate, report

ROOT = Path(__file__).resolve().parents[2]
MODELS, SEEDS = ["untrained", "cosface", "<img src=x onerror=alert(1)>"], [0, 1]
NOISE = [8.0, 2.0, 1.0]
SIZE, TURNS = 32, [-60, -30, 0, 30, 60]


SYNTHETIC = {
    "type": "synthetic", "path": "plugin/lh2face/data/synthetic", "people": 6, "image_size": 64,
    "pairs": 20, "truth_images": 2,
}  # fmt: skip


def params_of(benchmarks):
    """Return parameters of a run of three models, one of them with a hostile name."""
    values = read_yaml(ROOT / "params.yaml")
    values["benchmarks"], values["compare"]["benchmarks"] = benchmarks, [*benchmarks]
    values["evaluate"]["bootstrap"] = 20
    params = Params.model_validate(values)
    compare = {"heads": MODELS[1:], "joint_heads": [], "models": MODELS, "seeds": SEEDS}
    return params.model_copy(
        update={
            "compare": params.compare.model_copy(update=compare),
            "heads": {name: {"type": "</script><script>alert(2)</script>"} for name in MODELS[1:]},
        }
    )


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """Two benchmarks: synthetic people with all parts, and pairs of photos without more."""
    photos = tmp_path_factory.mktemp("photos")
    write_pairs(photos)
    return params_of(
        {"people": SYNTHETIC, "cfp-fp": {"type": "pairs", "path": str(photos), "list": "fp.csv"}}
    )


def write_pairs(folder):
    """Write aligned photos (PNG, JPEG, grey) with a list of pairs and nothing else."""
    rng = np.random.default_rng(3)
    names = [f"{i}.{('png', 'jpg', 'pgm')[i % 3]}" for i in range(24)]
    for name in names:
        shape = (112, 112) if name.endswith("pgm") else (112, 112, 3)
        face = cv2.GaussianBlur(rng.integers(0, 255, shape, np.uint8), (0, 0), 5)
        cv2.imwrite(str(folder / name), cv2.normalize(face, None, 0, 255, cv2.NORM_MINMAX))
    rows = [
        (a, b, int(i // 4 == j // 4), i % 5)
        for i, a in enumerate(names)
        for j, b in enumerate(names[:i])
    ]
    pd.DataFrame(rows, columns=["first", "second", "same", "fold"]).to_csv(
        folder / "fp.csv", index=False
    )


@pytest.fixture(scope="module")
def run(params, tmp_path_factory):
    """Outputs of the real stages, from made-up embeddings and reconstructions."""
    folder = tmp_path_factory.mktemp("run")
    raw, aligned, runs = folder / "raw", folder / "aligned", folder / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for name in params.benchmarks:
            benchmark.run(params, name, raw / name)
            align_benchmark.run(params, name, raw / name, aligned / name)
    for model, noise in zip(MODELS, NOISE, strict=True):
        for seed in SEEDS:
            write_model(runs / model / str(seed))
            for name in params.benchmarks:
                write_embeddings(runs / model / str(seed) / name, aligned / name, noise, seed)
                evaluate.run(
                    params, runs / model / str(seed) / name, aligned / name,
                    runs / model / str(seed) / "evaluation" / name,
                )  # fmt: skip
    write_reconstructor(runs)
    return SimpleNamespace(benchmarks=aligned, runs=runs, folder=folder)


def write_model(folder):
    """Write the files of a training that the report reads."""
    (folder / "model").mkdir(parents=True)
    record = "step,epoch,loss,images_per_second\n10,1,3.5,640\n20,2,2.25,320\n"
    (folder / "model" / "training.csv").write_text(record)
    record = "step,name,accuracy\n10,strangers,0.5\n10,mean,0.75\n20,strangers,0.5\n20,mean,0.875\n"
    (folder / "model" / "validation.csv").write_text(record)
    counted = {"origin": "photos", "images": 6222, "identities": 1549, "left_out": 17}
    params = {"source": "photos", "sources": {"people": counted}}
    made = {"head": {"num_classes": 1549}, "provenance": {"params": params}}
    (folder / "model" / "model.json").write_text(json.dumps(made))


def write_embeddings(out, aligned, noise, seed):
    """Write embeddings of people with noise, which grows with the pose if it is known."""
    rng = np.random.default_rng(seed)
    images = read_benchmark(aligned).images
    rows = np.arange(len(images["name"]))
    people = images.get("identity", rows // 4)
    level = noise * (0.3 + np.abs(images.get("yaw", rows % 60)) / 60)[:, None]
    centers = np.random.default_rng(9).normal(size=(people.max() + 1, 16))
    vectors = centers[people] + level * rng.normal(size=(len(rows), 16))
    vectors *= 20 / (1 + level) / np.linalg.norm(vectors, axis=1, keepdims=True)
    (out / "0").mkdir(parents=True)
    np.save(out / "0" / "embeddings.npy", np.repeat(vectors[:, None], 2, axis=1).astype(np.float32))


def write_reconstructor(runs):
    """Write samples whose turned views have one colour each: the red level shows the turn."""
    for name in ("fit3d", "depth"):
        (runs / name).mkdir()
    plain = np.full((2, SIZE, SIZE, 3), 90, np.uint8)
    turned = np.zeros((2, len(TURNS), SIZE, SIZE, 3), np.uint8)
    turned[..., 0] = np.linspace(50, 250, len(TURNS))[:, None, None]
    np.savez(
        runs / "depth" / "samples.npz", input=plain, depth=plain[..., 0], turned=turned,
        turns=np.array(TURNS),
    )  # fmt: skip
    metrics = {
        "steps": 4,
        "seconds": 2.0,
        "images_per_second": 64.0,
        "peak_memory_mib": 512,
        "loss_image": 0.1,
    }
    (runs / "fit3d" / "metrics.json").write_text(json.dumps(metrics))
    measured = {"ours": {"SIDE": 1.5, "MAD": 20.25}}
    (runs / "depth" / "metrics.json").write_text(json.dumps(measured))


@pytest.fixture(scope="module")
def page(params, run):
    """The file of the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        report.run(params, run.benchmarks, run.runs, run.folder / "report")
    return run.folder / "report" / "index.html"


def test_pairs_hold_the_decisions_behind_the_accuracy(run):
    folder = run.runs / "cosface" / "1" / "evaluation" / "people"
    pairs = pd.read_csv(folder / "pairs.csv")
    bins = json.loads((folder / "metrics.json").read_text())["bins"]
    assert set(pairs["bin"]) == set(bins) == {"frontal", "profile", "low_quality", "cross_age"}
    for name, group in pairs.groupby("bin"):
        assert group["right"].mean() == pytest.approx(bins[name]["accuracy"])
        lists = pd.read_csv(run.benchmarks / "people" / "pairs" / f"{name}.csv")
        columns = ["first", "second", "same"]
        assert (group[columns].to_numpy() == lists[columns].to_numpy()).all()


def test_conditions_and_the_reject_curve_have_intervals(run):
    found = read_run(*(run.runs / "cosface" / str(s) / "evaluation" / "people" for s in SEEDS))
    profile, frontal = (found.figures[f"conditions.{name}.0.01"] for name in ("profile", "frontal"))
    # The noise of these embeddings grows with the pose.
    assert (profile < frontal).all()
    for path in ("conditions.profile.0.01", "reject.area", "reject.area_at_far"):
        draws, figure = found.draws[path], found.figures[path]
        assert draws.shape[0] == len(figure) == 2 and (draws.std(axis=1) > 0).all()
        assert (abs(draws.mean(axis=1) - figure) < 4 * draws.std(axis=1)).all()


def test_the_page_is_complete_small_and_reproducible(params, run, page, monkeypatch):
    text = page.read_text()
    assert page.stat().st_size < 8e6
    assert text.count("plotly.js v") == 1
    assert "<td>20.2</td>" in text and "512 MiB" in text
    # 10 steps at 640 images/s and 10 at 320, batches of 64: 3 s at 427 images/s.
    assert (
        params.train.recipe().train_dataloader.batch_size == 64 and "<td>427</td><td>3</td>" in text
    )
    monkeypatch.chdir(ROOT)
    report.run(params, run.benchmarks, run.runs, run.folder / "again")
    assert (run.folder / "again" / "index.html").read_text() == text


def numbers(packed: dict[str, str]) -> list[float]:
    """Unpack an array that plotly packed."""
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()


def test_training_curves_are_those_of_the_records(page, params):
    text = page.read_text()
    found = json.loads(
        text.partition('<script type="application/json" id="plots">')[2].partition("</script>")[0]
    )
    lines = found["training/loss"]["data"]
    # The untrained model has no curve; the others have the colours of the other figures.
    assert [line["legendgroup"] for line in lines] == [m for m in MODELS[1:] for _ in SEEDS]
    colors = {line["legendgroup"]: line["line"] for line in found["benchmark/people/roc"]["data"]}
    for line in lines:
        assert (numbers(line["x"]), numbers(line["y"])) == ([10, 20], [3.5, 2.25])
        assert line["line"] == colors[line["legendgroup"]]
    for line in found["training/accuracy"]["data"]:
        assert (numbers(line["x"]), numbers(line["y"])) == ([10, 20], [0.75, 0.875])
    assert 'id="training/loss"' in text and "the mean over strangers." in text


def test_a_run_without_a_record_of_loss_or_validation_has_no_curve(tmp_path):
    (tmp_path / "a" / "model").mkdir(parents=True)
    (tmp_path / "a" / "model" / "training.csv").write_text("step,images_per_second\n3,4\n")
    assert training_plots({"a": [tmp_path / "a"]}, ["a"]) == {}


class Page(HTMLParser):
    """Collects ids, links, headings and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.headings, self.words = [], [], [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.words += " " * (tag in ("td", "th"))
        if tag in ("h2", "h3", "h4"):
            self.headings.append("")

    def handle_data(self, data):
        self.words += data
        if self.lasttag in ("h2", "h3", "h4") and self.headings and not self.headings[-1]:
            self.headings[-1] = data.strip()


def test_every_link_has_a_target(page):
    seen = Page(page)
    assert len(seen.ids) == len(set(seen.ids))
    assert {link.removeprefix("#") for link in seen.links} <= {*seen.ids}
    for name in ("people", "cfp-fp"):
        assert f"#benchmark/{name}" in seen.links and f"#benchmark/{name}/faces" in seen.links


def test_missing_parts_leave_no_trace(page):
    seen = Page(page)
    plots = {name.removeprefix("benchmark/") for name in seen.ids if name.startswith("benchmark/")}
    kappa = {"concentration", "kappa", "calibration", "comparison", "curves", "reject", "faces"}
    text = page.read_text()
    assert text.count('<p class="truth">As trained, the cosines') == 2
    assert text.count(">Least κ<") == text.count(">Greatest κ<") == 2 * len(MODELS)
    assert "60° turned" in text
    assert {name for name in plots if name.startswith("cfp-fp/")} == {f"cfp-fp/{n}" for n in kappa}
    only = {"roc", "det", "cmc", "pose", "blur"}
    assert {name for name in plots if name.startswith("people/")} == {
        f"people/{n}" for n in kappa | only
    }
    assert all(seen.headings), seen.headings
    assert "24 faces (photos), 276 pairs of photos." in seen.words
    assert "126 faces of 6 people (synthetic), 42 templates, 160 pairs of photos." in seen.words


def test_the_table_names_the_benchmark(run, page):
    table = pd.read_csv(page.parent / "table.csv")
    figures = {name: set(part["figure"]) for name, part in table.groupby("benchmark")}
    assert figures["cfp-fp"] == {"fp accuracy"}
    assert {"rank-1", "frontal accuracy", "profile TAR at FAR 1e-2"} <= figures["people"]
    for (name, model), part in table.groupby(["benchmark", "model"]):
        where = (run.runs / model / str(seed) / "evaluation" / name for seed in SEEDS)
        bins = [json.loads((folder / "metrics.json").read_text())["bins"] for folder in where]
        for row in part[part["figure"].str.endswith("accuracy")].itertuples():
            name = row.figure.removesuffix(" accuracy").replace(" ", "_")
            expected = 100 * np.mean([of_seed[name]["accuracy"] for of_seed in bins])
            assert row.mean == pytest.approx(expected, abs=1e-3)


def test_the_data_are_described(page):
    words = " ".join(Page(page).words.split())
    assert "1 549 people, source of the faces: photos" in words
    assert "people 6 222 1 549 17 synthetic" in words
    assert "people 160, images per person 12" in words
    assert "cfp-fp pairs photos 24 fp 276" in words


def reported(params, run, tmp_path, benchmarks, **change):
    """Render the page of these benchmarks after some of their files were changed."""
    compare = params.compare.model_copy(update={"benchmarks": benchmarks})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        report.run(
            params.model_copy(update={"compare": compare}), change.get("at", run.benchmarks),
            change.get("runs", run.runs), tmp_path / "report",
        )  # fmt: skip
    return Page(tmp_path / "report" / "index.html")


def test_a_single_benchmark_has_no_overview(params, run, tmp_path):
    seen = reported(params, run, tmp_path, ["cfp-fp"])
    assert "overview" not in seen.ids and "#benchmark/cfp-fp/curves" in seen.links
    assert not any("people" in name for name in seen.ids)


def test_a_benchmark_of_templates_alone_is_reported(params, run, tmp_path):
    """Like IJB-C, it has no pairs of photos, and poses are unknown."""
    at = shutil.copytree(run.benchmarks / "people", tmp_path / "aligned" / "people").parent
    shutil.rmtree(at / "people" / "pairs")
    names = pd.read_csv(at / "people" / "images.csv")[["name"]]
    names.to_csv(at / "people" / "images.csv", index=False)
    runs = Path(shutil.copytree(run.runs, tmp_path / "runs"))
    for model in MODELS:
        for seed in SEEDS:
            folder = runs / model / str(seed)
            shutil.rmtree(folder / "evaluation" / "people")
            evaluate.run(params, folder / "people", at / "people", folder / "evaluation" / "people")
    seen = reported(params, run, tmp_path, ["people"], at=at, runs=runs)
    plots = {name.removeprefix("benchmark/people/") for name in seen.ids if "/people/" in name}
    assert plots == {
        "comparison", "curves", "roc", "det", "cmc", "concentration", "kappa", "faces"
    }  # fmt: skip
    assert "126 faces of 6 people (synthetic), 42 templates." in seen.words
    text = (tmp_path / "report" / "index.html").read_text()
    assert '<p class="truth">' not in text and "<br>expected" not in text
    assert seen.words.count("Least κ") == len(MODELS)
    assert "Faces of the benchmark, one row per template" in seen.headings
    assert not any("pairs" in heading for heading in seen.headings)
    assert set(pd.read_csv(tmp_path / "report" / "table.csv")["figure"]) == {
        "TAR at FAR 0.1", "TAR at FAR 1e-2", "rank-1", "TPIR at FPIR 0.1"
    }  # fmt: skip


def test_an_evaluation_of_other_faces_is_refused(params, run, tmp_path):
    runs = Path(shutil.copytree(run.runs, tmp_path / "runs"))
    folder = runs / "cosface" / "1" / "evaluation"
    shutil.rmtree(folder / "cfp-fp")
    with pytest.raises(OSError, match="cosface/1/evaluation/cfp-fp"):
        reported(params, run, tmp_path, ["people", "cfp-fp"], runs=runs)
    for name, change in (
        ("kappa.csv", lambda text: text[: text.rindex("\n", 0, -1) + 1]),  # one face fewer
        ("pairs.csv", lambda text: text.replace("0.png", "nobody.png")),
    ):
        shutil.rmtree(folder / "cfp-fp", ignore_errors=True)
        shutil.copytree(run.runs / "cosface" / "1" / "evaluation" / "cfp-fp", folder / "cfp-fp")
        path = folder / "cfp-fp" / name
        path.write_text(change(path.read_text()))
        with pytest.raises(ValueError, match="1/evaluation/cfp-fp: evaluated on other faces"):
            reported(params, run, tmp_path, ["cfp-fp"], runs=runs)
    with pytest.raises(ValueError, match=r"ijbc/benchmark\.json"):
        reported(params, run, tmp_path, ["ijbc"])


def test_without_true_depth_no_depth_is_compared(params, run, tmp_path):
    runs = Path(shutil.copytree(run.runs, tmp_path / "runs"))
    (runs / "depth" / "metrics.json").write_text("{}")
    seen = reported(params, run, tmp_path, ["people"], runs=runs)
    assert "Reconstructions" in seen.headings and "Errors of the depth" not in seen.headings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": None}, "a number as 'steps', found None"),
        ({"steps": True}, "a number as 'steps', found True"),
        ({"steps": np.inf}, "a number as 'steps', found inf"),
        ({"seconds": 0}, "seconds above 0, found 0"),
        ({"images_per_second": None}, "a number as 'images_per_second', found None"),
        ({"peak_memory_mib": "much"}, "a number as 'peak_memory_mib', found 'much'"),
    ],
)
def test_figures_of_the_fit_that_are_no_numbers_are_refused(tmp_path, change, words):
    metrics = {"steps": 4, "images_per_second": 64.0, "seconds": 2.0}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert read_fit(tmp_path / "metrics.json") == {**metrics, "peak_memory_mib": None}
    (tmp_path / "metrics.json").write_text(json.dumps({**metrics, **change}))
    with pytest.raises(ValueError, match=rf"metrics\.json: expected {words}$"):
        read_fit(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({}, "a number as 'ours.SIDE', found None"),
        (3, "a number as 'ours.SIDE', found None"),
        ({"SIDE": 1, "MAD": "x"}, "a number as 'ours.MAD', found 'x'"),
    ],
)
def test_figures_of_depth_that_are_no_numbers_are_refused(tmp_path, errors, words):
    (tmp_path / "metrics.json").write_text(json.dumps({"ours": {"SIDE": 1.5, "MAD": 20.25}}))
    assert read_depth(tmp_path / "metrics.json") == {"ours": {"SIDE": 1.5, "MAD": 20.25}}
    (tmp_path / "metrics.json").write_text(json.dumps({"ours": errors}))
    with pytest.raises(ValueError, match=rf"metrics\.json: expected {words}$"):
        read_depth(tmp_path / "metrics.json")


def test_names_are_shown_as_text(params, run, tmp_path):
    """Names contain HTML and bytes that are not UTF-8."""
    runs = Path(shutil.copytree(run.runs, tmp_path / "runs"))
    path = runs / "depth" / "metrics.json"
    measured = {"<script>1</script>\udcff": {"SIDE": 1, "MAD": 2}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **measured}))
    reported(params, run, tmp_path, ["people"], runs=runs)
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert r"&lt;script&gt;1&lt;/script&gt;\udcff" in text and "<script>1" not in text


def test_the_hardest_pairs_are_sorted_and_listed_once():
    rows = [
        ("a", "b", 1, 0.9, 5, 6, 1), ("b", "a", 1, 0.9, 6, 5, 1), ("a", "c", 1, 0.2, 9, 8, 0),
        ("a", "d", 1, 0.1, 7, 1, 0), ("a", "e", 0, 0.8, 4, 4, 0), ("b", "e", 0, 0.3, 9, 9, 1),
    ]  # fmt: skip
    columns = ["first", "second", "same", "score", "kappa_first", "kappa_second", "right"]
    found = hardest(pd.DataFrame(rows, columns=columns), 9)
    others = {kind: pairs["second"].tolist() for kind, pairs in found.items()}
    assert others == {
        "genuine": ["d", "c", "b"], "impostor": ["e", "e"], "mistakes": ["c", "e", "d"]
    }  # fmt: skip


def test_kappa_against_a_condition_is_relative_to_the_median():
    names = [f"{i}.jpg" for i in range(80)]
    pose = pd.Series(np.repeat(np.linspace(0, 70, 8), 10), name="degrees")
    # The lists may be in different orders.
    kappa = pd.DataFrame({"name": names, "kappa": 100 - pose})[::-1]
    figure = plots.kappa_against({"a": [{"kappa": kappa}]}, pd.Series(names), pose)
    (trace,) = figure.data
    assert np.diff(trace.x) == pytest.approx(8.75, abs=0.1)
    assert trace.y == pytest.approx(np.arange(100, 20, -10) / 65)
    assert trace.customdata[:, 0] == pytest.approx(np.arange(100, 20, -10))
    assert (trace.customdata[:, 3] == 10).all()


def test_every_model_has_its_own_line_style():
    points = pd.DataFrame({"rank": [1, 2], "rate": [0.5, 0.6]})
    figure = plots.cmc({f"head {i}": [{"cmc": points}] for i in range(20)})
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 20


def test_plotly_is_given_names_as_text():
    points = pd.DataFrame({"rank": [1, 2], "rate": [0.5, 0.6]})
    (line,) = plots.cmc({"<b>a</b> & <a href='x'>b</a>": [{"cmc": points}]}).data
    assert line.name == "&lt;b&gt;a&lt;/b&gt; &amp; &lt;a href='x'&gt;b&lt;/a&gt;"


class Browser:
    """A page in Chromium; collects its requests and messages."""

    def __init__(self, browser, path, **context):
        self.page = browser.new_context(**context).new_page()
        self.requests, self.messages = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.goto(path.as_uri(), timeout=120_000)  # the page is large, and machines are busy
        self.wait_for_plots()

    def wait_for_plots(self):
        """Wait until every figure that is not folded is drawn."""
        self.page.wait_for_function(
            """[...document.querySelectorAll(".plot")].every(plot =>
                plot.closest("details:not([open])") || plot.querySelector(".main-svg"))"""
        )

    def unfold(self):
        """Open the parts of the page, and wait for their figures."""
        self.page.evaluate(
            "for (const part of document.querySelectorAll('.part, .section')) part.open = true"
        )
        self.wait_for_plots()

    def traces(self):
        """Return the names of the drawn models per figure, without empty lines."""
        return self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".plot")].map(plot => [
                plot.id, [...plot.querySelectorAll(".scatterlayer path.js-line")]
                    .filter(line => line.getAttribute("d").length > 9)
                    .map(line => line.closest(".trace").__data__[0].trace.legendgroup)]))"""
        )

    def contrast(self, selector):
        """Return the contrast of a text in a figure to the page, by WCAG 2."""
        return self.page.evaluate(
            """selector => {
                const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05);
                const text = light(getComputedStyle(document.querySelector(selector)).fill);
                const page = light(getComputedStyle(document.body).backgroundColor);
                return Math.max(text, page) / Math.min(text, page);
            }""",
            selector,
        )


def test_the_page_works_in_a_browser(browser, page):
    opened = Browser(browser, page, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    assert opened.page.locator(".main-svg >> visible=true").count() > 0
    assert "leads" in opened.page.evaluate(
        "[...document.querySelectorAll('.plot:has(.main-svg)')].map(plot => plot.id).join()"
    )
    answer, figure, table = (
        opened.page.locator(selector).first.bounding_box()["y"]
        for selector in (".answer", "#leads", ".comparison")
    )
    assert answer < figure < table and answer < 300
    opened.unfold()
    lines = [model for model in MODELS for _ in SEEDS]
    traces = opened.traces()
    assert len(traces) == 14
    assert traces.pop("leads") == []  # this figure has points
    assert opened.page.locator("#leads .point").count() == len(MODELS) * 15
    for name in ("training/loss", "training/accuracy"):
        assert traces.pop(name) == lines[len(SEEDS) :]  # the first model is not trained
    for name, drawn in traces.items():
        # The dotted diagonal of the calibration belongs to no model.
        assert drawn == [*lines, *([""] if name.endswith("/calibration") else [])], name
    roc, pose, blur = (f"[id='benchmark/people/{name}']" for name in ("roc", "pose", "blur"))
    for selector in (f"{roc} .xtick text", f"{roc} .legendtext", f"{roc} .ytitle"):
        assert opened.contrast(selector) > 4.5

    web = opened.page
    web.locator(f"{pose} .point").first.hover(force=True)
    assert "median κ" in web.locator(f"{pose} .hoverlayer").text_content()

    web.locator(f"{roc} .legendtoggle").first.click()
    shown = f"""document.querySelectorAll("{blur} .scatterlayer .trace").length == 4"""
    web.wait_for_function(shown)
    assert all(MODELS[0] not in drawn for drawn in opened.traces().values())

    turned = web.locator(".turned").first
    before = turned.screenshot()
    web.locator("#turn").press("ArrowRight")
    assert web.locator("output[for=turn]").text_content() == "30°"
    assert turned.screenshot() != before

    shown = web.locator("details[open] .pairs img")
    assert shown.count() > 4
    assert shown.evaluate_all("images => images.every(image => image.naturalWidth == 112)")
    assert web.locator("img[src=x]").count() == 0
    assert web.locator("th", has_text=MODELS[2]).count() > 0
    assert web.locator(f"{roc} .legendtext").all_text_contents() == MODELS
    assert all(url.startswith(("file:", "data:", "blob:")) for url in opened.requests)
    assert opened.messages == []


def test_the_page_fits_a_phone(browser, page):
    opened = Browser(
        browser, page, viewport={"width": 390, "height": 844}, color_scheme="light",
        has_touch=True, is_mobile=True,
    )  # fmt: skip
    widths = "[document.documentElement.scrollWidth, innerWidth]"
    scrolled, inner = opened.page.evaluate(widths)
    assert scrolled <= inner == 390
    opened.unfold()
    scrolled, inner = opened.page.evaluate(widths)
    assert scrolled <= inner == 390
    # Wider tables scroll in their boxes, and figures are inside their cards.
    table = opened.page.locator("[id='benchmark/people/comparison'] .scroll").last
    assert table.evaluate("box => box.scrollWidth > box.clientWidth")
    for box in opened.page.locator(".plot").all():
        place = box.bounding_box()
        assert place["x"] >= 0 and place["x"] + place["width"] <= 390
    assert opened.contrast("[id='benchmark/people/roc'] .xtick text") > 4.5
    assert opened.messages == []


def test_a_link_opens_its_target(browser, page):
    opened = Browser(browser, page, viewport={"width": 1280, "height": 900})
    part = opened.page.locator("[id='benchmark/people/concentration']")
    assert part.get_attribute("open") is None
    opened.page.locator("nav a[href='#training']").first.click()
    opened.page.wait_for_function("document.getElementById('training').open")
    opened.page.locator("[id='benchmark/people'] nav a", has_text="κ").click()
    opened.page.wait_for_function("document.getElementById('benchmark/people/concentration').open")


def test_the_page_prints_on_paper(browser, page):
    """Nothing is cut off at the width of A4 without margins; folded parts are left out."""
    opened = Browser(browser, page, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    assert opened.page.pdf(format="A4").startswith(b"%PDF")
    opened.unfold()
    web = opened.page
    web.emulate_media(media="print")
    web.set_viewport_size({"width": 673, "height": 950})
    web.evaluate("dispatchEvent(new Event('beforeprint'))")
    web.wait_for_function("document.documentElement.scrollWidth <= 673")
    assert web.locator("details.part:not([open]), details.section:not([open])").count() == 0
    web.evaluate("document.getElementById('data').open = false")
    assert not web.locator("#data").is_visible() and web.locator("#training").is_visible()
    assert web.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert web.locator(".scroll").evaluate_all(
        "boxes => boxes.every(box => box.scrollWidth <= box.clientWidth || !box.checkVisibility())"
    )
