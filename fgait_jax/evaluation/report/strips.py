"""Walks that can be played: a file beside the picture of nearest neighbours with the frames of every walk it shows.

`neighbours-<data>.json` holds {format, kind: "neighbours", title, frames_per_second, height, width, probes}; a probe is
{text, frames, sheet, neighbours: [{text, frames, sheet, distance, right}]}, where `sheet` is a PNG in base64: `frames`
frames side by side, body white.
"""

import base64
import binascii
import json
import pathlib
import struct

import cv2
import numpy as np

from fgait_jax.errors import DataError
from fgait_jax.training import folders

FORMAT, KIND = 1, "neighbours"
FRAMES = 30  # about one gait cycle of ordinary video
PER_SECOND = 20
_LEVELS = 5  # of grey: edges stay soft, and a walk takes a few kilobytes
_PNG = b"\x89PNG\r\n\x1a\n"


def sheet(walk: np.ndarray, *, count: int = FRAMES) -> dict:
  """{frames, sheet} of up to `count` consecutive frames from the middle of a walk uint8 [t, 64, 64, c]."""
  count = min(count, len(walk))
  start = (len(walk) - count) // 2
  frames = walk[start : start + count, :, 10:54].max(axis=-1)
  step = 255 // (_LEVELS - 1)
  image = (np.rint(frames.astype(np.float32) / step) * step).clip(0, 255).astype(np.uint8)
  image = image.transpose(1, 0, 2).reshape(frames.shape[1], -1)
  ok, png = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
  assert ok
  return {"frames": count, "sheet": base64.b64encode(png.tobytes()).decode("ascii")}


def write(path: pathlib.Path, *, probes: list[dict], title: str) -> pathlib.Path:
  """Writes the file; `probes` are those of `neighbours.draw`, each walk with what `sheet` returns."""

  def kept(walk: dict) -> dict:
    return {key: walk[key] for key in ("text", "frames", "sheet", "distance", "right") if key in walk}

  lines = [kept(p["played"] | {"text": p["text"]}) | {"neighbours": [
    kept(n["played"] | {key: n[key] for key in ("text", "distance", "right")}) for n in p["neighbours"]]}
    for p in probes]
  whole = {"format": FORMAT, "kind": KIND, "title": title, "frames_per_second": PER_SECOND, "height": 64, "width": 44,
           "probes": lines}
  folders.write_text(path, json.dumps(whole, ensure_ascii=False) + "\n")
  return path


def check(content: dict, *, origin: str) -> dict:
  """`content` of such a file, every sheet known to be a picture of its frames; raises `DataError` naming `origin`."""
  try:
    if content["format"] != FORMAT:
      raise ValueError(f"format {content['format']!r}, expected {FORMAT}")
    probes = [_checked(probe) | {"neighbours": [
      _checked(n) | {"distance": float(n["distance"]), "right": bool(n["right"])} for n in probe["neighbours"]]}
      for probe in content["probes"]]
    return {"title": str(content["title"]), "per_second": float(content["frames_per_second"]), "probes": probes}
  except (KeyError, TypeError, ValueError, OverflowError, binascii.Error, struct.error) as error:
    raise DataError(f"{origin}: not a file of played walks ({type(error).__name__}: {error})") from error


def _checked(walk: dict) -> dict:
  count, text = int(walk["frames"]), str(walk["sheet"])
  data = base64.b64decode(text, validate=True)
  if not data.startswith(_PNG):
    raise ValueError("a sheet that is not a PNG")
  width, height = struct.unpack(">II", data[16:24])
  if count < 1 or not height or width % count:
    raise ValueError(f"a sheet of {width} x {height} pixels for {count} frames")
  return {"text": str(walk["text"]), "frames": count, "sheet": text, "width": width // count, "height": height}
