"""Visibility of a grid mesh: which triangle is nearest at every pixel (exact, not differentiable).

Triangle ``2n + h`` belongs to the cell whose top-left vertex is ``n = y·S + x``; ``h`` = 0 is
(top-left, bottom-left, top-right), ``h`` = 1 is (top-right, bottom-left, bottom-right).

A triangle whose bounding box holds at most 2×2 pixel centres (nearly all of them, as grid cells are
about one pixel) tests just those four; the others, stretched over silhouettes and steep sides, are
listed and drawn span by span. The z-buffer is a scatter-maximum of 64-bit keys, the float bits of
1/z above the triangle's number, so one pass finds the nearest triangle, independent of order.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

# Distance in pixels by which a triangle reaches over its edges, so that rounding loses no pixel that
# falls on an edge or a vertex; thinner triangles are left to their neighbours.
EDGE_TOLERANCE = 1e-4
# A pixel in that margin ranks this much further away (in 1/z), so that a steep triangle extended
# over its edge does not hide the neighbour that truly covers the pixel.
MARGIN_PENALTY = 1e-3


class _Triangles(NamedTuple):
    """Barycentric coordinates and 1/z as linear functions of the offset from a pixel."""

    first: tuple[Tensor, Tensor, Tensor]  # value at the origin, slope along x, slope along y
    second: tuple[Tensor, Tensor, Tensor]
    inverse_z: tuple[Tensor, Tensor, Tensor]
    slack: Tensor  # how far below 0 a barycentric coordinate may be; -inf rejects the triangle

    def keys(self, dx: Tensor | int, dy: Tensor | int, number: Tensor) -> Tensor:
        """Z-buffer keys at the offset, 0 where the triangle does not cover it."""
        first, second, inverse_z = (
            value + dx * slope_x + dy * slope_y
            for value, slope_x, slope_y in (self.first, self.second, self.inverse_z)
        )
        lowest = torch.minimum(torch.minimum(first, second), 1 - first - second)
        inverse_z = inverse_z - MARGIN_PENALTY * (lowest < 0)
        inside = (lowest >= -self.slack) & (inverse_z > 0)
        return torch.where(inside, (inverse_z.view(torch.int32).long() << 32) | number, 0)


def _triangles(corners: Tensor, x: Tensor, y: Tensor) -> _Triangles:
    """Set up triangles (…, 3 corners, 3 coordinates u v 1/z first) about pixels (x, y)."""
    (ua, va, wa), (ub, vb, wb), (uc, vc, wc) = (corner.unbind(0) for corner in corners.unbind(0))
    ua, ub, uc, va, vb, vc = ua - x, ub - x, uc - x, va - y, vb - y, vc - y
    area = (ub - ua) * (vc - va) - (uc - ua) * (vb - va)
    width = torch.maximum(torch.maximum(ua, ub), uc) - torch.minimum(torch.minimum(ua, ub), uc)
    height = torch.maximum(torch.maximum(va, vb), vc) - torch.minimum(torch.minimum(va, vb), vc)
    tolerance = EDGE_TOLERANCE * torch.maximum(width, height)
    scale = 1 / area
    first = ((ub * vc - uc * vb) * scale, (vb - vc) * scale, (uc - ub) * scale)
    second = ((uc * va - ua * vc) * scale, (vc - va) * scale, (ua - uc) * scale)
    inverse_z = tuple((wa - wc) * p + (wb - wc) * q for p, q in zip(first, second, strict=True))
    slack = torch.where(area.abs() > tolerance, tolerance * scale.abs(), -torch.inf)
    return _Triangles(first, second, (inverse_z[0] + wc, *inverse_z[1:]), slack)


def _first_pixel(lowest: Tensor, size: int) -> Tensor:
    return (lowest - EDGE_TOLERANCE).ceil().clamp(0, size - 1)


def _last_pixel(highest: Tensor, size: int) -> Tensor:
    return (highest + EDGE_TOLERANCE).floor().clamp(-1, size - 1)


def _expand(counts: Tensor, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Number ``counts[i]`` things of every owner i: (owner, 0 … counts[owner]-1), in pieces.

    A piece holds at most ``limit`` things and those of one owner more.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    cuts = torch.arange(0, total + limit, limit, device=counts.device)
    cuts = torch.searchsorted(ends, cuts, right=True).tolist()
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
        owner = torch.repeat_interleave(counts[low:high]) + low
        begins = ends - counts
        yield owner, torch.arange(len(owner), device=counts.device) - (begins[owner] - begins[low])


@torch.library.custom_op("lh2face::draw_stretched", mutates_args=("keys",))
def _draw_stretched(keys: Tensor, points: Tensor, stretched: Tensor) -> None:
    """Draw the triangles marked in (B, 2, S-1, S-1) into z-buffers (B, S+1, S+1).

    One operator to torch.compile, since how many there are is known only at run time.
    """
    size = points.shape[-1]
    batch, half, row, column = stretched.nonzero(as_tuple=True)
    limit = 4 * points.shape[0] * size * size
    vertex = row * size + column
    number = 2 * vertex + half
    base = batch * 3 * size * size
    indices = torch.stack((vertex + half, vertex + size, vertex + 1 + half * size)) + base
    coordinate = torch.arange(3, device=points.device)[:, None] * size * size
    corners = points.flatten()[indices[:, None] + coordinate]
    u, v = corners[:, 0], corners[:, 1]
    left, right = _first_pixel(u.amin(0), size), _last_pixel(u.amax(0), size)
    top, bottom = _first_pixel(v.amin(0), size), _last_pixel(v.amax(0), size)
    triangles = _triangles(corners, left, top)
    slopes = torch.stack((triangles.first[1], triangles.second[1]))
    slopes = torch.cat((slopes, -slopes.sum(0, keepdim=True)))
    for owner, dy in _expand((bottom - top + 1).clamp(min=0).long(), limit):
        values = torch.stack(
            [value[owner] + dy * slope[owner] for value, _, slope in triangles[:2]]
        )
        values = torch.cat((values, 1 - values.sum(0, keepdim=True)))
        slope = slopes[:, owner]
        crossing = (-triangles.slack[owner] - values) / slope
        # A hundredth of a pixel wider than the span: the exact test comes with the keys.
        begin = torch.where(slope > 0, crossing, 0).amax(0) - 0.01
        end = torch.where(slope < 0, crossing, torch.inf).amin(0) + 0.01
        begin = begin.clamp(min=0).ceil()
        end = torch.minimum(end.floor(), (right - left)[owner])
        for span, step in _expand((end - begin + 1).clamp(min=0).long(), limit):
            of = owner[span]
            dx = step + begin[span].long()
            part = _Triangles(
                *(tuple(t[of] for t in group) for group in triangles[:3]), triangles.slack[of]
            )
            pixel = ((top[of].long() + dy[span]) * (size + 1)) + left[of].long() + dx
            pixel = pixel + batch[of] * (size + 1) ** 2
            keys.view(-1).scatter_reduce_(0, pixel, part.keys(dx, dy[span], number[of]), "amax")


@torch.no_grad()
def rasterize(points: Tensor, valid: Tensor) -> Tensor:
    """Nearest triangle at every pixel of a square image.

    Args:
        points: (B, 3, S, S) = (u, v, 1/z): grid vertices in pixels, finite.
        valid: (B, S, S) bool; triangles at other vertices are left out.

    Returns:
        Triangle numbers (B, S, S), int64; -1 where there is none. Both sides of a triangle show.
    """
    points = points.float()
    batch, _, size, _ = points.shape
    tl, tr = points[..., :-1, :-1], points[..., :-1, 1:]
    bl, br = points[..., 1:, :-1], points[..., 1:, 1:]
    halves = ((tl, bl, tr), (tr, bl, br))
    # (3 corners, 3 coordinates, B, 2 halves, S-1, S-1)
    corners = torch.stack([torch.stack(corner, 2) for corner in zip(*halves, strict=True)])
    corners = corners.transpose(1, 2)
    ok = valid[:, 1:, :-1] & valid[:, :-1, 1:]
    ok = torch.stack((ok & valid[:, :-1, :-1], ok & valid[:, 1:, 1:]), 1)

    low, high = corners[:, :2].amin(0), corners[:, :2].amax(0)
    first, last = _first_pixel(low, size), _last_pixel(high, size)
    stretched = ok & ((last - first) > 1).any(0)
    triangles = _triangles(corners, first[0], first[1])
    triangles = triangles._replace(slack=torch.where(ok & ~stretched, triangles.slack, -torch.inf))

    cell = torch.arange(size - 1, device=points.device)
    cell = 2 * (cell[:, None] * size + cell)
    number = torch.stack((cell, cell + 1))
    pixel = (first[1].long() * (size + 1) + first[0].long()).flatten(1)
    keys = torch.zeros(batch, (size + 1) ** 2, dtype=torch.int64, device=points.device)
    for dy in (0, 1):
        for dx in (0, 1):
            key = triangles.keys(dx, dy, number).flatten(1)
            keys.scatter_reduce_(1, pixel + (dy * (size + 1) + dx), key, "amax")
    _draw_stretched(keys, points, stretched)
    keys = keys.view(batch, size + 1, size + 1)[:, :size, :size]
    return torch.where(keys > 0, keys & 0xFFFFFFFF, -1)
