"""Stage evaluate: what it makes of a verification bin, and what it leaves as it was."""

import csv

import numpy as np
import pytest

from lh2face.evaluation.protocol import Protocol
from lh2face.evaluation.verification import grid_threshold, ten_fold_accuracy
from lh2face.stages import evaluate


@pytest.fixture(scope="module")
def bin_of(tmp_path_factory):
    """Embeddings and list of a bin of 200 pairs, and the cosines of its pairs."""
    folder, rng = tmp_path_factory.mktemp("bin"), np.random.default_rng(1)
    same = np.arange(200) % 2 == 0
    people = rng.normal(size=(200, 1, 8))
    both = np.stack(
        [people, np.where(same[:, None, None], people, rng.normal(size=(200, 1, 8)))], 1
    )
    both = (both + 0.9 * rng.normal(size=(200, 2, 2, 8))).reshape(400, 2, 8).astype(np.float32)
    (folder / "embeddings" / "0" / "bins").mkdir(parents=True)
    np.save(folder / "embeddings" / "0" / "bins" / "frontal.npy", both)
    (folder / "pairs").mkdir()
    with (folder / "pairs" / "frontal.csv").open("w", newline="") as file:
        rows = [(f"{i}.jpg", f"{i}b.jpg", int(match)) for i, match in enumerate(same)]
        csv.writer(file).writerows([("first", "second", "same"), *rows])
    unit = both.sum(1) / np.linalg.norm(both.sum(1), axis=1, keepdims=True)
    return folder, (unit[::2] * unit[1::2]).sum(1), same


def test_the_accuracy_is_by_the_rule_that_the_protocol_names(bin_of):
    folder, scores, same = bin_of
    found = {}
    for figures in ("definition", "insightface"):
        protocol = Protocol(figures=figures, bootstrap=50)
        pairs = evaluate.read_pairs(folder / "embeddings", folder, "frontal", protocol)
        np.testing.assert_allclose(pairs.scores, scores, atol=1e-6)
        metrics = evaluate.bin_metrics(pairs)
        assert metrics["accuracy"] == pytest.approx(pairs.right.mean())
        # Of the same decisions are the rows of pairs.csv and the rounds of the bootstrap.
        rows = list(evaluate.pair_rows("frontal", pairs))
        assert [row[-1] for row in rows] == [str(int(right)) for right in pairs.right]
        draws = evaluate.accuracy_draws(pairs, protocol)
        assert draws.mean() == pytest.approx(metrics["accuracy"], abs=0.03)
        found[figures] = (metrics["accuracy"], metrics["accuracy_std"])
    assert found["definition"] == pytest.approx(ten_fold_accuracy(scores, same))
    assert found["insightface"] == pytest.approx(ten_fold_accuracy(scores, same, grid_threshold))
    assert found["definition"] != found["insightface"]
