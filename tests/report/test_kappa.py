"""The report's sentence on κ follows from the tables, as do the faces of least and greatest κ."""

import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("scipy", reason="needs the pipeline extra")

from scipy.special import ive

from lh2face.evaluation.comparison import Run
from lh2face.report.kappa import extremes, read_calibration, truth


def seed(off: float, span: float) -> tuple[dict, dict]:
    """Return the calibration and the tables of one seed's evaluation."""
    predicted = np.linspace(0.5, 0.5 + span, 10)
    return (
        {"ece": off / 10, "ece_as_trained": off, "scale": 2.0, "dim": 8},
        {
            "calibration": pd.DataFrame({"predicted": predicted, "observed": predicted}),
            "reject": pd.DataFrame({"rejected": [0.0], "fnmr": [0.1], "fnmr_at_far": [0.1]}),
        },
    )


def area(*seeds: float, fixed: float = 0.1) -> Run:
    """Return a run with these areas of reject curves; draws lie 0.02 to both sides."""
    figures = {"reject.area_at_far": np.array(seeds), "reject.area": np.full(len(seeds), fixed)}
    spread = np.linspace(-0.02, 0.02, 200)
    return Run(figures, {name: values[:, None] + spread for name, values in figures.items()})


def sentence(runs: dict[str, Run]) -> str:
    offs = {"a": (0.3, 0.1), "b": (0.7, 0.2), "c": (0.5, 0.15)}
    made = {
        m: [seed(*offs[m]) for _ in run.figures["reject.area_at_far"]] for m, run in runs.items()
    }
    calibrations = {model: [of for of, _ in seeds] for model, seeds in made.items()}
    return truth(calibrations, {m: [t for _, t in seeds] for m, seeds in made.items()}, runs)


def test_the_sentence_on_kappa_states_its_errors():
    # Seeds of b scatter so much that chance is not excluded; c is worse than chance.
    found = sentence({"a": area(0.05, 0.051), "b": area(0.02, 0.10), "c": area(0.12, 0.13)})
    assert found == (
        "As trained, the cosines that κ predicts are wrong by 0.30 to 0.70 on average. After "
        "calibration they are wrong by 0.03 to 0.07, while the predictions of a model span 0.10 to "
        "0.20. κ predicts better than chance which pairs fail in a, but not in b and c."
    )


def test_scores_that_are_low_with_kappa_for_all_tell_nothing():
    found = sentence({"a": area(0.05, 0.05, fixed=0.05), "c": area(0.12, 0.13, fixed=0.05)})
    assert found.endswith(
        "fail in a, but not in c. It would seem to do so in c at a constant threshold, where the "
        "FAR changes as pairs are rejected."
    )


def test_with_one_training_per_model_the_sentence_says_so():
    assert sentence({"a": area(0.05)}).endswith(
        "fail in a. This rests on a single training of each model."
    )
    assert "fail in no model." in sentence({"c": area(0.09)})


def test_without_pairs_there_is_no_sentence():
    assert truth({"a": [{}]}, {"a": [{}]}, {"a": Run({}, {})}) == ""


def test_faces_of_least_and_greatest_kappa():
    kappa = pd.DataFrame({"name": list("abcde"), "kappa": [5.0, 1.0, 4.0, 3.0, 2.0]})
    rows = [("a", "b", 1, 0.5), ("b", "c", 1, 0.7), ("a", "b", 0, -0.9), ("b", "e", 0, 0.1)]
    pairs = pd.DataFrame(rows, columns=["first", "second", "same", "score"])
    calibration = {"scale": 2.0, "dim": 8}
    found = extremes({"kappa": kappa, "pairs": pairs}, calibration, str.upper, 2)
    names = {kind: [face["name"] for face in faces] for kind, faces in found.items()}
    assert names == {"least": ["b", "e"], "greatest": ["c", "a"]}
    least, second = found["least"]
    assert least["picture"] == "B" and least["kappa"] == 1
    assert least["observed"] == pytest.approx(0.6) and least["pairs"] == 2
    assert "observed" not in second  # this face is in no genuine pair

    def resultant(value):
        return ive(4, value) / ive(3, value)  # A_8

    # The expected cosine is that to a photo of median κ, which is 3.
    assert least["expected"] == pytest.approx(resultant(2.0) * resultant(6.0))
    bare = extremes({"kappa": kappa, "pairs": pairs[:0]}, {}, str.upper, 1)
    assert bare["greatest"] == [{"name": "a", "kappa": 5.0, "picture": "A"}]


@pytest.mark.parametrize("calibration", [3, {"ece": 0.1, "ece_as_trained": "x"}])
def test_a_calibration_without_numbers_is_refused(tmp_path, calibration):
    path = tmp_path / "metrics.json"
    path.write_text("{}")
    assert read_calibration(tmp_path) == {}
    path.write_text(json.dumps({"calibration": calibration}))
    with pytest.raises(ValueError, match=r"metrics\.json: expected a number as 'calibration\.ece"):
        read_calibration(tmp_path)
