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
Two faces are compared by the cosine of their embeddings. The norm of an embedding is its
concentration κ. For heads that train κ, the model is more certain of a face with a larger κ.

    lh2face verify a.jpg b.jpg --model {file}

## Training

{training}

The full record of how it was made:

```json
{record}
```

## Figures

{figures}

## Limits

- The figures hold for the faces they were measured on; on other faces they can be far lower.
- Figures on synthetic faces show that the pipeline works. They say nothing about the accuracy on
  real people.
- Bias between groups of people (age, gender, skin colour, …) has not been measured. Measure it on
  the people the model is meant for before anyone depends on it.
- A score is no proof of identity. At each threshold, false accepts must be expected at the stated
  rate (FAR).

## Intended use

Research on face recognition, and comparisons that the people shown have agreed to. The model is not
meant for finding or following people without their consent, nor for decisions about a person
without a check by a human. Use only photos of people who agreed, and protect their embeddings like
the photos.
"""
NOT_MEASURED = "None given. `lh2face export-onnx --evaluation FOLDER` adds those of an evaluation."


def model_card(name: str, description: dict[str, Any], metrics: dict[str, Any] | None) -> str:
    """Write a model card in Markdown.

    Args:
        name: Name of the model's file, without suffix.
        description: Content of its ``model.json``.
        metrics: Figures from :func:`~lh2face.artifacts.thresholds.read_metrics`; ``None`` if there
            is no evaluation.

    Returns:
        The text.
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
    """Yield lines on the training data and the training, as far as ``model.json`` has them."""
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
        yield "| source | origin | images | people | left out |"
        yield "|---|---|---|---|---|"
        for name, counts in sources.items():
            cells = (name, *map(counts.get, COUNTS))
            yield f"| {' | '.join(map(markdown_text, cells))} |"


def figures(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield lines with figures in percent and their 95 % intervals, thresholds and κ, if known."""
    origin = markdown_text(metrics["origin"] or "unknown")
    yield f"Origin of the faces that it was measured on: {origin}. Values are in percent."
    yield number_of_people(metrics.get("people"))
    yield ""
    yield "| figure | value | 95 % interval |"
    yield "|---|---|---|"
    for path, value, ends in measured(metrics):
        shown = "–" if ends is None else f"{100 * ends[0]:.1f} … {100 * ends[1]:.1f}"
        yield f"| {markdown_text(title(path))} | {100 * value:.1f} | {shown} |"
    if single := metrics.get("single_images"):
        yield ""
        yield f"Thresholds for two single photos, from the {single['impostor']} impostor pairs of"
        yield "the lists of pairs:"
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
    """Yield path, value and interval of each measured figure; the interval may be ``None``."""
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
