"""The model card that goes beside an exported model."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from lh2face.data.manifest import COUNTS
from lh2face.evaluation.evidence import number_of_people
from lh2face.evaluation.metric_names import title
from lh2face.text import markdown_text, printable

CARD = """\
# {title}

A face-recognition model, exported by lh2face (LH2Face, arXiv 2506.23555) for insightface's
`model_zoo`. It turns an aligned face of 112 × 112 px into an embedding of {embedding_size} numbers.
Two faces are compared by the cosine of their embeddings; the norm of an embedding is its
concentration κ: the larger, the surer the model is of that face (of heads that train κ).

    lh2face verify a.jpg b.jpg --model {file}

## Training

{training}

All that is known of how it was made:

```json
{record}
```

## Figures

{figures}

## Limits

- Figures hold for the faces they were measured on; on others they can be far lower.
- Synthetic faces, where they are the source, show that the machinery works. They say nothing of
  accuracy on real people.
- Bias between groups of people (age, gender, skin colour, …) has not been measured. Measure it on
  the people it is meant for before anyone depends on it.
- A score is not a proof of identity, and a threshold allows the share of false accepts it names.

## Intended use

Research on face recognition, and comparisons that the people shown have agreed to. It is not meant
for finding or following people without their consent, nor for decisions about a person without one
who checks them. Use photos only of people who agreed, and keep embeddings as you would the photos.
"""
NOT_MEASURED = "Not given. `lh2face export-onnx --evaluation FOLDER` puts the evaluation's here."


def model_card(name: str, description: dict[str, Any], metrics: dict[str, Any] | None) -> str:
    """A model card in Markdown.

    Args:
        name: Of the model's file, without suffix.
        description: Its ``model.json``.
        metrics: The evaluation's, from :func:`~lh2face.artifacts.calibration.read_metrics`;
            ``None`` where it has not been measured.
    """
    record = {key: description.get(key) for key in ("recognizer", "head", "provenance")}
    return CARD.format(
        title=markdown_text(name),
        file=shlex.quote(printable(f"{name}.onnx")),
        embedding_size=markdown_text(description["embedding_size"]),
        training="\n".join(training(description)),
        record=json.dumps(record, indent=2, ensure_ascii=False),
        figures=NOT_MEASURED if metrics is None else "\n".join(figures(metrics)),
    )


def training(description: dict[str, Any]) -> Iterator[str]:
    """What it was trained on and how, as far as its folder tells."""
    head, made = description.get("head") or {}, description.get("provenance", {})
    params = made.get("params", {})
    known = {
        "Faces": params.get("source"),
        "Identities": head.get("num_classes"),
        "Head": head.get("type"),
        "Backbone": description["recognizer"]["backbone"].get("type"),
        "Input": f"{description['image_size']} px; the file itself takes 112 px",
        "Epochs": params.get("train", {}).get("train_cfg", {}).get("max_epochs"),
        "Seed": made.get("seed"),
    }
    for key, value in known.items():
        if value is not None:
            yield f"- {key}: {markdown_text(value)}"
    if sources := params.get("sources"):
        yield ""
        yield "| faces of | source | images | people | left out |"
        yield "|---|---|---|---|---|"
        for name, of in sources.items():
            cells = (name, *map(of.get, COUNTS))
            yield f"| {' | '.join(map(markdown_text, cells))} |"


def figures(metrics: dict[str, Any]) -> Iterator[str]:
    """Figures in percent with their 95 % intervals, then the thresholds: of each, what is there."""
    origin = markdown_text(metrics["origin"] or "unknown")
    yield f"Source of the faces that it was measured on: {origin}. Percent."
    yield number_of_people(metrics.get("people"))
    yield ""
    yield "| figure | value | 95 % interval |"
    yield "|---|---|---|"
    for path, value, ends in measured(metrics):
        shown = "–" if ends is None else f"{100 * ends[0]:.1f} … {100 * ends[1]:.1f}"
        yield f"| {markdown_text(title(path))} | {100 * value:.1f} | {shown} |"
    if single := metrics.get("single_images"):
        yield ""
        yield f"Thresholds for two single photos, from {single['impostor']} impostor pairs of the"
        yield "lists of pairs:"
        yield ""
        yield "| FAR | the score is above |"
        yield "|---|---|"
        for far, threshold in single["threshold"].items():
            yield f"| {markdown_text(far)} | {threshold:.4f} |"
    if kappa := metrics.get("kappa"):
        yield ""
        mean, low = kappa["mean"], kappa["p5"]
        yield f"κ of the benchmark's faces: mean {mean:.2f}, 5th percentile {low:.2f}."


def measured(metrics: dict[str, Any]) -> Iterator[tuple[str, float, list[float] | None]]:
    """Path, value and interval of each figure that was measured."""
    for section, name in (
        ("verification", "tar"), ("identification", "rank"), ("identification", "tpir"),
    ):  # fmt: skip
        found = metrics.get(section, {})
        ends = found.get(f"{name}_interval", {})
        for key, value in found.get(name, {}).items():
            if value is not None:
                yield f"{section}.{name}.{key}", value, ends.get(key)
    for name, found in metrics.get("bins", {}).items():
        yield f"bins.{name}.accuracy", found["accuracy"], found.get("accuracy_interval")
