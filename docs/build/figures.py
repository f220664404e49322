"""Draw the figures of the method with the project's own functions, heads and renderer."""

import base64
import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import NamedTuple

import cv2
import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.optimize import brentq
from torch import Tensor

from lh2face.data.synthetic.canonical import canonical_faces
from lh2face.functional.vmf import concentration, log_density_ratio, mean_resultant_length
from lh2face.heads import AdaFaceHead, ArcFaceHead, CosFaceHead, LH2FaceHead, MagFaceHead
from lh2face.heads.proxy_head import ProxyHead
from lh2face.rendering import DepthMeshRenderer, lambert_shading, normals_from_depth, shade

# Of a plot, in points.
WIDTH, HEIGHT, POINTS = 480, 320, 72
# Left, bottom, width and height of the axes, in shares of the plot.
PLACE = (0.12, 0.15, 0.69, 0.81)
# Least distance of two labels at the ends of curves, points.
LABEL_HEIGHT = 16
OFFSET = "offset points"
# Colours that stand for those of the page, which differ in light and dark mode.
TEXT, TICK, GRID = "#000001", "#000002", "#000003"
LINES = [f"#00001{number}" for number in range(1, 6)]
COLORS = {
    TEXT: "var(--md-default-fg-color)",
    TICK: "var(--md-default-fg-color--light)",
    GRID: "var(--md-default-fg-color--lightest)",
    **{color: f"var(--line-{number})" for number, color in enumerate(LINES, 1)},
}
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "lh2face", "font.size": 10, "lines.linewidth": 2.2,
    "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.labelcolor": TICK,
    "ytick.labelcolor": TICK, "axes.grid": True, "axes.grid.axis": "y", "grid.color": GRID,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.major.pad": 6, "axes.spines.left": False,
    "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
}  # fmt: skip


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
        Curve(name, kappa, [each[key].item() for each in found]) for name, key in keys.items()
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
    with rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH / POINTS, HEIGHT / POINTS))
        axes = drawn.add_axes(PLACE)
        axes.set(xlim=(min(curves[0].x), max(curves[0].x)), ylim=y_range)
        axes.set(xlabel=x_name, ylabel=y_name)
        if mark:
            axes.axvline(mark[0], color=TEXT, linestyle="--", linewidth=1)
            axes.annotate(mark[1], (mark[0], 1), (6, -12), ("data", "axes fraction"), OFFSET)
        lowest = -np.inf
        # From the lowest to the highest end, so that a name can be moved above the one before.
        for y, curve, color in sorted(
            (end(curve, y_range), curve, color) for curve, color in zip(curves, LINES, strict=False)
        ):
            axes.plot(curve.x, curve.y, color=color)
            if curve.at:
                axes.plot(*curve.at, "o", color=color)
            point = axes.transData.transform((max(curve.x), y))[1] * POINTS / drawn.dpi
            lowest = max(point, lowest + LABEL_HEIGHT)
            axes.annotate(
                curve.name, (1, y), (7, lowest - point), ("axes fraction", "data"), OFFSET,
                color=color, va="center",
            )  # fmt: skip
        svg = StringIO()
        drawn.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    text = svg.getvalue().partition("<svg")[2].replace("\n", " ")
    for color, of_page in COLORS.items():
        text = text.replace(color, of_page)
    # Several figures are on one page.
    text = re.sub(r' id="[a-z0-9.]+_[0-9]+"', "", text)
    return figure(f'<svg role="img" aria-label="{y_name} against {x_name}"{text}', caption)


def end(curve: Curve, y_range: tuple[float, float]) -> float:
    """Return the height of a curve at its last point inside the figure."""
    low, high = y_range
    return [float(y) for y in curve.y if low <= y <= high][-1]


def figure(content: str, caption: str) -> str:
    """Return a figure of a page on one line, so that Markdown does not change it."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"
