"""A parametric face model: from identity, expression and age to depth, albedo and landmarks.

The face is on a canonical grid, x to the right and y down, −1 … 1 over the loose crop. Depth is
0.9 … 1.1, and the axis of rotation is at depth 1. Faces are computed in batches.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Identity coefficients: each is drawn from N(0, 1) and clipped to ±LIMIT.
COEFFICIENTS = (
    "head_width", "head_height", "jaw_width", "chin_length", "chin_width", "cheek", "cheek_height",
    "brow_ridge", "forehead", "nose_length", "nose_width", "nose_height", "nose_bridge", "nose_tip",
    "eye_spacing", "eye_height", "eye_width", "eye_open", "eye_tilt", "socket", "mouth_width",
    "mouth_height", "lip_upper", "lip_lower", "lip_red", "melanin", "undertone", "brow_thick",
    "brow_arch", "brow_tilt", "brow_gap", "brow_dark", "iris_hue", "iris_size", "hair_melanin",
    "hair_red", "hair_line", "hair_peak", "hair_side", "beard", "moustache", "freckles", "blush",
    "ear", "philtrum", "shirt_hue",
)  # fmt: skip
LIMIT = 2.2
MARKS, WAVES = 5, 6
# Half the width of the field of view (10°) at depth 1.
UNIT = math.tan(math.radians(5))
# One number for all faces, or a tensor with one for each.
Number = Tensor | float
# A smooth spot, or a pair of them, about a centre (x, y) with widths along both axes.
Spot = Callable[[Number, Number, Number, Number], Tensor]


def sample_identity(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw a person: identity coefficients, marks and freckles, and the pattern of the skin."""
    waves = rng.normal(size=(WAVES, 4))
    return {
        "coefficients": np.clip(rng.normal(size=len(COEFFICIENTS)), -LIMIT, LIMIT),
        "marks": np.stack(
            [
                rng.uniform(-0.36, 0.36, MARKS),
                rng.uniform(-0.45, 0.6, MARKS),
                rng.uniform(0.012, 0.028, MARKS),
                rng.uniform(0, 1, MARKS) < 0.2,
            ],
            axis=1,
        ),
        "freckles": rng.uniform([-0.3, 0.0], [0.3, 0.28], (24, 2)),
        "waves": waves,
    }


