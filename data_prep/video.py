"""Turns your own videos, one walker each, into masks from which the data set `own` is built.

  python -m data_prep.video walk.mp4 --out masks
  python -m data_prep.video videos --out masks --segmenter background
  python -m data_prep.build own --raw masks --out built --name ward_3

A folder is searched for <id>/<type>/<view>.mp4 (or .avi, .mov, .mkv); a video that lies less deep has the type or view
"00". Of each video the longest stretch in which a body is seen whole is kept. Existing masks are kept too, so the same
command continues after a stop. Beside the masks, video.json holds the video's name, number of frames and frame rate;
the build reads the rate to bring fast videos to the usual one.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator

import cv2
import numpy as np
from rich.progress import track

from data_prep import arguments, segmenters
from data_prep.sources import limits
from data_prep.sources.rates import FACTS
from data_prep.sources.trees import files_below
from fgait_jax.errors import DataError, FgaitError

ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
LEAST_FRAMES = 10  # of a stretch; a fraction of a step is no walk
_GAP = 3  # frames in a row that may be missing inside a stretch
_HOLE = 250  # undecodable frames in a row; after more the video is taken to have ended


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
  """The masks of one video in `folder`: `kept` of its `frames` decodable frames. `lost` frames, which the header
  announces, cannot be decoded; `rate` is in frames a second, 0 if unknown."""

  folder: pathlib.Path
  frames: int
  lost: int
  kept: int
  rate: float


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status, 1 where any video gave nothing."""
  parser = argparse.ArgumentParser(prog="python -m data_prep.video", description=__doc__.split("\n\n")[0])
  parser.add_argument("videos", type=arguments.path("videos"), help="a video or a folder of them")
  parser.add_argument(
    "--out", type=arguments.path("--out"), required=True, help="folder of masks, <id>/<type>/<view>/*.png"
  )
  parser.add_argument(
    "--segmenter", choices=("pose", "background"), default="pose",
    help="pose: MediaPipe, any camera; background: a camera that stands still (default: %(default)s)",
  )  # fmt: skip
  failed = 0
  try:
    args = parser.parse_args(argv)
    found = find(args.videos)
    for file, folder in track(found, description="videos", disable=not sys.stdout.isatty()):
      if (args.out / folder).is_dir():
        print(f"{args.out / folder}: exists already and is kept; remove it to make the masks of {file} again")
        continue
      try:
        written = write_masks(file, args.out / folder, segmenter=args.segmenter)
      except DataError as error:
        if len(found) == 1 or "MediaPipe" in str(error):
          raise
        failed += 1
        print(f"error: {error}", file=sys.stderr)
        continue
      if written.lost:
        announced = written.frames + written.lost
        print(f"warning: {file}: {written.lost} of the {announced} frames that its header announces cannot be decoded;"
              " it is damaged or cut short", file=sys.stderr)  # fmt: skip
      rate = f"{written.rate:g} frames a second" if written.rate else "unknown frame rate"
      print(f"{written.folder}: {written.kept} of {written.frames} frames of {file}, {rate}")
  except (FgaitError, OSError) as error:  # the text of both names the file
    print(f"error: {error}", file=sys.stderr)
    return 1
  if failed:
    print(f"error: {failed} of {len(found)} videos gave no walk", file=sys.stderr)
  return int(failed > 0)


