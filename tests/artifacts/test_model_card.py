"""A model card shows what a stranger's file says, and nothing of it acts as Markdown or HTML."""

from html.parser import HTMLParser

import pytest

from lh2face.artifacts.model_card import model_card

NASTY = '</pre><script>alert(1)</script> | `x` \n# "a" [b](javascript:c) *d* \udce9'


def test_names_are_text():
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
            "provenance": {"seed": name, "params": {"source": name, "train": {"epochs": name}}},
        }  # fmt: skip
        metrics = {
            "verification": {"tar": {"0.1": 0.5}}, "identification": {"rank": {}, "tpir": {}},
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
