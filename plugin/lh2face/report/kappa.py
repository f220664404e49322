"""What κ is worth on a benchmark: one sentence, and the faces of least and greatest κ."""

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
    """The ``calibration`` in an evaluation's ``metrics.json``.

    Returns:
        ``ece`` and ``ece_as_trained``, the mean distances of predicted and observed cosine; the
        factor ``scale`` that calibrates κ; and ``dim``, the dimension of the distribution. Empty
        where there are no pairs.

    Raises:
        ValueError: If one of them is no finite number.
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
    """One sentence: how well κ predicts cosines, and whether it tells which pairs fail.

    Leaving out pairs at random keeps the FNMR at which the reject curve begins, so κ tells
    something where the interval of the area below the curve at a constant FAR lies below it. The
    curve at a constant threshold also falls where a low κ means low scores between strangers too.

    Args:
        calibrations: Results of :func:`read_calibration` by model, one per seed.
        evaluations: Their tables; ``calibration`` and ``reject`` are read.
        runs: Their figures.

    Returns:
        The sentence; empty where there are no pairs.
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
    which = f"κ tells better than chance which pairs fail in {listed(telling or ['no model'])}"
    if telling and silent:
        which += f", not in {listed(silent)}"
    if seeming := [model for model in silent if model in falling[REJECT_AREA]]:
        which += (
            f" (at a constant threshold it would seem to in {listed(seeming)}, where strangers "
            "with a low κ score low, too)"
        )
    if any(len(seeds) == 1 for seeds in evaluations.values()):
        which += ", as one training each shows it"
    return (
        f"As trained, the cosines that κ predicts are off by {_range(as_trained)} on average; "
        f"after calibration by {_range(calibrated)}, where a model's predictions span "
        f"{_range(spans)}; {which}."
    )


def extremes(
    tables: dict[str, pd.DataFrame], calibration: dict[str, float],
    picture: Callable[[str], str], count: int,
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """The faces of ``least`` and ``greatest`` κ in an evaluation.

    Args:
        tables: Its tables; ``kappa`` and ``pairs`` are read.
        calibration: As :func:`read_calibration` finds it.
        picture: From a face's name to its picture.
        count: How many of each.

    Returns:
        Of each face ``name``, ``kappa`` and ``picture``. Where κ is calibrated, also ``expected``,
        the mean cosine to a photo of the same person with median κ. Where it is in genuine pairs,
        ``observed``, their mean cosine, and their number, ``pairs``.
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
    """Whether the interval of a reject curve's area, over seeds, is below that of chance."""
    area = Run({figure: run.figures[figure]}, {figure: run.draws[figure]})
    level = np.array(chance)
    draws = np.repeat(level[:, None], area.draws[figure].shape[1], axis=1)
    (found,) = compare(area, Run({figure: level}, {figure: draws}))
    return found.interval[1] < 0


def _range(values: list[float]) -> str:
    ends = [f"{value:.2f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))
