"""Commands in the documentation are valid, its snippets run, and its site builds and works."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.main import get_command

from lh2face.cli import app
from lh2face.data.benchmarks import BENCHMARKS
from lh2face.data.training_sources import TRAINING_SOURCES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A block with its language in braces shows a whole file and is no snippet.
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list:
    """Return the fenced blocks of some languages."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for fence in FENCE.finditer(text):
            if fence[2] in languages:
                line = text[: fence.start()].count("\n") + 1
                found.append(pytest.param(fence[3], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def commands(program: str) -> list:
    """Return all calls of a program in the shell blocks of all pages, as words."""
    found = []
    for block in blocks("bash", ""):
        lines = block.values[0].replace("\\\n", " ").splitlines()
        for line in lines:
            for call in re.split(r"&&|\|", line):
                words = shlex.split(call, comments=True)
                # The last word may be another program's argument: `git clone URL lh2face`.
                if program in words[:-1]:
                    rest = words[words.index(program) :]
                    found.append(pytest.param(rest[1:], id=" ".join(rest)))
    return found


@pytest.mark.parametrize("words", commands("lh2face"))
def test_the_commands_are_accepted(words, tmp_path, monkeypatch):
    name, *arguments = words
    monkeypatch.chdir(tmp_path)
    # Paths in the commands are examples, so every possible path is created, and a default one.
    named = [word for word in arguments if not word.startswith("-")]
    for path in map(Path, [*named, "runs/fit3d"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir(exist_ok=True)
    commands = get_command(app).commands
    assert name in commands
    # This parses the arguments without running the command; a bad one raises.
    commands[name].make_context(name, arguments)


def test_commands_are_found():
    names = {call.values[0][0] for call in commands("lh2face")}
    assert {"params", "compare", "evaluate-ijb", "arcface-torch", "export-onnx"} <= names


@pytest.mark.parametrize("words", commands("make"))
def test_the_make_targets_exist(words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert words[0] in targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_are_named_exist(page):
    # Only paths in folders of the repository: others are the reader's or made by the pipeline.
    folders = r"(?<!data/raw/)(?<!data/aligned/)\b(?:params|workflow|benchmarks|docs|stages)/"
    named = re.findall(rf"{folders}[\w./-]*\w", page.read_text())
    roots = (ROOT, ROOT / "plugin" / "lh2face")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_overlays_are_valid(text, params_file):
    from lh2face.params import load_params, overlay_params

    overlay = params_file.with_name("mine.yaml")
    overlay.write_text(text)
    before = load_params(params_file)
    overlay_params([overlay], params_file)
    assert load_params(params_file) != before


def test_the_field_overlay_asks_for_four_paths():
    text = (ROOT / "params" / "field.yaml").read_text()
    assert len(re.findall(r"path: (?!\*)", text)) == 4


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with the inputs of the snippets: a model, the same as ONNX, photos and records."""
    from lh2face.adapters.insightface import export_onnx
    from lh2face.params import load_params
    from lh2face.stages import untrained
    from lh2face.tools import records

    folder = tmp_path_factory.mktemp("docs")
    model = folder / "runs" / "lh2face" / "0" / "model"
    model.parent.mkdir(parents=True)
    untrained.run(load_params(ROOT / "params.yaml"), model, seed=0)
    export_onnx(model, folder / "lh2face.onnx")
    rng = np.random.default_rng(0)
    for name in (
        "a.jpg",
        "b.jpg",
        *(f"faces/{person}/{n}.png" for person in range(4) for n in range(8)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (112, 112, 3), dtype=np.uint8))
    (folder / "data").mkdir()
    records.run("image_folder", folder / "faces", folder / "data" / "train")
    return folder


@pytest.fixture
def registry(monkeypatch):
    """The registry of models; what a snippet registers is removed afterwards."""
    from mmengine.registry import MODELS, DefaultScope

    monkeypatch.setattr(MODELS, "_module_dict", dict(MODELS.module_dict))
    monkeypatch.setattr(DefaultScope, "_instance_dict", dict(DefaultScope._instance_dict))
    return MODELS


def small(config):
    """Return the config with few classes."""
    if not isinstance(config, dict):
        return config
    return {k: 10 if k == "num_classes" else small(value) for k, value in config.items()}


@pytest.mark.parametrize("text", blocks("python"))
def test_the_snippets_run(text, workplace, registry, monkeypatch):
    from lh2face.adapters.arcface_torch.packages import STAND_INS
    from lh2face.adapters.arcface_torch.run import class_centres

    if "insightface" in text:
        pytest.importorskip("insightface")
    monkeypatch.chdir(workplace)
    if "easydict" in text:
        monkeypatch.setattr(sys, "path", [*sys.path, str(STAND_INS)])
    space = {"__name__": "snippet"}
    exec(compile(text, "snippet", "exec"), space)

    config = space.get("config", {})
    model = space.get("model")
    if isinstance(model, dict):
        # mmpretrain is not installed here, so only the head of its model can be built.
        ours = model if registry.get(model["type"]) else model["head"]
        built = registry.build(small(ours))
        embeddings = torch.randn(4, 512, requires_grad=True)
        loss = getattr(built, "head", built).loss if ours is model else built.loss
        terms = loss(embeddings, torch.arange(4))
        assert all(term.isfinite() for term in terms.values())
    if "runner" in space:
        config.train_dataloader.batch_size, config.train_cfg.max_epochs = 16, 2
        config.experiment_name = "snippet"
        runner = type(space["runner"]).from_cfg(config)
        runner.train()
        assert (runner.iter, runner.epoch) == (4, 2)
    if "head" in config:
        centres = class_centres(dict(config.head)).PartialFC_V2(None, 512, 10)
        assert centres(torch.randn(4, 512), torch.arange(4)).isfinite()
    if "kappa" in space:
        assert -1 <= space["cosine"] <= 1
        assert np.isfinite(space["score"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built with ``--strict`` as ``make docs`` does."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    folder = tmp_path_factory.mktemp("site")
    paths = os.pathsep.join(filter(None, [str(ROOT / "plugin"), os.environ.get("PYTHONPATH")]))
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Links(HTMLParser):
    """Collects the files that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "object", "embed"):
            self.loaded.append(attrs.get("src") or attrs.get("data") or "")
        if tag == "link" and attrs.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(attrs.get("href", ""))


def test_pages_load_nothing_from_outside(site):
    pages = list(site.rglob("*.html"))
    assert (
        len(pages) >= len(PAGES) - 1
    )  # README and CONTRIBUTING are no pages of the site, 404 is one
    for page in pages:
        links = Links()
        links.feed(page.read_text())
        assert any("bundle" in link for link in links.loaded)
        outside = [link for link in links.loaded if re.match(r"(\w+:)?//", link)]
        assert outside == [], page


def test_every_figure_is_drawn(site):
    text = (site / "method.html").read_text()
    marks = re.findall(r"<!-- figure: (\w+) -->", (ROOT / "docs/method.md").read_text())
    assert len(marks) == text.count("<figure>") == 6
    assert "nan" not in " ".join(re.findall(r' d="([^"]*)"', text))
    assert not re.search(r"<!-- (figure|configuration):", text)


def test_every_parameter_is_in_the_reference(site):
    text = (site / "configuration.html").read_text()
    rows = re.findall(r"<td><code>([\w.]+)</code></td>\s*<td>(.*?)</td>", text)
    assert all(meaning for _, meaning in rows)
    keys = {key for key, _ in rows}
    assert {"workers", "heads", "train.options", "joint.fusion", "evaluate.bootstrap"} <= keys
    of_types = {"path", "held_out.fraction", "images_per_person", "origin", "list"}
    assert {f"sources.NAME.{key}" for key in of_types} <= keys
    assert {f"benchmarks.NAME.{key}" for key in ("lists", "file", "list", "pairs")} <= keys
    for section, types in (("sources", TRAINING_SOURCES), ("benchmarks", BENCHMARKS)):
        for name in types:
            assert f'id="{section}-type-{name}"' in text


def test_the_reference_holds_every_head(site):
    from lh2face import heads

    text = (site / "reference" / "heads.html").read_text()
    for name in heads.__all__:
        assert re.search(rf'id="lh2face\.heads\.\w+\.{name}"', text), name
    assert ":class:" not in text


@pytest.fixture
def browser():
    """A real browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def test_pages_open_in_a_browser(site, browser):
    """Opened from disk, pages make no request outside the folder and are no wider than a phone."""
    requests: list[str] = []
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.on("request", lambda request: requests.append(request.url))
    for path in (
        "index.html", "method.html", "how-to/plug-in.html", "how-to/your-data.html",
        "configuration.html",
    ):  # fmt: skip
        page.goto(f"file://{site / path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    assert any(url.endswith(".css") for url in requests)
    assert [
        url for url in requests if not url.startswith(("file:", "data:", "blob:", "about:"))
    ] == []


def test_search_dark_mode_and_menu_work_from_disk(site, browser):
    """The footer does not cover the side bar."""
    errors: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{site / 'how-to/plug-in.html'}")
    page.locator("[data-md-component=search-query]").press_sequentially("reject curve")
    page.wait_for_selector(".md-search-result__item")
    assert "Evaluation" in page.locator(".md-search-result__item h1").all_inner_texts()
    page.keyboard.press("Escape")
    page.locator(".md-header label[title=Dark]").click()
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
    # The page is scrolled to its beginning, middle and end.
    page.goto(f"file://{site / 'index.html'}")
    for share in (0, 0.5, 1):
        page.evaluate(f"scrollTo(0, {share} * document.body.scrollHeight)")
        page.wait_for_timeout(300)
        bar = page.locator(".md-sidebar--primary .md-sidebar__scrollwrap").bounding_box()
        footer = page.locator("footer").bounding_box()
        assert bar["y"] + bar["height"] <= footer["y"] + 1, share
    phone = browser.new_page(viewport={"width": 390, "height": 844})
    phone.goto(f"file://{site / 'index.html'}")
    phone.locator(".md-header label[for=__drawer]").click()
    phone.wait_for_timeout(500)
    assert phone.locator(".md-nav--primary").bounding_box()["x"] >= 0
    assert errors == []
