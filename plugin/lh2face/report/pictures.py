"""Pictures of the report as data URIs, and the choice of pairs of faces to show."""

import cv2
import numpy as np
import pandas as pd

from lh2face.data.images import data_uri, encode_jpeg

JPEG_QUALITY = 90


def hardest(pairs: pd.DataFrame, count: int) -> dict[str, pd.DataFrame]:
    """Choose the pairs of faces that are hardest for a model.

    Args:
        pairs: ``pairs.csv`` of stage ``evaluate``; a pair that is listed twice counts once.
        count: Most pairs per kind.

    Returns:
        ``genuine``: pairs of one person with the lowest scores; ``impostor``: pairs of two people
        with the highest scores; ``mistakes``: wrong decisions, those with the highest κ first,
        where the κ of a pair is that of its less certain face.
    """
    unordered = pd.DataFrame(np.sort(pairs[["first", "second"]].to_numpy(str), axis=1))
    pairs = pairs[~unordered.duplicated().to_numpy()]
    certainty = pairs[["kappa_first", "kappa_second"]].min(axis=1)
    wrong = pairs.assign(certainty=certainty)[pairs["right"] == 0]
    return {
        "genuine": pairs[pairs["same"] == 1].nsmallest(count, "score"),
        "impostor": pairs[pairs["same"] == 0].nlargest(count, "score"),
        "mistakes": wrong.nlargest(count, "certainty"),
    }


def png(picture: np.ndarray) -> str:
    """Encode an RGB or grey uint8 picture as a lossless data URI."""
    return data_uri("png", cv2.imencode(".png", _for_opencv(picture))[1].tobytes())


def jpeg(picture: np.ndarray) -> str:
    """Encode an RGB uint8 picture as a JPEG data URI, about a fifth of the size of :func:`png`."""
    return data_uri("jpeg", encode_jpeg(picture, JPEG_QUALITY))


def strip(pictures: np.ndarray) -> str:
    """Encode pictures ``(V, H, W, 3)`` uint8 side by side in one JPEG, as a data URI."""
    return jpeg(np.concatenate(list(pictures), axis=1))


def _for_opencv(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
