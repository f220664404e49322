"""The report's pictures as data URIs, and which pairs of faces to show."""

import cv2
import numpy as np
import pandas as pd

from lh2face.data.images import data_uri, encode_jpeg

JPEG_QUALITY = 90


def hardest(pairs: pd.DataFrame, count: int) -> dict[str, pd.DataFrame]:
    """Pairs of faces that a model finds hard.

    Args:
        pairs: ``pairs.csv`` of stage ``evaluate``.
        count: At most as many of each kind; a pair that is listed twice counts once.

    Returns:
        ``genuine``, of one person, the lowest scores; ``impostor``, of two, the highest; and
        ``mistakes``, decided wrongly, the highest κ first, where a pair's κ is its lower one.
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
    """RGB or grey uint8 pixels as a data URI, losing nothing."""
    return data_uri("png", cv2.imencode(".png", _for_opencv(picture))[1].tobytes())


def jpeg(picture: np.ndarray) -> str:
    """RGB uint8 pixels as a data URI, a fifth of the size of :func:`png`."""
    return data_uri("jpeg", encode_jpeg(picture, JPEG_QUALITY))


def strip(pictures: np.ndarray) -> str:
    """RGB pictures ``(V, H, W, 3)`` uint8 side by side in one image, as a data URI."""
    return jpeg(np.concatenate(list(pictures), axis=1))


def _for_opencv(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
