"""Reads mask images as frames: checks that an image is a mask and not inverted, and prepares a frame from it.

Public data sets are prepared bit for bit as their official scripts do. Own masks may come from anywhere: their pixels
from 128 upwards are the body, and the frames that had values other than 0 and 255 are counted.
"""

import dataclasses
import functools
import io
import pathlib
import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from data_prep.sources import limits
from data_prep.sources.base import Dropped, Reading
from fgait_jax.data.normalise import SIZE, FrameRefused, normalise_frame
from fgait_jax.data.schema import WIDTHS

Image.MAX_IMAGE_PIXELS = None  # Pillow only reads headers here, and the limit is ours
LIGHT = 128  # a mask shows its body at least this bright, and its background darker
PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG", "BMP")  # OpenCV would decode a dozen more, whatever the file's name
MADE_BINARY = "values other than 0 and 255 made 0 (below 128) or 255"

# How Windows, macOS and KDE name a copy: "000 - Copy.png", "000 copy 2.png", "000 (1).png".
_COPY = re.compile(r"(?P<original>.+?)(?: - [^\d\W]+(?: \(\d+\))?| copy(?: \d+)?| \(\d+\))(?P<ending>\.\w+)", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
  """How the masks of a data set become frames.

  `frame` makes a frame from a mask uint8 [height, width]. `own` marks masks of unknown origin, which are made binary
  first unless they are frames already. Walks of fewer than `least` masks are dropped, as the official script does.
  """

  frame: Callable[[np.ndarray], np.ndarray]
  own: bool = False
  least: int = 1


def _cut(mask: np.ndarray) -> np.ndarray:
  if not mask.any():
    raise FrameRefused("all black")
  return mask


def _resized(mask: np.ndarray) -> np.ndarray:
  return cv2.resize(_cut(mask), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _resized_unless_high(mask: np.ndarray) -> np.ndarray:
  return _cut(mask) if mask.shape[0] == SIZE else cv2.resize(_cut(mask), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def _own(mask: np.ndarray) -> np.ndarray:
  return _cut(mask) if mask.shape == (SIZE, min(WIDTHS)) else normalise_frame(mask)


PREPARATIONS: Mapping[str, Preparation] = {
  "official": Preparation(frame=normalise_frame),
  "area": Preparation(frame=functools.partial(normalise_frame, min_sum=-1, interpolation=cv2.INTER_AREA)),  # CCPG
  "resize": Preparation(frame=_resized),  # SUSTech1K, HID: distributed already cropped
  "casia_e": Preparation(frame=_resized_unless_high, least=6),  # distributed already cropped
  "cut": Preparation(frame=_cut),  # GREW: already 64 rows of 64 or 44 columns
  "own": Preparation(frame=_own, own=True),  # any mask; one of 64 rows and 44 columns is cut already
}


def open_image(content: bytes) -> np.ndarray:
  """An image file, uint8 [height, width(, channel)]; `FrameRefused` where it is unreadable, of another bit depth, or of
  more pixels than the limit."""
  check_pixels(*_size(content))
  image = _decoded(content, cv2.IMREAD_UNCHANGED)
  if image.dtype != np.uint8:
    raise FrameRefused(f"{8 * image.itemsize}-bit image")
  return image


def check_pixels(width: int, height: int) -> None:
  """Raises `FrameRefused` for an image of more pixels than the limit."""
  if width * height > limits.current().pixels:
    raise FrameRefused(f"more than {limits.current().pixels:,} pixels, the --limit-pixels")


def _size(content: bytes) -> tuple[int, int]:
  """Width and height according to the image's header; `FrameRefused` where it is of none of FORMATS."""
  if content.startswith(PNG) and len(content) >= 24:  # at a tenth of Pillow's time
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
  try:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
      return image.size
  except MemoryError:
    raise
  except Exception as error:  # a damaged header can fail in any way
    raise FrameRefused("unreadable image") from error


def _decoded(content: bytes, mode: int) -> np.ndarray:
  try:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
  except cv2.error as error:
    raise FrameRefused("unreadable image") from error
  if image is None:
    raise FrameRefused("unreadable image")
  return image


def decode(content: bytes, *, own: bool = False) -> np.ndarray:
  """An image file's mask, uint8 [height, width]. Raises `FrameRefused` for an image that is no mask.

  Colours become grey as in the official scripts. In `own` masks a colour, or the palette of a label image, may stand
  for the body, so the strongest channel is taken.
  """
  image = open_image(content)
  if image.ndim == 3 and image.shape[2] in (2, 4) and np.ptp(image[..., -1]):
    raise FrameRefused("picture with transparency, not a mask")
  if image.ndim == 3 and own:
    image = image[..., :3].max(axis=2) if image.shape[2] >= 3 else image[..., 0]
  elif image.ndim == 3:
    image = _decoded(content, cv2.IMREAD_GRAYSCALE)
  check_mask(image)
  return image


def check_mask(image: np.ndarray) -> None:
  """Raises `FrameRefused` for an image uint8 [height, width] that is no mask."""
  if image.max() == 1:
    raise FrameRefused("values of 0 and 1 in place of 0 and 255: multiply by 255")
  if 0 < image.max() < LIGHT:
    raise FrameRefused("dark picture, not a mask of 0 and 255")
  if image.min() >= LIGHT:
    raise FrameRefused("picture without background, not a mask of 0 and 255")
  if np.mean((image >= 32) & (image < 224)) > 0.5:
    raise FrameRefused("grey picture, not a mask of 0 and 255")


def made_binary(mask: np.ndarray) -> np.ndarray:
  """`mask` with the values 0 and 255 only. A mask that is scaled already keeps its grey edges: one of 64 x 44 pixels or
  of 64 x 64 with a body from first to last row."""
  light = mask >= LIGHT
  scaled = mask.shape == (SIZE, SIZE) and light[0].any() and light[-1].any()
  if scaled or mask.shape == (SIZE, min(WIDTHS)):
    return mask
  return light.astype(np.uint8) * 255


def looks_inverted(masks: np.ndarray) -> np.ndarray:
  """Whether each mask [..., height, width] seems to be black on white, bool [...]: more than three quarters of its
  border is white, and a larger share of the border than of the whole mask."""
  light = masks >= LIGHT
  sides = light[..., 0, :], light[..., -1, :], light[..., 1:-1, 0], light[..., 1:-1, -1]
  border = np.concatenate(sides, axis=-1).mean(axis=-1)
  return (border > 0.75) & (border > light.mean(axis=(-2, -1)))


def check_background(inverted: Sequence[bool], where: str) -> None:
  """Raises `Dropped` where most frames of a walk look `inverted`.

  A tightly cropped body with a gap between its legs may look inverted too, but not in most frames of a walk.
  """
  if 2 * np.sum(inverted) > len(inverted):
    count = f"in {np.sum(inverted)} of {len(inverted)} frames"
    raise Dropped("background looks white: invert the masks", f"{where}, {count}; 0 is background, 255 the body")


def read_walk(readers: Sequence[Callable[[], bytes]], names: Sequence[str], *, frames: str, where: str) -> Reading:
  """The usable frames of a walk, prepared as PREPARATIONS[frames], uint8 [time, 64, 64 or 44].

  `readers` give the bytes of the files `names`. Raises `Dropped`, naming `where`, for too few or no usable frames,
  inverted masks and frames of different sizes.
  """
  preparation = PREPARATIONS[frames]
  if len(names) < preparation.least:
    raise Dropped(f"fewer than {preparation.least} frames", f"{where}: {len(names)}; its official script leaves it out")
  files = dict(zip(names, readers, strict=True))
  kept, numbers, inverted, refused, altered = [], [], [], defaultdict(list), defaultdict(dict)
  number = -1  # in the recording
  for name, read in files.items():
    try:
      content = read()
      if (original := original_of(name, files)) and files[original]() == content:
        raise FrameRefused("copy of another frame")
      number += 1
      mask = decode(content, own=preparation.own)
      binary = made_binary(mask) if preparation.own else mask
      kept.append(preparation.frame(binary))
      numbers.append(number)
      inverted.append(looks_inverted(mask))
      if (binary != mask).any():
        altered[MADE_BINARY][len(kept) - 1] = name.rsplit("/", 1)[-1]
    except FrameRefused as reason:
      refused[str(reason)].append(name.rsplit("/", 1)[-1])
  if not kept:
    reason = max(refused, key=lambda reason: len(refused[reason]))
    example = refused[reason][0]
    raise Dropped("no usable frame", f"{where}: all {len(names)} frames refused, mostly: {reason} (as {example})")
  check_background(inverted, where)
  if len({frame.shape for frame in kept}) > 1:
    raise Dropped("frames of different sizes", f"{where}: {sorted({frame.shape for frame in kept})}")
  return Reading(np.stack(kept), dict(refused), dict(altered), numbers)


def original_of(name: str, files: Container[str]) -> str | None:
  """The file of which `name` is a copy according to its name; None where there is none."""
  match = _COPY.fullmatch(name)
  return f"{match['original']}{match['ending']}" if match and f"{match['original']}{match['ending']}" in files else None


def is_frame(name: str) -> bool:
  """Whether an image's name is that of a frame; some data sets have energy images (gei.png) beside the frames."""
  return not re.fullmatch(r"(.*[-_ ])?gei", pathlib.PurePosixPath(name).stem, re.I)
