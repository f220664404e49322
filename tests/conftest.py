"""Fixtures that tests of several folders use."""

import os
import shutil
from pathlib import Path

import pytest

# Read when PyTorch is imported, here and in the commands that tests start: as many tests run side
# by side as there are cores, and threads that share a core wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def params_file(tmp_path) -> Path:
    """The project's parameters in a folder of their own, with the recipes that they name."""
    (tmp_path / "plugin").symlink_to(ROOT / "plugin")
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real faces and reference renders, which a user's clone does not have."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"needs the reference data in {path}")
    return path


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(names)} is on the path")
    with sync_api.sync_playwright() as playwright:
        args = ["--no-sandbox", "--disable-gpu"]
        chromium = playwright.chromium.launch(executable_path=path, args=args)
        yield chromium
        chromium.close()
