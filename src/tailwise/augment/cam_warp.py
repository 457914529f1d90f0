"""Where the pixels of a transformed image come from, and taking them from there (zhang2021bag)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

FLIP, TRANSLATE, ROTATE, SCALE, ROTATE_SCALE = 1, 2, 3, 4, 5
#: The numbers of the transforms in a plan; 0 is an image as it is.
TRANSFORMS: Mapping[str, int] = MappingProxyType(
    {"flip": FLIP, "translate": TRANSLATE, "rotate": ROTATE, "scale": SCALE, "rotate_scale": ROTATE_SCALE}
)
#: Largest rotation in degrees to either side, and smallest factor of the scaling with the width of its range.
ANGLE, SMALLEST, RANGE = 45.0, 0.8, 0.4


class Images(NamedTuple):
    """Images of any shapes, one after the other in one tensor.

    Attributes:
        flat: The pixels row by row, ``[P,3]``.
        offset: int64 ``[B]``, where each image begins.
        height: int64 ``[B]``.
        width: int64 ``[B]``.
    """

    flat: Tensor
    offset: Tensor
    height: Tensor
    width: Tensor


def origins(
    x: Tensor, y: Tensor, transform: Tensor, amount: Tensor, box: Tensor, size: Tensor, *, official: bool = False
) -> tuple[Tensor, Tensor]:
    """The places in the source from which a transform fetches what it shows at the given places.

    Args:
        x: Columns in pixels, float32 ``[B,S,S]``.
        y: Rows in pixels, the same shape.
        transform: int64 ``[B]``, one of :data:`TRANSFORMS`; 0 changes nothing.
        amount: In [0, 1), float32 ``[B,2]``. Rotation uses the first number, scaling the second, translation both.
        box: Top, left, bottom and right of the foreground in pixels, float32 ``[B,4]``.
        size: Height and width in pixels, float32 ``[B,2]``.
        official: Whole degrees from -45 to 44 and whole percent from 80 to 119.

    Returns:
        Columns and rows ``[B,S,S]``.
    """
    turn, zoom = amount.unbind(1)
    degrees = (turn * 2 * ANGLE).floor() - ANGLE if official else turn * 2 * ANGLE - ANGLE
    factor = SMALLEST + ((zoom * RANGE * 100).floor() / 100 if official else zoom * RANGE)
    turned = (transform == ROTATE) | (transform == ROTATE_SCALE)
    scaled = (transform == SCALE) | (transform == ROTATE_SCALE)
    angle = torch.where(turned, degrees, 0) * (math.pi / 180)
    factor = torch.where(scaled, factor, 1)
    cosine, sine = (angle.cos() / factor)[:, None, None], (angle.sin() / factor)[:, None, None]
    near, far = box[:, :2], box[:, 2:]
    room = size - far + near
    shift = torch.minimum((amount.flip(1) * room).floor(), (room - 1).floor()) - near
    shift = torch.where((transform == TRANSLATE)[:, None], shift, 0)
    down, right = shift[:, 0, None, None], shift[:, 1, None, None]
    centre = (near + far) / 2
    middle_y, middle_x = centre[:, 0, None, None], centre[:, 1, None, None]
    across, along = x - right - middle_x, y - down - middle_y
    from_x, from_y = cosine * across + sine * along + middle_x, cosine * along - sine * across + middle_y
    # Where nothing turns or scales, sums with the centre would only round.
    straight = ~(turned | scaled)[:, None, None]
    mirrored = torch.where((transform == FLIP)[:, None, None], size[:, 1, None, None] - 1 - x, x - right)
    return torch.where(straight, mirrored, from_x), torch.where(straight, y - down, from_y)


def sample(images: Images, x: Tensor, y: Tensor, *, black_outside: bool = False) -> Tensor:
    """Bilinear interpolation between pixels.

    Args:
        images: Where the pixels are.
        x: Columns, float32 ``[B,S,S]``.
        y: Rows, the same shape.
        black_outside: Interpolate with black pixels around the image; off: its edges are held.

    Returns:
        float32 ``[B,S,S,3]``.
    """
    bottom, right = (images.height - 1)[:, None, None], (images.width - 1)[:, None, None]
    if not black_outside:
        x, y = torch.minimum(x.clamp(min=0), right), torch.minimum(y.clamp(min=0), bottom)
    left, top = x.floor(), y.floor()
    value = torch.zeros((*x.shape, 3), dtype=x.dtype, device=x.device)
    for rows, row_share in ((top, 1 - (y - top)), (top + 1, y - top)):
        for columns, column_share in ((left, 1 - (x - left)), (left + 1, x - left)):
            row, column = rows.long(), columns.long()
            inside = (row >= 0) & (row <= bottom) & (column >= 0) & (column <= right)
            row, column = torch.minimum(row.clamp(min=0), bottom), torch.minimum(column.clamp(min=0), right)
            place = images.offset[:, None, None] + row * images.width[:, None, None] + column
            # Of an image that stays as it is, only the rows of its crop may be there.
            place = place.clamp(0, images.flat.shape[0] - 1)
            pixels = images.flat.index_select(0, place.flatten()).view(*place.shape, 3).to(x.dtype)
            # A tap beyond the last row or column has no share unless black pixels lie there.
            value = value + pixels * (row_share * column_share * inside)[..., None]
    return value


def look_up(mask: Tensor, x: Tensor, y: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """A mask at places of its image, by the nearest of its cells.

    Args:
        mask: bool ``[B,M,M]`` over the whole image.
        x: Columns in pixels, float32 ``[B,S,S]``.
        y: Rows in pixels, the same shape.
        size: Height and width of the image in pixels, float32 ``[B,2]``.

    Returns:
        Whether there is foreground, and whether the place is inside the image, bool ``[B,S,S]``.
    """
    cells = mask.shape[1]
    row = ((y + 0.5) * (cells / size[:, 0, None, None])).floor().long()
    column = ((x + 0.5) * (cells / size[:, 1, None, None])).floor().long()
    inside = (row >= 0) & (row < cells) & (column >= 0) & (column < cells)
    place = row.clamp(0, cells - 1) * cells + column.clamp(0, cells - 1)
    found = mask.flatten(1).gather(1, place.flatten(1)).view_as(place)
    return found & inside, inside
