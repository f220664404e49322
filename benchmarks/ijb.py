"""Compare time and memory of the IJB-B and IJB-C protocols at full size with the usual method.

    python benchmarks/ijb.py [--protocol ijbc] [--scale 1] [--folder DIR] [--pairs arbitrary]

Lists and features are made up (``lh2face.data.synthetic_protocol``) and kept in ``--folder``, so
that the next run starts at once. The usual method is that of the common evaluation scripts: they
pool one template at a time, score pairs in float64 in batches of 100 000, and use scikit-learn's
ROC. Both methods get the same features and pairs, and their TARs must agree in every printed digit.
Memory is what a new process adds, without the memory-mapped features.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import peak_memory
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.data.ijb_meta import IJBMeta, read_meta
from lh2face.data.synthetic_protocol import PROTOCOLS, write_protocol
from lh2face.evaluation.bootstrap import draw_weights, tar_draws
from lh2face.evaluation.identification import search
from lh2face.evaluation.pooling import pool_templates
from lh2face.evaluation.roc import nearest_tar, roc_curve
from lh2face.evaluation.scores import template_rows, verification_scores

FARS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
ROUNDS = 200
PAIRS = ["arbitrary", "gallery"]


class Timer:
    """Timer of successive steps; ``steps`` has the seconds of each by name."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, step: str) -> None:
        now = time.perf_counter()
        self.steps[step], self._last = now - self._last, now


