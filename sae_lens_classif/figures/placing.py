"""Places for marks and names on a map so that they do not cover each other."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_STEPS = 400


def spread(
    centres: Points, radii: Points, fixed_centres: Points, fixed_radii: Points, low: Points, high: Points
) -> Points:
    """Push discs apart until none covers another, or 400 steps are over.

    Args:
        centres: float64 (n, 2), where the discs should be.
        radii: float64 (n,).
        fixed_centres: float64 (m, 2), discs that stay where they are.
        fixed_radii: float64 (m,).
        low: float64 (2,), lower left corner that the discs stay within.
        high: float64 (2,), upper right corner.

    Returns:
        float64 (n, 2), where the discs are now.
    """
    centres = centres.copy()
    n = len(centres)
    reach = radii[:, None] + np.concatenate([radii, fixed_radii])[None]
    share = np.concatenate([np.full(n, 0.5), np.ones(len(fixed_centres))])
    # Discs in one place go different ways, the same ones every time.
    angle = 2.4 * np.arange(n)
    ways = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for _ in range(_STEPS):
        away = centres[:, None] - np.concatenate([centres, fixed_centres])[None]
        distance = np.linalg.norm(away, axis=2)
        overlap = np.clip(reach - distance, 0, None)
        overlap[np.arange(n), np.arange(n)] = 0
        if overlap.max(initial=0) < 0.1:
            break
        towards = np.where(distance[..., None] > 1e-6, away / np.maximum(distance, 1e-6)[..., None], ways[:, None])
        centres = centres + (towards * (overlap * share)[..., None]).sum(axis=1) * 0.5
        centres = np.clip(centres, low + radii[:, None], np.maximum(high - radii[:, None], low + radii[:, None]))
    return centres


def free_box(anchor: Points, size: Points, reach: float, taken: Points, low: Points, high: Points) -> Points:
    """Find the place around a mark where a name covers the least.

    Args:
        anchor: float64 (2,), centre of the mark.
        size: float64 (2,), width and height of the name.
        reach: Distance from the centre at which names begin.
        taken: float64 (m, 4), left, bottom, right and top of what is there already.
        low: float64 (2,), lower left corner of the map.
        high: float64 (2,), upper right corner.

    Returns:
        float64 (4,): left, bottom, right and top of the name.
    """
    # Above, below, beside, across corners, then between; near before far.
    sides = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0.5, 1), (-0.5, 1), (0.5, -1)]
    ways = np.array(sides, dtype=np.float64)
    steps = np.array([1.0, 1.6, 2.4, 3.4])
    middles = (anchor + ways[None] * (reach * steps[:, None, None] + size / 2)).reshape(-1, 2)
    middles = np.clip(middles, low + size / 2, np.maximum(high - size / 2, low + size / 2))
    boxes = np.concatenate([middles - size / 2, middles + size / 2], axis=1)
    covered = _shared_area(boxes, taken).sum(axis=1)
    return np.asarray(boxes[int(covered.argmin())])


def _shared_area(boxes: Points, others: Points) -> Points:
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    return np.asarray(np.clip(sides, 0, None).prod(axis=2))
