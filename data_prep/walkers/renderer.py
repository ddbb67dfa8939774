"""Renders masks of solids: NumPy computes the outlines of all frames at once, OpenCV fills them frame by frame.

Masks are binary at the camera's resolution, about twice that of normalised frames. So they get grey edges as real ones
do: when the body is scaled to 64 rows.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from data_prep.walkers.body import Capsules, Solids, Stack
from data_prep.walkers.camera import Camera

ARC = 6  # outline points of each end of a capsule
SHIFT = 4  # fractional bits of OpenCV's fixed-point pixels
MARGIN = 6  # pixels around the body


def outlines(solids: Solids, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Pixels of capsules [solid, time, 2 ARC, 2] and each stack [time, points, 2]; corners [box, time, 8, 2]."""
  capsules = _capsule_outlines(solids.capsules, camera)
  stacks = [_stack_outlines(stack, camera) for stack in solids.stacks]
  boxes, _ = camera.project(solids.boxes)
  return capsules, stacks, boxes


def _capsule_outlines(capsules: Capsules, camera: Camera) -> np.ndarray:
  """Hull of two discs: arcs between the points where their common tangents touch."""
  start, start_scale = camera.project(capsules.starts)
  end, end_scale = camera.project(capsules.ends)
  start_radius = capsules.start_radii[:, None] * start_scale
  end_radius = capsules.end_radii[:, None] * end_scale
  way = end - start
  length = np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-6)
  towards = np.arctan2(way[..., 1], way[..., 0])
  # A disc inside the other has no tangent: clipping leaves the larger one nearly whole.
  tangent = np.arccos(np.clip((start_radius - end_radius) / length, -0.999, 0.999))
  step = np.linspace(0, 1, ARC)
  back = towards[..., None] + tangent[..., None] + (2 * np.pi - 2 * tangent[..., None]) * step
  front = towards[..., None] - tangent[..., None] + 2 * tangent[..., None] * step
  return np.concatenate([_arc(start, start_radius, back), _arc(end, end_radius, front)], -2)


def _arc(centre: np.ndarray, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
  return centre[..., None, :] + radius[..., None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _stack_outlines(stack: Stack, camera: Camera) -> np.ndarray:
  """Left edge upwards, right edge downwards, [time, 2 sections, 2]; an ellipse shows its extent across the view."""
  middle, scale = camera.project(stack.centres)
  right = camera.axes[0]
  across = np.arctan2(right[1], right[0]) - stack.turn
  extent = scale * np.hypot(stack.half_depth * np.cos(across), stack.half_width * np.sin(across))
  offset = np.stack([extent, np.zeros_like(extent)], -1)
  edges = np.concatenate([middle - offset, (middle + offset)[::-1]])
  return edges.transpose(1, 0, 2)


def render(solids: Solids, camera: Camera, *, lost: np.ndarray) -> Iterator[np.ndarray]:
  """Masks uint8 [height, width] of 0 or 255, as large as each frame needs, without the solids `lost` [solid, time]."""
  capsules, stacks, boxes = outlines(solids, camera)
  frames = capsules.shape[1]
  everything = np.concatenate(
    [np.moveaxis(a, 1, 0).reshape(frames, -1, 2) for a in (capsules, boxes)] + list(stacks), axis=1
  )
  everything = np.ascontiguousarray(everything.swapaxes(1, 2))  # NumPy is slow over an axis that is not the last
  low = np.floor(everything.min(-1)) - MARGIN  # [time, 2]
  sizes = (np.ceil(everything.max(-1)) + MARGIN - low).astype(int)
  capsules, *stacks, boxes = (_fixed(points - low[:, None]) for points in (capsules, *stacks, boxes))
  for t in range(frames):
    mask = np.zeros((sizes[t, 1], sizes[t, 0]), np.uint8)
    for stack in stacks:
      cv2.fillPoly(mask, [stack[t]], 255, shift=SHIFT)
    for solid, outline in enumerate(capsules):
      if not lost[solid, t]:
        cv2.fillConvexPoly(mask, outline[t], 255, shift=SHIFT)
    for box in boxes:
      cv2.fillConvexPoly(mask, cv2.convexHull(box[t]), 255, shift=SHIFT)
    yield mask


def _fixed(points: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(np.rint(points * 2**SHIFT), np.int32)
