"""Overlays do not pile up, keep comments, and go away without a trace."""

import re
from pathlib import Path

import pytest

from lh2face.params import ParamsError, load_params, read_yaml
from lh2face.params.overlays import overlay_params, put_over

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted(path for path in (ROOT / "params").iterdir() if not path.name.startswith("study"))


@pytest.fixture
def small(tmp_path) -> Path:
    overlay = tmp_path / "small.yaml"
    overlay.write_text("workers: 3\nsources: {people: {people: 20}}\n")
    return overlay


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_what_an_overlay_does_not_name_stays_to_the_letter(overlay):
    path = ROOT / "params.yaml"
    before, after = path.read_text(), put_over(path.read_text(), overlay, path)[0]
    named = read_yaml(overlay)
    for section in re.split(r"^(?=\w)", before, flags=re.MULTILINE):
        key, _, rest = section.partition(":")
        if key not in named:
            assert section in after
        elif comment := re.match(r" #.*\n", rest):
            assert re.search(f"^{key}:.*{re.escape(comment[0])}", after, re.MULTILINE)
    # The values of a list or a mapping stay on their line, and no line is empty within a section.
    assert "  - " not in after
    assert re.findall(r"\n\n(?=\s)", after) == []


def test_an_overlay_takes_the_place_of_the_one_before(params_file, tmp_path, small):
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


def test_without_an_overlay_the_parameters_are_what_they_were(params_file, small):
    before, files = params_file.read_bytes(), sorted(params_file.parent.iterdir())
    overlay_params([small], params_file)
    overlay_params([], params_file)
    assert params_file.read_bytes() == before
    assert sorted(params_file.parent.iterdir()) == files
    with pytest.raises(ParamsError, match=r"params\.yaml: no overlay was put over it$"):
        overlay_params([], params_file)


@pytest.mark.parametrize("overlays", [[], ["small.yaml"]])
def test_what_was_changed_by_hand_is_not_lost(params_file, small, overlays):
    overlay_params([small], params_file)
    changed = params_file.read_text().replace("workers: 3", "workers: 4")
    params_file.write_text(changed)
    with pytest.raises(ParamsError, match=r"params\.yaml: changed by hand since an overlay"):
        overlay_params([params_file.with_name(name) for name in overlays], params_file)
    assert params_file.read_text() == changed
    # As the message says.
    params_file.with_name("params.yaml.orig").unlink()
    overlay_params([small], params_file)
    assert load_params(params_file).workers == 3
    assert "workers: 4" in params_file.with_name("params.yaml.orig").read_text()


def test_what_git_has_put_back_is_built_on(params_file, small):
    """``git checkout params.yaml`` leaves the file that is kept beside it."""
    before = params_file.read_text()
    overlay_params([small], params_file)
    params_file.write_text(before.replace("bootstrap: 200", "bootstrap: 30"))
    overlay_params([small], params_file)
    assert load_params(params_file).evaluate.bootstrap == 30


def test_a_fault_is_named_by_the_users_own_files(params_file, tmp_path, small):
    (bad := tmp_path / "bad.yaml").write_text("evaluate: {bootstrap: 0}\n")
    with pytest.raises(ParamsError) as raised:
        overlay_params([small, bad], params_file)
    message = str(raised.value)
    assert message.startswith(f"{small}, {bad}, put over {params_file}: evaluate.bootstrap: ")
    assert "partial" not in message
    assert not params_file.with_name("params.yaml.orig").exists()


def test_values_are_those_of_the_overlay_however_the_parameters_are_written(tmp_path):
    (overlay := tmp_path / "o.yaml").write_text("b: {y: [5]} # why\n\n# end\n")
    text = (
        "# head\n\na: {x: 1} # one\n# between\n\n"
        "b: # two\n  y: [1] # three\n  z: |\n    p\n\n    q\n\nc: 4\n"
    )
    assert put_over(text, overlay, tmp_path / "p.yaml")[0] == text.replace("[1]", "[5]")
    # A blank line of a value at the first column is not taken for one between two sections.
    with pytest.raises(ParamsError, match=r"p\.yaml: expected keys at the first column"):
        put_over('a: "x\n\n"\nb: {y: 1}\n', overlay, tmp_path / "p.yaml")
