"""Visibility of a grid mesh: which triangle is nearest at every pixel (exact, not differentiable).

Triangle ``2n + h`` belongs to the cell whose top-left vertex is ``n = y·S + x``; ``h`` = 0 is
(top-left, bottom-left, top-right), ``h`` = 1 is (top-right, bottom-left, bottom-right).

Nearly all triangles have a bounding box with at most 2×2 pixel centres, because a grid cell is
about one pixel; for these, only those four pixels are tested. The others, which are stretched over
silhouettes and steep sides, are drawn span by span. The z-buffer is a scatter-maximum of 64-bit
keys: the float bits of 1/z, followed by the number of the triangle. So one pass finds the nearest
triangle, in any order.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

# Triangles are extended by this distance in px, so that rounding does not leave pixels on an edge
# or a vertex empty. Triangles that are thinner are not drawn; their neighbours cover the pixels.
EDGE_TOLERANCE = 1e-4
# In this extended part, 1/z is reduced by this much, which means further away. So the extended part
# of a steep triangle does not hide the neighbour that really covers the pixel.
MARGIN_PENALTY = 1e-3


Corner = Sequence[Tensor]  # u, v, 1/z of one corner of many triangles


Linear = tuple[Tensor, Tensor, Tensor]  # value at the origin, slope along x, slope along y


class _Triangles(NamedTuple):
    """Barycentric coordinates and 1/z as linear functions of the offset from a pixel."""

    first: Linear
    second: Linear
    inverse_z: Linear
    slack: Tensor  # how far below 0 a barycentric coordinate may be; -inf rejects the triangle

    def keys(self, dx: int, dy: int, number: Tensor) -> Tensor:
        """Return the z-buffer keys at an offset; 0 where the triangle does not cover it."""
        first, second, inverse_z = (
            value + dx * slope_x + dy * slope_y
            for value, slope_x, slope_y in (self.first, self.second, self.inverse_z)
        )
        lowest = _least(first, second, 1 - first - second)
        return _keys(lowest, inverse_z, self.slack, number)


def _keys(lowest: Tensor, inverse_z: Tensor, slack: Tensor, number: Tensor) -> Tensor:
    inverse_z = inverse_z - MARGIN_PENALTY * (lowest < 0)
    covered = (lowest >= -slack) & (inverse_z > 0)
    return torch.where(covered, (inverse_z.view(torch.int32).long() << 32) | number, 0)


def _least(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.minimum(torch.minimum(a, b), c)


def _greatest(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.maximum(a, b), c)


def _triangles(a: Corner, b: Corner, c: Corner, x: Tensor, y: Tensor) -> _Triangles:
    """Set up triangles with the corners a, b, c = (u, v, 1/z), relative to the pixels (x, y)."""
    (ua, va, wa), (ub, vb, wb), (uc, vc, wc) = a, b, c
    ua, ub, uc, va, vb, vc = ua - x, ub - x, uc - x, va - y, vb - y, vc - y
    area = (ub - ua) * (vc - va) - (uc - ua) * (vb - va)
    width, height = (_greatest(*t) - _least(*t) for t in ((ua, ub, uc), (va, vb, vc)))
    tolerance = EDGE_TOLERANCE * torch.maximum(width, height)
    scale = 1 / area
    first = ((ub * vc - uc * vb) * scale, (vb - vc) * scale, (uc - ub) * scale)
    second = ((uc * va - ua * vc) * scale, (vc - va) * scale, (ua - uc) * scale)
    origin, slope_x, slope_y = (
        (wa - wc) * p + (wb - wc) * q for p, q in zip(first, second, strict=True)
    )
    slack = torch.where(area.abs() > tolerance, tolerance * scale.abs(), -torch.inf)
    return _Triangles(first, second, (origin + wc, slope_x, slope_y), slack)


def _bounds(corners: Sequence[Corner], size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first and last pixel along u and along v that triangles can cover, as floats."""
    u, v = ([corner[axis] for corner in corners] for axis in (0, 1))
    first_u, first_v = (
        (_least(*axis) - EDGE_TOLERANCE).ceil().clamp(0, size - 1) for axis in (u, v)
    )
    last_u, last_v = (
        (_greatest(*axis) + EDGE_TOLERANCE).floor().clamp(-1, size - 1) for axis in (u, v)
    )
    return first_u, last_u, first_v, last_v


