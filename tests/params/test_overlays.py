"""An overlay replaces the one before, keeps comments, and can be removed without a trace."""

import re
from pathlib import Path

import pytest

from lh2face.params import ParamsError, load_params, read_yaml
from lh2face.params.overlays import apply_overlay, overlay_params

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(path for path in (ROOT / "params").iterdir() if not path.name.startswith("study"))


@pytest.fixture
def small(tmp_path) -> Path:
    overlay = tmp_path / "small.yaml"
    overlay.write_text("workers: 3\nsources: {people: {people: 20}}\n")
    return overlay


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_leaves_other_sections_unchanged(overlay):
    path = ROOT / "params.yaml"
    before, after = path.read_text(), apply_overlay(path.read_text(), overlay, path)[0]
    named = read_yaml(overlay)
    for section in re.split(r"^(?=\w)", before, flags=re.MULTILINE):
        key, _, rest = section.partition(":")
        if key not in named:
            assert section in after
        elif comment := re.match(r" #.*\n", rest):
            assert re.search(f"^{key}:.*{re.escape(comment[0])}", after, re.MULTILINE)
    # Lists and mappings stay on one line, and no section contains an empty line.
    assert "  - " not in after
    assert re.findall(r"\n\n(?=\s)", after) == []


def test_an_overlay_replaces_the_one_before(params_file, tmp_path, small):
    overlay_params([small], params_file)
    (other := tmp_path / "other.yaml").write_text("evaluate: {bootstrap: 20}\n")
    overlay_params([other], params_file)
    params = load_params(params_file)
    assert (params.workers, params.sources["people"].people) == (2, 160)
    assert params.evaluate.bootstrap == 20
    overlay_params([small, other], params_file)
    params = load_params(params_file)
    assert (params.workers, params.evaluate.bootstrap) == (3, 20)
    assert params_file.read_text().startswith(f"# {small}, {other} over params.yaml.orig;")


def test_removing_overlays_restores_the_parameters(params_file, small):
    before, files = params_file.read_bytes(), sorted(params_file.parent.iterdir())
    overlay_params([small], params_file)
    overlay_params([], params_file)
    assert params_file.read_bytes() == before
    assert sorted(params_file.parent.iterdir()) == files
    with pytest.raises(ParamsError, match=r"params\.yaml: no overlay is applied to it, so"):
        overlay_params([], params_file)


@pytest.mark.parametrize("overlays", [[], ["small.yaml"]])
def test_changes_by_hand_are_not_overwritten(params_file, small, overlays):
    overlay_params([small], params_file)
    changed = params_file.read_text().replace("workers: 3", "workers: 4")
    params_file.write_text(changed)
    with pytest.raises(ParamsError, match=r"params\.yaml: changed by hand after an overlay"):
        overlay_params([params_file.with_name(name) for name in overlays], params_file)
    assert params_file.read_text() == changed
    # The message gives this way out.
    params_file.with_name("params.yaml.orig").unlink()
    overlay_params([small], params_file)
    assert load_params(params_file).workers == 3
    assert "workers: 4" in params_file.with_name("params.yaml.orig").read_text()


def test_an_overlay_applies_to_parameters_that_git_restored(params_file, small):
    """``git checkout params.yaml`` leaves the kept original beside it."""
    before = params_file.read_text()
    overlay_params([small], params_file)
    params_file.write_text(before.replace("bootstrap: 200", "bootstrap: 30"))
    overlay_params([small], params_file)
    assert load_params(params_file).evaluate.bootstrap == 30


def test_an_error_names_the_overlay_files(params_file, tmp_path, small):
    (bad := tmp_path / "bad.yaml").write_text("evaluate: {bootstrap: 0}\n")
    with pytest.raises(ParamsError) as raised:
        overlay_params([small, bad], params_file)
    message = str(raised.value)
    assert message.startswith(f"{small}, {bad}, applied to {params_file}: evaluate.bootstrap: ")
    assert "partial" not in message
    assert not params_file.with_name("params.yaml.orig").exists()


def test_values_are_replaced_in_any_style_of_yaml(tmp_path):
    (overlay := tmp_path / "o.yaml").write_text("b: {y: [5]} # why\n\n# end\n")
    text = (
        "# head\n\na: {x: 1} # one\n# between\n\n"
        "b: # two\n  y: [1] # three\n  z: |\n    p\n\n    q\n\nc: 4\n"
    )
    assert apply_overlay(text, overlay, tmp_path / "p.yaml")[0] == text.replace("[1]", "[5]")
    # A blank line inside a value is not taken for the end of a section.
    with pytest.raises(ParamsError, match=r"p\.yaml: expected each key at the first column"):
        apply_overlay('a: "x\n\n"\nb: {y: 1}\n', overlay, tmp_path / "p.yaml")