def find(videos: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
  """Videos in order, each with its <id>/<type>/<view>; raises `DataError` for no videos, or two for the same folder."""
  if videos.is_file():
    return [(videos, pathlib.Path(videos.stem, "00", "00"))]
  if not videos.is_dir():
    raise DataError(f"{videos}: no such video or folder")
  found: dict[pathlib.Path, pathlib.Path] = {}
  for file in (path for path in files_below(videos) if path.suffix.lower() in ENDINGS):
    parts = file.relative_to(videos).with_suffix("").parts
    if len(parts) > 3:
      raise DataError(f"{file} lies too deep: expected <id>/<type>/<view>{file.suffix} in {videos}")
    folder = pathlib.Path(*parts, *["00"] * (3 - len(parts)))
    if folder in found:
      raise DataError(f"{file} and {found[folder]} would both become {folder}; rename one")
    found[folder] = file
  if not found:
    raise DataError(f"{videos}: no videos ({', '.join(ENDINGS)}) found")
  return [(file, folder) for folder, file in found.items()]


def write_masks(file: pathlib.Path, folder: pathlib.Path, *, segmenter: str) -> Written:
  """Writes the walker of `file` as 0/255 masks <frame>.png into `folder`, whole or not at all.

  Raises `DataError` naming `file` where it cannot be read, shows no person, or `folder` holds something already.
  """
  if folder.exists():
    raise DataError(f"{folder} exists already; remove it to make the masks of {file} again")
  count, (announced, rate) = sum(1 for _ in read(file)), _header(file)
  if not count:
    raise DataError(f"{file}: not a readable video: it has no frame that can be decoded")
  if segmenter == "pose":
    masks = segmenters.pose_masks(read(file))
  else:
    masks = segmenters.background_masks(read(file), segmenters.median_picture(read(file), count))
  unfinished = folder.with_name(f".{folder.name}.unfinished")
  shutil.rmtree(unfinished, ignore_errors=True)
  unfinished.mkdir(parents=True)
  try:
    boxes = {}
    for number, body in enumerate(segmenters.track_body(masks)):
      edges = () if body is None else (body[:, 0], body[:, -1], body[-1])
      if edges and not any(edge.any() for edge in edges):  # there a body is cut off; a head may touch the top
        boxes[number] = np.ptp(np.flatnonzero(body.any(1))) + 1, np.ptp(np.flatnonzero(body.any(0))) + 1
        (unfinished / f"{number:06d}.png").write_bytes(cv2.imencode(".png", body.astype(np.uint8) * 255)[1].tobytes())
    kept = _longest_stretch(sorted(boxes))
    _check_walker(file, count, [boxes[number] for number in kept])
    for number in boxes.keys() - set(kept):
      (unfinished / f"{number:06d}.png").unlink()
    facts = {"video": file.name, "decoded_frames": count, "lost_frames": max(0, announced - count), "frame_rate": rate}
    (unfinished / FACTS).write_text(json.dumps(facts) + "\n", encoding="utf-8")
    os.replace(unfinished, folder)
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)
  return Written(folder=folder, frames=count, lost=facts["lost_frames"], kept=len(kept), rate=rate)


def read(file: pathlib.Path) -> Iterator[np.ndarray]:
  """Frames uint8 [height, width, 3], in BGR order; single frames that cannot be decoded are skipped.

  Raises `DataError` where there is no such file.
  """
  if not file.is_file():
    raise DataError(f"{file}: no such video")
  announced, _ = _header(file)
  video, place, failed = cv2.VideoCapture(os.fspath(file)), 0, 0
  try:
    while failed <= _HOLE:
      good, picture = video.read()
      if good:
        yield picture
      elif place >= announced:  # the end, or the header does not say how many frames there are
        return
      place, failed = place + 1, 0 if good else failed + 1
  finally:
    video.release()


def _header(file: pathlib.Path) -> tuple[int, float]:
  """Number of frames, and frames a second, according to the file's header; 0 where it does not say."""
  video = cv2.VideoCapture(os.fspath(file))
  count, rate = (video.get(what) for what in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
  width, height = (int(video.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
  video.release()
  if width * height > limits.current().pixels:
    raise DataError(f"{file}: frames of {width} x {height} pixels, at most {limits.current().pixels:,} are read")
  return max(0, int(count)), round(rate, 2) if 0 < rate < 1000 else 0.0


def _longest_stretch(numbers: list[int]) -> list[int]:
  if not numbers:
    return []
  breaks = 1 + np.flatnonzero(np.diff(numbers) > 1 + _GAP)
  return max((part.tolist() for part in np.split(np.array(numbers), breaks)), key=len)


def _check_walker(file: pathlib.Path, count: int, boxes: list[tuple[int, int]]) -> None:
  """Raises `DataError` unless the tracked body, with a (height, width) per frame, is seen long enough and upright."""
  if len(boxes) < LEAST_FRAMES:
    raise DataError(
      f"{file}: no walking person seen: the longest stretch with a whole body has {len(boxes)} of {count} frames,"
      f" at least {LEAST_FRAMES} are needed. Film one walker, whole and from the side, or make masks of it by"
      " python -m data_prep.video with another --segmenter"
    )
  height, width = np.median(np.array(boxes), axis=0)
  if height <= width:
    raise DataError(
      f"{file}: no walking person seen: it is {width:.0f} pixels wide and {height:.0f} high, a person is upright"
    )


if __name__ == "__main__":
  sys.exit(main())
