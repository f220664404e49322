"""Draw the picture of the README and of the home page: synthetic faces and their reconstructions.

    python docs/build/picture.py runs/depth docs/pictures/faces.svg

The script draws ``samples.npz`` of a finished run. The picture is a JPEG inside an SVG, so that the
repository holds only text.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from lh2face.files.arrays import read_arrays
from lh2face.report.pictures import jpeg

FACES = 4
TILE, GAP, LABEL = 112, 4, 26
GREY = "#777"  # can be read on a white page and on a dark one
PARTS = {"input": "photo", "canonical": "canonical", "depth": "depth", "normals": "normals"}
TURNS = (-40, -20, 20, 40)  # degrees


def draw(samples: dict[str, np.ndarray]) -> str:
    """Return the SVG of a run's sample faces, one row per face."""
    columns = {label: samples[name][:FACES] for name, label in PARTS.items()}
    angles = samples["turns"].tolist()
    for degrees in TURNS:
        columns[f"{degrees:+d}°".replace("-", "−")] = samples["turned"][
            :FACES, angles.index(degrees)
        ]
    width = len(columns) * (TILE + GAP) - GAP
    height = FACES * (TILE + GAP) - GAP
    picture = np.full((height, width, 3), 255, np.uint8)
    for column, faces in enumerate(columns.values()):
        for row, face in enumerate(faces):
            face = face if face.ndim == 3 else np.repeat(face[..., None], 3, axis=2)
            y, x = row * (TILE + GAP), column * (TILE + GAP)
            tile = cv2.resize(face, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
            picture[y : y + TILE, x : x + TILE] = tile
    names = "".join(
        f'<text x="{column * (TILE + GAP) + TILE / 2}" y="{height + 20}">{label}</text>'
        for column, label in enumerate(columns)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + LABEL}" '
        f'font-family="sans-serif" font-size="18" text-anchor="middle" fill="{GREY}">'
        f'<image width="{width}" height="{height}" href="{jpeg(picture)}"/>{names}</svg>\n'
    )


if __name__ == "__main__":
    depth, out = map(Path, sys.argv[1:])
    keys = (*PARTS, "turned", "turns")
    out.write_text(draw(read_arrays(depth / "samples.npz", *keys)), encoding="utf-8")