def save_lists(folder: Path, meta: IJBMeta) -> None:
    """Save the lists as arrays, which both methods read."""
    rng = np.random.default_rng(1)
    ids, genuine, pairs = np.unique(meta.template_ids), meta.genuine.sum(), len(meta.genuine)
    # "arbitrary": impostor pairs of any two templates, in any order; a few pairs occur twice.
    first, second = rng.choice(ids, (2, pairs))
    first[:genuine], second[:genuine] = meta.first[:genuine], meta.second[:genuine]
    again = rng.integers(pairs, size=pairs // 1000)
    first[-len(again) :], second[-len(again) :] = second[again], first[again]
    arbitrary = {"first": first, "second": second}
    given = {"first": meta.first, "second": meta.second}
    for name, lists in (("arbitrary", arbitrary), ("gallery", given)):
        for side, array in lists.items():
            np.save(folder / f"{name}-{side}.npy", array)
    for name in ("genuine", "template_ids", "media_ids"):
        np.save(folder / f"{name}.npy", getattr(meta, name))


def load(folder: Path, *names: str) -> list[np.ndarray]:
    """Load arrays that :func:`save_lists` saved."""
    return [np.load(folder / f"{name}.npy") for name in names]


def ours(folder: Path, pairs: str) -> tuple[dict[str, float], np.ndarray]:
    """Pool, score and compute the ROC with this package; return the seconds of each, and TAR."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    template_ids, media_ids, genuine = load(folder, "template_ids", "media_ids", "genuine")
    first, second = load(folder, f"{pairs}-first", f"{pairs}-second")
    lap = Timer()
    templates, ids = pool_templates(features, template_ids, media_ids)
    lap("pooling")
    scores = verification_scores(templates, ids, first, second)
    lap("1:1 scores")
    tar = nearest_tar(*roc_curve(scores, genuine), FARS)
    lap("ROC")
    return lap.steps, tar


def usual(folder: Path, pairs: str) -> tuple[dict[str, float], np.ndarray]:
    """Compute the same with the usual method."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    template_ids, media_ids, genuine = load(folder, "template_ids", "media_ids", "genuine")
    first, second = load(folder, f"{pairs}-first", f"{pairs}-second")
    lap = Timer()
    ids = np.unique(template_ids)
    templates = np.zeros((len(ids), features.shape[1]))
    for row, template in enumerate(ids):
        faces = np.flatnonzero(template_ids == template)
        block, media = features[faces], media_ids[faces]
        means = [block[media == medium].mean(axis=0) for medium in np.unique(media)]
        templates[row] = np.sum(means, axis=0)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    lap("pooling")
    rows = np.zeros(ids.max() + 1, np.int64)
    rows[ids] = np.arange(len(ids))
    scores = np.zeros(len(first))
    for start in range(0, len(first), 100_000):
        batch = slice(start, start + 100_000)
        scores[batch] = np.sum(templates[rows[first[batch]]] * templates[rows[second[batch]]], -1)
    lap("1:1 scores")
    far, tar, _ = sklearn_roc(genuine, scores)
    far, tar = np.flipud(far), np.flipud(tar)
    figures = np.array([tar[np.abs(far - wanted).argmin()] for wanted in FARS])
    lap("ROC")
    return lap.steps, figures


def keep(way: str, folder: Path, pairs: str) -> None:
    """Write the result of a method to a file, for the parent process."""
    steps, tar = {"usual": usual, "ours": ours}[way](folder, pairs)
    (folder / f"{way}.json").write_text(json.dumps([steps, tar.tolist()]))


def others(folder: Path, meta: IJBMeta) -> dict[str, float]:
    """Measure the seconds of the 1:N search of all galleries, and of the bootstrap of TAR."""
    features = np.load(folder / "features.npy", mmap_mode="r")
    templates, ids = pool_templates(features, meta.template_ids, meta.media_ids)
    scores = verification_scores(templates, ids, meta.first, meta.second)
    lap = Timer()
    probes = templates[template_rows(ids, meta.probes.template_ids)]
    for gallery in meta.galleries.values():
        rows = template_rows(ids, gallery.template_ids)
        search(templates[rows], gallery.subject_ids, probes, meta.probes.subject_ids)
    lap("1:N, all galleries")
    weights = draw_weights(len(ids), rounds=ROUNDS, seed=0)
    sides = [template_rows(ids, side) for side in (meta.first, meta.second)]
    tar_draws(scores, meta.genuine, *sides, FARS, weights)
    lap(f"bootstrap of TAR, {ROUNDS} rounds")
    return lap.steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", choices=PROTOCOLS, default="ijbc")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lh2face-ijb")
    parser.add_argument("--pairs", choices=PAIRS, nargs="+", default=PAIRS)
    args = parser.parse_args()
    folder = args.folder / f"{args.protocol}-{args.scale:g}"
    if not (folder / "genuine.npy").exists():
        save_lists(folder, write_protocol(folder, args.protocol, scale=args.scale))
    mapped = (folder / "features.npy").stat().st_size

    lap = Timer()
    meta = read_meta(folder, args.protocol)
    lap("reading all lists")
    console = Console()
    table = Table(title=f"{args.protocol}, scale {args.scale:g}: {len(meta.genuine)} pairs")
    for column in ("pairs", "step", "usual, s", "ours, s", "ratio"):
        table.add_column(column, justify="left" if column in ("pairs", "step") else "right")
    for pairs in args.pairs:
        peaks = {way: peak_memory(keep, way, folder, pairs) - mapped for way in ("usual", "ours")}
        (slow, expected), (fast, found) = (
            json.loads((folder / f"{way}.json").read_text()) for way in peaks
        )
        slow["together"], fast["together"] = sum(slow.values()), sum(fast.values())
        for step, seconds in fast.items():
            ratio = f"{slow[step] / seconds:.1f}"
            table.add_row(pairs, step, f"{slow[step]:.2f}", f"{seconds:.2f}", ratio)
        usual_peak, our_peak = (peak / 1e9 for peak in peaks.values())
        ratio = f"{usual_peak / our_peak:.1f}"
        table.add_row(pairs, "peak memory, GB", f"{usual_peak:.2f}", f"{our_peak:.2f}", ratio)
        digits = [" ".join(f"{100 * rate:.2f}" for rate in tar) for tar in (expected, found)]
        assert digits[0] == digits[1], digits
        console.print(f"TAR at {FARS}, {pairs}: {digits[0]} %, the same with both methods")
    for step, seconds in {**lap.steps, **others(folder, meta)}.items():
        table.add_row("gallery", step, "", f"{seconds:.2f}", "")
    console.print(table)


if __name__ == "__main__":
    main()
