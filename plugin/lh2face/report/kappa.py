"""How well κ predicts scores and errors on a benchmark; the faces of least and greatest κ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lh2face.artifacts.file_names import METRICS
from lh2face.evaluation.comparison import Run, compare
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.metric_names import REJECT_AREA, REJECT_AREA_AT_FAR
from lh2face.files.json_object import number, read_object
from lh2face.report.answer import listed

CALIBRATION = ("ece", "ece_as_trained", "scale", "dim")


def read_calibration(evaluation: Path) -> dict[str, float]:
    """Read the section ``calibration`` of an evaluation's ``metrics.json``.

    Returns:
        ``ece`` and ``ece_as_trained``: the mean absolute difference of predicted and observed
        cosine, after and before calibration; ``scale``: the factor that calibrates κ; ``dim``: the
        dimension of the distribution. Empty if there are no pairs.

    Raises:
        ValueError: If one of them is not a finite number.
    """
    path = evaluation / METRICS
    found = read_object(path, "an evaluation").get("calibration")
    if found is None:
        return {}
    given = found if isinstance(found, dict) else {}
    return {key: number(given.get(key), path, f"calibration.{key}") for key in CALIBRATION}


def truth(
    calibrations: dict[str, list[dict[str, float]]],
    evaluations: dict[str, list[dict[str, pd.DataFrame]]],
    runs: dict[str, Run],
) -> str:
    """Say how well κ predicts cosines, and whether it predicts which pairs fail.

    If pairs are rejected at random, the reject curve stays at its first FNMR. So κ predicts which
    pairs fail if the interval of the area under the curve at a constant FAR is below that FNMR. The
    curve at a constant threshold also falls if a low κ only means low scores, also of strangers.

    Args:
        calibrations: Results of :func:`read_calibration` by model, one per seed.
        evaluations: Tables of the same evaluations; ``calibration`` and ``reject`` are read.
        runs: Figures of the same evaluations.

    Returns:
        A few sentences; empty if there are no pairs.
    """
    if not all(seed for seeds in calibrations.values() for seed in seeds):
        return ""
    as_trained, calibrated = (
        [float(np.mean([seed[key] for seed in seeds])) for seeds in calibrations.values()]
        for key in ("ece_as_trained", "ece")
    )
    spans = [
        float(np.mean([np.ptp(seed["calibration"]["predicted"]) for seed in seeds]))
        for seeds in evaluations.values()
    ]
    falling = {
        figure: [
            model
            for model, run in runs.items()
            if _below(run, figure, [seed["reject"][column].iloc[0] for seed in evaluations[model]])
        ]
        for figure, column in ((REJECT_AREA_AT_FAR, "fnmr_at_far"), (REJECT_AREA, "fnmr"))
    }
    telling = falling[REJECT_AREA_AT_FAR]
    silent = [model for model in runs if model not in telling]
    which = f"κ predicts better than chance which pairs fail in {listed(telling or ['no model'])}"
    if telling and silent:
        which += f", but not in {listed(silent)}"
    if seeming := [model for model in silent if model in falling[REJECT_AREA]]:
        which += (
            f". It would seem to do so in {listed(seeming)} at a constant threshold, where the FAR "
            "changes as pairs are rejected"
        )
    if any(len(seeds) == 1 for seeds in evaluations.values()):
        which += ". This rests on a single training of each model"
    return (
        f"As trained, the cosines that κ predicts are wrong by {_range(as_trained)} on average. "
        f"After calibration they are wrong by {_range(calibrated)}, while the predictions of a "
        f"model span {_range(spans)}. {which}."
    )


def extremes(
    tables: dict[str, pd.DataFrame], calibration: dict[str, float],
    picture: Callable[[str], str], count: int,
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Select the faces of ``least`` and ``greatest`` κ in an evaluation.

    Args:
        tables: Tables of the evaluation; ``kappa`` and ``pairs`` are read.
        calibration: Result of :func:`read_calibration`.
        picture: Function from the name of a face to its picture.
        count: Number of faces of each kind.

    Returns:
        For each face ``name``, ``kappa`` and ``picture``; if κ is calibrated, ``expected``: the
        mean cosine to a photo of the same person with median κ; and if the face is in genuine
        pairs, ``observed``: their mean cosine, and ``pairs``: their number.
    """
    faces = tables["kappa"].sort_values("kappa", kind="stable")
    if calibration:
        scaled = calibration["scale"] * faces["kappa"].to_numpy()
        median = np.full(1, np.median(scaled))
        faces = faces.assign(expected=expected_cosine(scaled, median, int(calibration["dim"])))
    pairs = tables["pairs"][tables["pairs"]["same"] == 1]
    sides = (pairs[[side, "score"]].rename(columns={side: "name"}) for side in ("first", "second"))
    seen = pd.concat(sides).groupby("name")["score"].agg(observed="mean", pairs="size")
    faces = faces.join(seen, on="name")
    return {
        kind: [
            {**row[row.notna()].to_dict(), "picture": picture(row["name"])}
            for _, row in some.iterrows()
        ]
        for kind, some in (("least", faces[:count]), ("greatest", faces[-count:]))
    }


def _below(run: Run, figure: str, chance: list[float]) -> bool:
    """Whether the interval of the area under a reject curve is below the area by chance."""
    area = Run({figure: run.figures[figure]}, {figure: run.draws[figure]})
    level = np.array(chance)
    draws = np.repeat(level[:, None], area.draws[figure].shape[1], axis=1)
    (found,) = compare(area, Run({figure: level}, {figure: draws}))
    return found.interval[1] < 0


def _range(values: list[float]) -> str:
    """Format the least and the greatest value, or one number if both are equal."""
    ends = [f"{value:.2f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))
