"""Draw the figures of the method with the project's own functions, heads and renderer."""

import base64
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from lh2face.data.synthetic.canonical import canonical_faces
from lh2face.functional.vmf import concentration, log_density_ratio, mean_resultant_length
from lh2face.heads import AdaFaceHead, ArcFaceHead, CosFaceHead, LH2FaceHead, MagFaceHead
from lh2face.heads.proxy_head import ProxyHead
from lh2face.rendering import DepthMeshRenderer, lambert_shading, normals_from_depth, shade

WIDTH, HEIGHT = 480, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 90, 14, 46
# Least distance of two labels at the ends of curves.
LABEL_HEIGHT = 16
SUBSCRIPT = '<tspan dy="4" font-size="0.8em">{}</tspan>'


class Curve(NamedTuple):
    """A line and its name; ``at`` marks a point on it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    at: tuple[float, float] | None = None


def density() -> str:
    """The density ratio against the cosine."""
    cos = torch.linspace(-0.2, 1, 61, dtype=torch.float64)
    curves = [
        Curve(f"κ = {kappa}", cos.tolist(), log_density_ratio(cos, torch.tensor(kappa), 256))
        for kappa in (16, 32, 64, 128, 256)
    ]
    return plot(
        curves, "cosθ", "s", y_range=(-80, 180),
        caption="s against the cosine, n = 256: κ is the slope, and costs what it shifts down. "
        "A raw cosine with a fixed scale is one line for every face.",
    )  # fmt: skip


def optimum() -> str:
    """The density ratio against κ."""
    kappa = torch.linspace(0, 300, 151, dtype=torch.float64)
    curves = []
    for cos in (0.2, 0.3, 0.4, 0.5, 0.6):
        best = concentration(torch.tensor(cos, dtype=torch.float64), 256)
        at = (best.item(), log_density_ratio(torch.tensor(cos), best, 256).item())
        y = log_density_ratio(torch.tensor(cos), kappa, 256)
        curves.append(Curve(f"cosθ = {cos}", kappa.tolist(), y, at))
    return plot(
        curves, "κ", "s", y_range=(-40, 60),
        caption="s against κ, n = 256: for every cosine there is one best κ (dots), where Aₙ(κ) "
        "= cosθ. A face that is longer than its cosine warrants loses likelihood.",
    )  # fmt: skip


def mean_cosine() -> str:
    """A_n against κ."""
    kappa = torch.linspace(0, 300, 151, dtype=torch.float64)
    curves = [
        Curve(f"n = {dim}", kappa.tolist(), mean_resultant_length(kappa, dim))
        for dim in (64, 128, 256, 512)
    ]
    return plot(
        curves, "κ", "Aₙ(κ)", y_range=(0, 1),
        caption="Aₙ(κ), the cosine that a face of concentration κ has on average to its person: "
        "n sets which norms are long.",
    )  # fmt: skip


def margin() -> str:
    """The cosine that each head requires of a face, against the norm of its embedding."""
    mean, deviation = 30.0, 10.0
    heads: dict[str, ProxyHead] = {
        "LH2Face": LH2FaceHead(2, 3, positive_weight=0, negative_weight=0, proxy_weight=0),
        "CosFace": CosFaceHead(2, 3),
        "ArcFace": ArcFaceHead(2, 3),
        "MagFace": MagFaceHead(2, 3, norm_range=(10, 50), norm_weight=0),
        "AdaFace": AdaFaceHead(2, 3),
    }
    heads["LH2Face"].mean_norm.fill_(mean)
    heads["AdaFace"].norm_mean.fill_(mean)
    heads["AdaFace"].norm_deviation.fill_(deviation)
    norms = np.linspace(12, 50, 39)
    curves = []
    for name, head in heads.items():
        fix(head)
        curves.append(Curve(name, norms, [boundary(head, norm) for norm in norms]))
    return plot(
        curves, "|z|", "cosθ", y_range=(0, 1), mark=(mean, "μ"),
        caption="The cosine to its own proxy that a face needs to be told from a proxy at 90°, "
        "by the norm of its embedding (μ = 30, AdaFace's σ = 10, MagFace's range 10 to 50, "
        "otherwise default margins). LH2Face asks most of the shortest.",
    )  # fmt: skip


def terms() -> str:
    """The loss terms of one face against its κ."""
    head = LH2FaceHead(2, 3, vmf_dim=64)
    fix(head)
    head.mean_norm.fill_(20.0)
    kappa = np.linspace(0.5, 80, 60)
    found = [head.terms(face(norm, cos=0.4, other=0.1), torch.tensor([0])) for norm in kappa]
    keys = {"vMF": "loss_vmf", "pps": "loss_positive", "pns": "loss_negative"}
    curves = [
        Curve(f"L{SUBSCRIPT.format(name)}", kappa, [each[key].item() for each in found])
        for name, key in keys.items()
    ]
    best = concentration(torch.tensor(0.4), 64).item()
    return plot(
        curves, "κ", "loss", y_range=(0, 8), mark=(best, "Aₙ(κ) = 0.4"),
        caption="The terms of one face with cosine 0.4 to its proxy and 0.1 to another, n = 64, "
        "μ = 20. The softmax only ever gains by a longer embedding; L<sub>pps</sub> has its "
        "minimum where κ tells the truth.",
    )  # fmt: skip


def turned() -> str:
    """A synthetic face, turned by the renderer."""
    size, degrees = 144, (-45, -25, 0, 25, 45)
    depth, albedo, head = canonical_faces(1, size)
    light = torch.tensor([[0.55, 0.45, 0.3, -0.2]])
    texture = shade(albedo, lambert_shading(normals_from_depth(depth), light))
    view = torch.zeros(len(degrees), 6)
    view[:, 1] = torch.deg2rad(torch.tensor(degrees))
    surface = torch.where(head, depth, torch.nan).expand(len(degrees), -1, -1)
    renderer = DepthMeshRenderer(size, rotation_center=0.94)
    image, mask = renderer.render(texture.expand(len(degrees), -1, -1, -1), surface, view)
    alpha = torch.where(mask[:, None], 255.0, 0.0)
    rgba = torch.cat([(image.clamp(-1, 1) + 1) * 127.5, alpha], 1).byte()
    strip = rgba.permute(2, 0, 3, 1).flatten(1, 2).numpy()
    png = cv2.imencode(".png", cv2.cvtColor(strip, cv2.COLOR_RGBA2BGRA))[1].tobytes()
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return figure(
        f'<img src="{source}" alt="A face turned from side to side">',
        "A synthetic face drawn by DepthMeshRenderer, turned by −45°, −25°, 0°, 25° and 45°.",
    )


FIGURES: dict[str, Callable[[], str]] = {
    draw.__name__: draw for draw in (density, optimum, mean_cosine, margin, terms, turned)
}


def fix(head: ProxyHead) -> None:
    """Give a head two orthogonal proxies, float64 and fixed statistics."""
    head.double().eval().proxies.weight.data = torch.eye(2, 3, dtype=torch.float64)


def face(norm: float, cos: float, other: float = 0.0) -> Tensor:
    """Return an embedding ``(1, 3)`` with these cosines to the two proxies."""
    rest = np.sqrt(1 - cos**2 - other**2)
    return norm * torch.tensor([[cos, other, rest]], dtype=torch.float64)


def boundary(head: ProxyHead, norm: float) -> float:
    """Return the cosine at which a head gives the right proxy the probability ½."""

    @torch.no_grad()
    def excess(cos: float) -> float:
        found = head.terms(face(norm, cos), torch.tensor([0]))
        return sum(value.item() for key, value in found.items() if "loss" in key) - np.log(2)

    return brentq(excess, -0.5, 0.9999, xtol=1e-4)


def plot(
    curves: Sequence[Curve], x_name: str, y_name: str, *, y_range: tuple[float, float],
    caption: str, mark: tuple[float, str] | None = None,
) -> str:  # fmt: skip
    """Draw lines with their names at their ends, as an SVG in the colours of the page.

    Args:
        curves: At most five, over the same x.
        x_name: Name of the x axis.
        y_name: Name of the y axis.
        y_range: Ends of the y axis.
        caption: Text below the figure.
        mark: A vertical line, and its name.
    """
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    x_range = (min(curves[0].x), max(curves[0].x))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (
            HEIGHT - TOP - BOTTOM
        )

    right, bottom = place(x_range[1], y_range[0])
    parts = []
    for value in ticks(*y_range):
        _, y = place(0, value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in ticks(*x_range):
        x, _ = place(value, 0)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">'
            f"{value:g}</text>"
        )
    if mark:
        x, _ = place(mark[0], 0)
        parts.append(
            f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="currentColor" stroke-dasharray="4 4"/>'
            f'<text x="{x + 6:.1f}" y="{TOP + 12}">{mark[1]}</text>'
        )
    ends = []
    for number, curve in enumerate(curves, 1):
        points = [place(float(x), float(y)) for x, y in zip(curve.x, curve.y, strict=True)]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        color = f"var(--line-{number})"
        parts.append(f'<path class="curve" clip-path="url(#inside)" stroke="{color}" d="M{line}"/>')
        if curve.at:
            x, y = place(*curve.at)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
        seen = [point for point in points if TOP <= point[1] <= bottom]
        ends.append((*seen[-1], curve.name, color))
    parts += labels(ends, right)
    parts.append(
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{x_name}</text>'
        f'<text transform="translate(13 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{y_name}</text>"
    )
    clip = f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>'
    return figure(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{y_name} against {x_name}">'
        f'<clipPath id="inside">{clip}</clipPath>{"".join(parts)}</svg>',
        caption,
    )


def labels(ends: Sequence[tuple[float, float, str, str]], right: float) -> list[str]:
    """Names beside the ends of curves, moved up where they would overlap."""
    ends = sorted(ends, key=lambda end: end[1])
    heights = [end[1] for end in ends]
    for i in reversed(range(len(ends) - 1)):
        heights[i] = min(heights[i], heights[i + 1] - LABEL_HEIGHT)
    return [
        f'<text x="{right + 7}" y="{y + 4:.1f}" style="fill: {color}">{name}</text>'
        for y, (_, _, name, color) in zip(heights, ends, strict=True)
    ]


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers in a range."""
    step = 10 ** np.floor(np.log10(high - low))
    step *= next(part for part in (1, 0.5, 0.2, 0.1) if (high - low) / (step * part) >= 4)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [round(step * number, 10) for number in range(int(first), int(last) + 1)]


def figure(content: str, caption: str) -> str:
    """Return a figure of a page on one line, so that Markdown does not change it."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"
