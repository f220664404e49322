"""Fit a reconstructor to synthetic faces, then turn one: a sheet and an animated GIF.

    python examples/fit_and_turn.py [OUT] [STEPS]

A face is a mean and some modes (a linear 3D morphable model); a network predicts the weight of
each mode. Sixty steps are enough to see a face turn; with more it looks like the person.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from synthetic_faces import faces

from lh2face.recognizers.preprocessor import normalize_images
from lh2face.registry import MODELS
from lh2face.tools.reconstruct import sheet, write_turn

SIZE = 64


def pictures(people: int, photos: int, kind: str = "any") -> torch.Tensor:
    """Faces ``(N, 3, SIZE, SIZE)`` uint8."""
    shape = (SIZE, SIZE)
    found = faces(people, photos, kind)
    small = [cv2.resize(face, shape, interpolation=cv2.INTER_AREA) for _, face in found]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous()


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "turned")
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    torch.manual_seed(0)
    images = pictures(people=12, photos=6)
    model = MODELS.build({"type": "Linear3DMMReconstructor", "image_size": SIZE, "faces": 60})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        batch = normalize_images(images[torch.randint(len(images), (8,))])
        losses = model.loss(batch, model(batch))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print({name: round(value.item(), 3) for name, value in losses.items()})

    out.mkdir(parents=True, exist_ok=True)
    face = normalize_images(pictures(people=1, photos=1, kind="frontal"))
    with torch.no_grad():
        fitted = model.eval()(face)
        cv2.imwrite(str(out / "face.png"), sheet(model, face, fitted)[..., ::-1])
        write_turn(out / "face.gif", model, fitted)
    print(f"see {out / 'face.png'} and {out / 'face.gif'}")