def _expand(counts: Tensor, limit: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Enumerate the items of all owners, where owner i has ``counts[i]`` items.

    Yields pieces of at most ``limit`` items, plus the items of one more owner. A piece has the
    owner of each item, and the item's index 0 … counts[owner] − 1.
    """
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    items = torch.arange(0, total + limit, limit, device=counts.device)
    cuts = torch.searchsorted(ends, items, right=True).tolist()
    for low, high in pairwise(cuts):
        owner = torch.repeat_interleave(counts[low:high]) + low
        begins = ends - counts
        yield owner, torch.arange(len(owner), device=counts.device) - (begins[owner] - begins[low])


@torch.library.custom_op("lh2face::draw_stretched", mutates_args=("keys",))
def _draw_stretched(keys: Tensor, points: Tensor, stretched: Tensor) -> None:
    """Draw the triangles marked in ``stretched`` (B, 2, S-1, S-1) into z-buffers (B, S+1, S+1).

    This is a custom operator, because torch.compile cannot trace a number of triangles that is
    known only at run time.
    """
    size, stride = points.shape[-1], points.shape[-1] + 1
    limit = 4 * points.shape[0] * size * size
    batch, half, row, column = stretched.nonzero(as_tuple=True)
    if len(batch) == 0:
        return
    vertex = row * size + column
    vertices = torch.stack((vertex + half, vertex + size, vertex + 1 + half * size))
    # (3 axes, 3 corners, N); index_select takes half the time of indexing.
    corners = (
        points.transpose(0, 1)
        .reshape(3, -1)
        .index_select(1, (vertices + batch * size * size).view(-1))
    )
    a, b, c = (corner.unbind(0) for corner in corners.view(3, 3, -1).transpose(0, 1))
    left, right, top, bottom = _bounds((a, b, c), size)
    triangles = _triangles(a, b, c, left, top)
    third = [-first - second for first, second in zip(*triangles[:2], strict=True)]
    third[0] = 1 + third[0]
    linear = torch.stack((*triangles.first, *triangles.second, *third, *triangles.inverse_z))
    origin = (batch * stride + top.long()) * stride + left.long()
    width = right - left
    number = 2 * vertex + half
    for owner, dy in _expand((bottom - top + 1).clamp(min=0).long(), limit):
        value, slope, slope_y = linear.index_select(1, owner).view(4, 3, -1).unbind(1)
        value = value + dy * slope_y
        slack, number_of_row = triangles.slack[owner], number[owner]
        crossing = (-slack - value[:3]) / slope[:3]
        # The span is widened by 0.01 px, because _keys tests each pixel exactly.
        begin = torch.where(slope[:3] > 0, crossing, 0).amax(0) - 0.01
        end = torch.where(slope[:3] < 0, crossing, torch.inf).amin(0) + 0.01
        begin = begin.ceil().clamp(0, size)
        end = torch.minimum(end.floor(), width[owner])
        pixel_of_row = origin[owner] + dy * stride + begin.long()
        value = value + begin * slope
        for span, dx in _expand((end - begin + 1).clamp(min=0).long(), limit):
            here = value.index_select(1, span) + dx * slope.index_select(1, span)
            key = _keys(here[:3].amin(0), here[3], slack[span], number_of_row[span])
            keys.view(-1).scatter_reduce_(0, pixel_of_row[span] + dx, key, "amax")


@torch.no_grad()
def rasterize(points: Tensor, valid: Tensor) -> Tensor:
    """Find the nearest triangle at every pixel of a square image.

    Args:
        points: (B, 3, S, S) = (u, v, 1/z): grid vertices in pixels, finite.
        valid: (B, S, S) bool; triangles at other vertices are left out.

    Returns:
        Triangle numbers (B, S, S), int64; -1 where there is none. Both sides of a triangle are
        visible.
    """
    points = points.float()
    batch, _, size, _ = points.shape
    tl, tr = points[..., :-1, :-1], points[..., :-1, 1:]
    bl, br = points[..., 1:, :-1], points[..., 1:, 1:]
    shared = valid[:, 1:, :-1] & valid[:, :-1, 1:]
    cell = torch.arange(size - 1, device=points.device)
    number = 2 * (cell[:, None] * size + cell)
    keys = torch.zeros(batch, (size + 1) ** 2, dtype=torch.int64, device=points.device)
    stretched = []
    for half, (corners, ok) in enumerate(
        (((tl, bl, tr), shared & valid[:, :-1, :-1]), ((tr, bl, br), shared & valid[:, 1:, 1:]))
    ):
        a, b, c = (corner.unbind(1) for corner in corners)
        left, right, top, bottom = _bounds((a, b, c), size)
        triangles = _triangles(a, b, c, left, top)
        large = torch.maximum(right - left, bottom - top) > 1
        stretched.append(ok & large & (triangles.slack >= 0))
        triangles = triangles._replace(slack=torch.where(ok & ~large, triangles.slack, -torch.inf))
        pixel = top.long() * (size + 1) + left.long()
        for dy in (0, 1):
            for dx in (0, 1):
                keys.scatter_reduce_(
                    1,
                    (pixel + (dy * (size + 1) + dx)).flatten(1),
                    triangles.keys(dx, dy, number + half).flatten(1),
                    "amax",
                )
    _draw_stretched(keys, points, torch.stack(stretched, 1))
    keys = keys.view(batch, size + 1, size + 1)[:, :size, :size]
    return torch.where(keys > 0, keys & 0xFFFFFFFF, -1)
