"""A model card shows text out of files as text; none of it acts as Markdown or HTML."""

from html.parser import HTMLParser

import pytest

from lh2face.artifacts.model_card import model_card

NASTY = '</pre><script>alert(1)</script> | `x` \n# "a" [b](javascript:c) *d* \udce9'


def test_names_are_shown_as_text():
    markdown = pytest.importorskip("markdown", reason="Markdown is not installed")

    class Page(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.text = [], ""

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)

        def handle_data(self, data):
            self.text += data

    def page(name: str) -> Page:
        description = {
            "recognizer": {"backbone": {"type": name}}, "image_size": name, "embedding_size": 8,
            "head": {"type": name, "num_classes": name},
            "provenance": {
                "seed": name, "params": {
                    "source": name, "train": {"epochs": name},
                    "sources": {name: {"origin": name, "images": name}},
                },
            },
        }  # fmt: skip
        metrics = {
            "verification": {"tar": {"0.1": 0.5}}, "identification": {"rank": {}, "tpir": {}},
            "origin": name,
            "bins": {name: {"accuracy": 0.9}}, "kappa": {"mean": 1, "p5": 1},
            "single_images": {"source": name, "impostor": 10, "threshold": {"0.1": 0.5}},
        }  # fmt: skip
        card = model_card(name, description, metrics)
        seen = Page()
        made = markdown.markdown(card, extensions=["tables", "fenced_code"])
        seen.feed(made.encode("utf-8", "backslashreplace").decode())
        return seen

    nasty, plain = page(NASTY), page("plain")
    assert nasty.tags == plain.tags
    assert nasty.text.count("<script>alert(1)</script>") >= 9
    assert r"\n# " in nasty.text and r"\udce9" in nasty.text


def test_each_source_of_faces_has_a_row():
    counted = {
        "ms1m": {"origin": "photos", "images": 5000, "identities": 90, "left_out": 0},
        "mine": {"origin": "photos", "images": 40, "identities": 8, "left_out": 3},
    }
    made = {"provenance": {"params": {"source": "photos", "sources": counted}}}
    card = model_card("m", {**DESCRIPTION, **made}, None)
    assert "| ms1m | photos | 5000 | 90 | 0 |\n| mine | photos | 40 | 8 | 3 |\n" in card
    assert "left out" not in model_card("m", DESCRIPTION, None)


DESCRIPTION = {"recognizer": {"backbone": {}}, "image_size": 112, "embedding_size": 8}
TEMPLATES = {
    "verification": {"tar": {"0.0001": 0.5, "1e-06": None}, "tar_interval": {"0.0001": [0.4, 0.6]}},
    "identification": {"rank": {"1": 0.75}, "tpir": {}},
}  # fmt: skip
PAIRS = {
    "bins": {"lfw.v2": {"accuracy": 0.9}}, "kappa": {"mean": 2, "p5": 1},
    "single_images": {"source": "photos", "impostor": 3000, "threshold": {"0.01": 0.5}},
}  # fmt: skip


def test_the_card_shows_only_measured_parts_of_an_evaluation():
    templates = model_card("m", DESCRIPTION, {"origin": "photos", **TEMPLATES})
    assert (
        "Origin of the faces that it was measured on: photos. Values are in percent." in templates
    )
    assert "| TAR at FAR 1e-4 | 50.0 | 40.0 … 60.0 |" in templates and "1e-6" not in templates
    assert "| rank-1 | 75.0 | – |" in templates
    assert "It is not known on how many people this was measured." in templates
    many = model_card("m", DESCRIPTION, {"origin": "photos", "people": 3531, **TEMPLATES})
    assert "Measured on 3,531 people." in many
    assert "Thresholds" not in templates and "κ of the benchmark" not in templates
    pairs = model_card("m", DESCRIPTION, {"origin": "synthetic", **PAIRS})
    assert "Origin of the faces that it was measured on: synthetic. Values are in percent." in pairs
    assert "| lfw.v2 accuracy | 90.0 | – |" in pairs and "TAR" not in pairs
    assert "from the 3000 impostor pairs" in pairs and "| 0.01 | 0.5000 |" in pairs
    assert "mean 2.00, 5th percentile 1.00" in pairs