def build_faces(
    people: list[dict[str, np.ndarray]], smile: Tensor, mouth_open: Tensor, blink: Tensor,
    brow_raise: Tensor, age: Tensor, glasses: Tensor, mask: Tensor, size: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Compute canonical faces.

    Args:
        people: B people from :func:`sample_identity`.
        smile: ``(B,)`` −1 … 1, from frown to smile.
        mouth_open: ``(B,)`` 0 … 1.
        blink: ``(B,)`` 0 … 1, from open to closed eyes.
        brow_raise: ``(B,)`` −1 … 1.
        age: ``(B,)`` 0 … 1, about 18 to 80 years.
        glasses: ``(B,)`` 0 or 1: dark glasses over the eyes.
        mask: ``(B,)`` 0 or 1: a mask over mouth and nose.
        size: Side S of the grid.

    Returns:
        Depth ``(B, S, S)`` (NaN where there is no head), albedo ``(B, 3, S, S)`` in 0 … 1, and the
        five landmarks ``(B, 5, 3)`` as (x, y on the grid −1 … 1, depth).
    """
    table = torch.tensor(np.stack([p["coefficients"] for p in people]), dtype=torch.float32)
    c = {name: table[:, i, None, None] for i, name in enumerate(COEFFICIENTS)}
    smile, mouth_open, blink, brow_raise, age, glasses, mask = (
        v.float()[:, None, None] for v in (smile, mouth_open, blink, brow_raise, age, glasses, mask)
    )
    axis = torch.linspace(-1, 1, size)
    x, y = axis[None, None, :], axis[None, :, None]
    ax = x.abs()

    # Positions of the facial features.
    eye_x = 0.215 * (1 + 0.08 * c["eye_spacing"])
    eye_y = -0.1 + 0.025 * c["eye_height"]
    nose_y = eye_y + 0.25 * (1 + 0.09 * c["nose_length"])
    mouth_y = eye_y + 0.5 * (1 + 0.045 * c["mouth_height"]) + 0.01 * mouth_open
    mouth_w = 0.175 * (1 + 0.11 * c["mouth_width"]) * (1 + 0.16 * smile)
    corner_y = mouth_y - 0.03 * smile
    chin_y = mouth_y + 0.25 * (1 + 0.12 * c["chin_length"]) + 0.035 * mouth_open
    top_y = -0.78 * (1 + 0.03 * c["head_height"])

    # The head: an outline that narrows to the chin, and a dome over it.
    middle = (top_y + chin_y) / 2
    half = (chin_y - top_y) / 2
    v = (y - middle) / half
    jaw = torch.sigmoid((y - 0.18) * 6)
    thin = 1 - 0.05 * age
    width = (
        0.5 * (1 + 0.07 * c["head_width"]) * (1 - jaw * (0.2 - 0.07 * c["jaw_width"] - 0.03 * age))
    )
    radius = (ax / width).pow(2.3) + v.abs().pow(2.5 + 0.15 * c["chin_width"])
    dome = (1 - radius).clamp_min(0).sqrt()
    # Behind the outline the sides go on to the back, so that a turned head is closed.
    behind = ((radius - 0.97) / 0.23).clamp(0, 1)
    neck_in = ((0.3 + 0.1 * ((y - 0.86) * 8).sigmoid() * 3) - ax > 0) & (y > 0.45)
    neck = 1.0 - 0.022 * (1 - (x / 0.33).square()).clamp_min(0).sqrt() + 0 * width

    def bump(cx: Number, cy: Number, sx: Number, sy: Number) -> Tensor:
        # One factor per row and one per column: far fewer exponentials than pixels.
        return torch.exp(-((x - cx) / sx).square()) * torch.exp(-((y - cy) / sy).square())

    def pair(cx: Number, cy: Number, sx: Number, sy: Number) -> Tensor:
        return torch.exp(-((ax - cx) / sx).square()) * torch.exp(-((y - cy) / sy).square())

    nose_w = 0.075 * (1 + 0.16 * c["nose_width"])
    ridge = torch.sigmoid((y - eye_y + 0.02) * 30) * torch.sigmoid((nose_y - y + 0.015) * 45)
    along = ((y - eye_y) / (nose_y - eye_y)).clamp(0, 1)
    zero = torch.zeros_like(eye_x)
    relief = (
        (0.004 + 0.0105 * along * (1 + 0.2 * c["nose_height"]) + 0.0015 * c["nose_bridge"])
        * ridge * torch.exp(-(x / (nose_w * (0.5 + 0.5 * along))).square())
        + 0.005 * (1 + 0.2 * c["nose_tip"]) * bump(zero, nose_y, nose_w * 0.8, 0.05)
        + 0.004 * pair(nose_w * 1.05, nose_y + 0.02, 0.045, 0.035)
        + 0.003 * (1 + 0.4 * c["brow_ridge"]) * pair(eye_x, eye_y - 0.11, 0.17, 0.045)
        - 0.006 * (1 + 0.25 * c["socket"]) * pair(eye_x, eye_y, 0.11, 0.06)
        + 0.0035 * pair(eye_x, eye_y, 0.06, 0.04)
        + 0.0035 * (1 + 0.5 * c["cheek"] + 0.4 * smile - 0.5 * age)
        * pair(0.27, 0.12 + 0.02 * c["cheek_height"], 0.12, 0.12)
        + 0.004 * bump(zero, mouth_y, 0.19, 0.1)
        + 0.003 * bump(zero, mouth_y - 0.025, mouth_w * 0.8, 0.02) * (1 + 0.3 * c["lip_upper"])
        + 0.003 * bump(zero, mouth_y + 0.035, mouth_w * 0.7, 0.025) * (1 + 0.3 * c["lip_lower"])
        - 0.004 * mouth_open * bump(zero, mouth_y + 0.01, mouth_w * 0.7, 0.03)
        - 0.002 * bump(zero, mouth_y + 0.1, 0.12, 0.03)
        + 0.0035 * bump(zero, chin_y - 0.09, 0.1 * (1 + 0.2 * c["chin_width"]), 0.07)
        + 0.002 * c["forehead"] * bump(zero, zero - 0.45, 0.3, 0.2)
        - 0.002 * age * pair(zero + 0.2, mouth_y - 0.02, 0.03, 0.12)
    )  # fmt: skip
    depth = 1.0 - 0.052 * thin * dome + 0.024 * behind - relief * (dome > 0.12)
    # The ears stand away from the sides, and lean back.
    ear_out = (ax - 0.52 * (1 + 0.07 * c["head_width"])) / (0.06 * (1 + 0.15 * c["ear"]))
    ear_up = (y - (eye_y + nose_y) / 2) / (0.15 * (1 + 0.12 * c["ear"]))
    ear = ear_out.square() + ear_up.square()
    is_ear = (ear < 1) & (radius > 0.9)
    plate = 0.994 + 0.011 * ear_out - 0.004 * torch.exp(-((ear - 0.75) / 0.2).square())
    depth = torch.where(is_ear, torch.minimum(depth, plate), depth)
    head_in = (radius < 1.2) | is_ear
    depth = torch.where(head_in, depth, torch.full_like(depth, 2.0))
    both = torch.where(neck_in, torch.minimum(depth, neck), depth)
    depth = torch.where(head_in | neck_in, both, torch.full_like(depth, torch.nan))
    is_neck = neck_in & ~(head_in & (depth < neck))

    albedo = _albedo(
        c, people, x, y, ax, radius, is_neck, bump, pair,
        {"eye_x": eye_x, "eye_y": eye_y, "nose_y": nose_y, "nose_w": nose_w, "mouth_y": mouth_y,
         "mouth_w": mouth_w, "corner_y": corner_y, "chin_y": chin_y, "smile": smile,
         "mouth_open": mouth_open, "blink": blink, "brow_raise": brow_raise, "age": age,
         "glasses": glasses, "mask": mask, "ear": ear, "is_ear": is_ear},
    )  # fmt: skip
    places = [(-eye_x, eye_y), (eye_x, eye_y), (zero, nose_y), (-mouth_w, corner_y)]
    places.append((mouth_w, corner_y))
    points = torch.stack([torch.cat([px, py], 2)[:, 0] for px, py in places], 1)
    at = torch.nn.functional.grid_sample(
        depth.nan_to_num(1.0)[:, None], points[:, None], align_corners=True
    )
    return depth, albedo, torch.cat([points, at[:, 0, 0, :, None]], 2)


def _albedo(
    c: dict[str, Tensor], people: list[dict[str, np.ndarray]], x: Tensor, y: Tensor, ax: Tensor,
    radius: Tensor, is_neck: Tensor, bump: Spot, pair: Spot, f: dict[str, Tensor],
) -> Tensor:  # fmt: skip
    """Paint the skin and then everything on it, in order."""

    def color(*rgb: Number) -> Tensor:
        like = torch.zeros_like(c["melanin"])
        return torch.stack([like + channel for channel in rgb], 1)

    def paint(canvas: Tensor, pigment: Tensor, cover: Tensor) -> Tensor:
        return canvas + (pigment - canvas) * cover[:, None]

    age, smile = f["age"], f["smile"]
    tone = torch.sigmoid(0.75 * c["melanin"])
    warm = 0.03 * c["undertone"]
    skin = color(
        0.92 - 0.5 * tone + warm, 0.75 - 0.5 * tone, 0.64 - 0.47 * tone - warm - 0.02 * age
    )
    canvas = skin.expand(-1, 3, x.shape[2], x.shape[2]).clone()
    waves = torch.tensor(np.stack([p["waves"] for p in people]), dtype=torch.float32)
    pattern = torch.zeros(())
    for k in range(WAVES):
        wx, wy, phase, size = (waves[:, k, i, None, None] for i in range(4))
        pattern = pattern + size * torch.cos(5 * (wx * x + wy * y) + 3 * phase)
    canvas = canvas * (1 + 0.025 * pattern[:, None])

    blush = (0.12 + 0.07 * c["blush"]).clamp(0, 0.4)
    canvas = paint(
        canvas,
        color(0.8, 0.4, 0.36) * (1.1 - 0.7 * tone[:, None]),
        blush * pair(0.27, 0.15, 0.13, 0.1),
    )
    canvas = canvas * (1 - 0.22 * pair(f["eye_x"], f["eye_y"], 0.12, 0.065))[:, None]
    freckle = (0.25 * c["freckles"] - 0.1).clamp(0, 0.5)
    dots = torch.tensor(np.stack([p["freckles"] for p in people]), dtype=torch.float32)
    across = torch.exp(-((x - dots[:, :, :1]) / 0.013).square())
    down = torch.exp(-((y.transpose(1, 2) - dots[:, :, 1:]) / 0.013).square())
    spots = down.transpose(1, 2) @ across
    canvas = paint(canvas, skin * color(0.7, 0.55, 0.45), freckle * spots.clamp(0, 1))
    marks = torch.tensor(np.stack([p["marks"] for p in people]), dtype=torch.float32)
    for k in range(MARKS):
        mx, my, size, there = (marks[:, k, i, None, None] for i in range(4))
        canvas = paint(
            canvas, skin * color(0.4, 0.28, 0.24), 0.85 * there * bump(mx, my, size, size)
        )

    # Age: lines on the forehead, beside the eyes and from nose to mouth.
    old = (age - 0.35).clamp_min(0) / 0.65
    forehead = torch.exp(-((y + 0.38) / 0.1).square()) * torch.exp(-(x / 0.26).square())
    lines = (torch.cos((y + 0.02 * torch.cos(9 * x)) * 95) > 0.55).float() * forehead
    fold_x = 0.13 + 0.35 * (y - f["nose_y"]).clamp_min(0)
    folds = torch.exp(-((ax - fold_x) / 0.012).square()) * torch.exp(
        -((y - f["mouth_y"] + 0.1) / 0.09).square()
    )
    feet = (torch.cos((y - f["eye_y"] - 0.4 * (ax - 0.33)) * 110) > 0.4).float() * pair(
        f["eye_x"] + 0.14, f["eye_y"], 0.04, 0.06
    )
    bags = pair(f["eye_x"], f["eye_y"] + 0.075, 0.08, 0.016)
    creases = 0.3 * old * lines + (0.12 + 0.4 * old) * folds * (0.6 + 0.4 * smile.clamp_min(0))
    canvas = canvas * (1 - creases - 0.3 * old * (feet + bags))[:, None].clamp(0.3, 1)

    # Brows, beard and hair have one colour, which turns grey with age.
    h = torch.sigmoid(1.1 * c["hair_melanin"] + 0.7 * c["melanin"])
    # Some people turn grey early, some never.
    grey = (age - 0.45).clamp_min(0) * (1.1 + 0.6 * c["hair_line"])
    hair = color(
        0.62 - 0.54 * h + 0.09 * c["hair_red"].clamp(0, 2), 0.46 - 0.42 * h, 0.27 - 0.23 * h
    )
    hair = (hair + (0.6 - hair) * grey[:, None].clamp(0, 0.9)).clamp(0.03, 0.9)

    low = torch.sigmoid((y - f["mouth_y"] + 0.14 - 0.7 * (ax - 0.2).clamp_min(0)) * 25)
    lips_clear = 1 - torch.exp(
        -((x / (f["mouth_w"] * 1.05)).pow(4) + ((y - f["mouth_y"]) / 0.055).pow(4))
    )
    beard = (0.45 * c["beard"] - 0.1).clamp(0, 0.85)
    canvas = paint(canvas, hair, beard * low * lips_clear)
    moustache = (0.4 * c["moustache"] - 0.1).clamp(0, 0.85)
    canvas = paint(
        canvas, hair, moustache * bump(0 * age, f["mouth_y"] - 0.085, f["mouth_w"], 0.03)
    )

    # Lips and mouth.
    curve = f["mouth_y"] + (f["corner_y"] - f["mouth_y"]) * (x / f["mouth_w"]).square()
    inside = (1 - (x / f["mouth_w"]).square()).clamp_min(0)
    upper = 0.042 * (1 + 0.22 * c["lip_upper"]) * (1 - 0.3 * old) * inside.sqrt()
    lower = (0.05 * (1 + 0.22 * c["lip_lower"]) * (1 - 0.3 * old) + 0.05 * f["mouth_open"]) * inside
    lips = torch.sigmoid((y - curve + upper) * 120) * torch.sigmoid((curve + lower - y) * 120)
    red = 0.5 + 0.12 * c["lip_red"]
    canvas = paint(
        canvas,
        skin * color(0.85 + 0 * red, 0.85 - 0.45 * red, 0.85 - 0.4 * red),
        0.9 * lips * (inside > 0),
    )
    gap = 0.005 + 0.036 * f["mouth_open"]
    opening = torch.sigmoid((gap * inside - (y - curve - 0.5 * gap).abs()) * 220) * (inside > 0.04)
    canvas = paint(canvas, color(0.22, 0.07, 0.07), 0.85 * opening)
    teeth = opening * (y < curve + 0.5 * gap) * (f["mouth_open"] > 0.25)
    canvas = paint(canvas, color(0.85, 0.83, 0.78), 0.8 * teeth)

    # Nostrils and the sides of the nose.
    nostrils = pair(0.55 * f["nose_w"], f["nose_y"] + 0.045, 0.02, 0.013)
    canvas = paint(canvas, skin * 0.3, 0.8 * nostrils)
    canvas = canvas * (1 - 0.18 * bump(0 * age, f["nose_y"] + 0.065, f["nose_w"], 0.014))[:, None]

    # Eyes: white, iris, pupil, lids, lashes.
    ex = (ax - f["eye_x"]) / (0.083 * (1 + 0.1 * c["eye_width"]))
    tilt = f["eye_y"] - 0.018 * c["eye_tilt"] * ex
    open_ = 0.04 * (1 + 0.2 * c["eye_open"]) * (1 - 0.85 * f["blink"]) * (1 - 0.15 * old)
    almond = (1 - ex.square()).clamp_min(0)
    white = torch.sigmoid((open_ * almond - (y - tilt).abs()) * 200) * (almond > 0)
    canvas = paint(canvas, color(0.9, 0.88, 0.86), white)
    distance = ((ax - f["eye_x"]).square() + (y - tilt).square()).sqrt()
    iris_r = 0.036 * (1 + 0.05 * c["iris_size"])
    hue = c["iris_hue"]
    iris = color(
        0.3 - 0.13 * hue.clamp(-1, 2),
        0.25 + 0.07 * hue.clamp(-2, 2),
        0.15 + 0.2 * hue.clamp(-0.5, 2),
    ).clamp(0.05, 0.8)
    canvas = paint(canvas, iris, white * torch.sigmoid((iris_r - distance) * 200))
    canvas = paint(
        canvas, color(0.03, 0.03, 0.03), white * torch.sigmoid((0.45 * iris_r - distance) * 250)
    )
    lash = torch.exp(-((y - tilt + open_ * almond) / 0.011).square()) * (ex.square() < 1.15)
    lid = torch.exp(-((y - tilt - open_ * almond) / 0.008).square()) * (almond > 0)
    crease = torch.exp(-((y - tilt + open_ * almond + 0.028) / 0.008).square()) * (ex.square() < 1)
    canvas = paint(canvas, skin * 0.18, 0.85 * lash + 0.3 * lid)
    canvas = canvas * (1 - 0.25 * crease)[:, None]

    # Brows.
    bx = (ax - f["eye_x"] - 0.01) / 0.125
    brow_y = (
        f["eye_y"] - 0.115 - 0.012 * c["brow_gap"] - 0.03 * f["brow_raise"]
        - (0.022 + 0.018 * c["brow_arch"]) * (1 - bx.square()) + 0.016 * c["brow_tilt"] * bx
    )  # fmt: skip
    thick = 0.02 * (1 + 0.3 * c["brow_thick"]) * (1 - 0.35 * bx.clamp(-1, 1))
    brows = torch.exp(-((y - brow_y) / thick).pow(4)) * torch.sigmoid((1 - bx.abs()) * 14)
    canvas = paint(canvas, hair * 0.75, (0.75 + 0.12 * c["brow_dark"]).clamp(0.3, 1) * brows)

    # Ears and hair.
    canvas = canvas * (1 - 0.15 * torch.sigmoid((radius - 0.9) * 20))[:, None]
    recede = 0.12 * (age - 0.5).clamp_min(0)
    # Strands of hair fan out from above the head; each person has others.
    fan = x / (1.15 + y) + 0.03 * torch.cos(9 * y + 4 * x)
    strands = torch.zeros(())
    for k, cycles in enumerate((23, 37, 59, 83)):
        strands = strands + torch.cos(cycles * fan + 3 * waves[:, k, 2, None, None] + k * y)
    line = (
        -0.47
        + 0.06 * c["hair_line"]
        - recede
        + 0.5 * (0.09 + 0.03 * c["hair_peak"]) * torch.exp(-(x / 0.1).square())
        + 0.9 * (ax - 0.3).clamp_min(0).pow(1.2)
        + 0.012 * strands
    )
    top = torch.sigmoid((line - y) * 30)
    reach = 0.02 + 0.28 * c["hair_side"]
    side = torch.sigmoid((radius - 0.88) * 30) * torch.sigmoid((reach + 0.02 * strands - y) * 14)
    gloss = 0.2 * torch.exp(-((y + 0.6 + 0.1 * x.square()) / 0.07).square())
    canvas = paint(canvas, hair * (1 + 0.05 * strands + gloss)[:, None], torch.maximum(top, side))
    uncovered = f["is_ear"] * torch.sigmoid((y - reach) * 20)
    canvas = paint(canvas, skin * color(0.95, 0.82, 0.8), uncovered)
    canvas = paint(canvas, skin * 0.5, 0.7 * uncovered * torch.exp(-(f["ear"] / 0.3).square()))

    # Neck and shirt.
    shirt = color(0.5 + 0.2 * c["shirt_hue"].cos(), 0.45 + 0.2 * (2 * c["shirt_hue"]).sin(),
                  0.5 + 0.2 * (3 * c["shirt_hue"]).cos())  # fmt: skip
    canvas = torch.where(is_neck[:, None], skin * 0.8, canvas)
    canvas = torch.where((is_neck & (y > 0.87))[:, None], shirt.expand_as(canvas), canvas)

    # Glasses and mask, which hide parts of the face.
    lens = torch.sigmoid(
        (1 - ((ax - f["eye_x"]) / 0.15).pow(4) - ((y - f["eye_y"] - 0.01) / 0.1).pow(4)) * 12
    )
    frame = torch.maximum(lens, ((y - f["eye_y"] + 0.05).abs() < 0.014).float() * (ax < 0.55))
    canvas = paint(canvas, color(0.06, 0.06, 0.08), 0.95 * f["glasses"] * frame)
    cloth = torch.sigmoid((y - f["nose_y"] + 0.07 + 0.15 * ax.square()) * 60)
    cloth = cloth * ~(is_neck | f["is_ear"])
    weave = color(0.62, 0.74, 0.8) * (1 + 0.03 * torch.cos(80 * y))[:, None]
    canvas = paint(canvas, weave, 0.97 * f["mask"] * cloth)
    return canvas.clamp(0.01, 1)
