"""Milliseconds per augmentation of a batch of clips on this machine's device, for each step and whole recipes.

  python benchmarks/augment.py --clips 64 --frames 16
"""

import argparse
import pathlib
import sys
import time

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402
from fgait_jax import defaults  # noqa: E402
from fgait_jax.data import augment  # noqa: E402

RECIPE = {step: p for step, p in defaults.augment().to_dict().items() if step != "width"}
NOTHING = dict.fromkeys(RECIPE, 0.0)
FINE_TUNE = NOTHING | {"perspective": 0.2, "flip": 0.2, "rotate": 0.2}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--clips", type=whole(1), default=64)
  parser.add_argument("--frames", type=whole(1), default=16)
  parser.add_argument("--channels", type=whole(1), default=1)
  parser.add_argument("--repeats", type=whole(1), default=20)
  arguments = parser.parse_args()
  shape = (arguments.clips, arguments.frames, 64, 64, arguments.channels)
  frames = jax.device_put(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
  lines = {"cut and scale": NOTHING}
  lines |= {f"{step} only": NOTHING | {step: p} for step, p in RECIPE.items() if p}
  lines |= {"holes only": NOTHING | {"holes": 0.25}, "segmenter only": NOTHING | {"segmenter": 0.5}}
  lines |= {"pretraining recipe": RECIPE, "fine-tuning recipe": FINE_TUNE}
  device = jax.devices()[0].device_kind
  table = Table(title=f"{arguments.clips} clips x {arguments.frames} frames x {arguments.channels} channels, {device}")
  for column in ("what", "median ms", "least ms", "us a clip"):
    table.add_column(column, justify="left" if column == "what" else "right")
  for name, steps in lines.items():
    function = jax.jit(lambda key, frames, steps=steps: augment.augment(key, frames, **steps, width=44))
    times = []
    for number in range(arguments.repeats + 1):
      key = jax.random.key(number)
      begin = time.perf_counter()
      jax.block_until_ready(function(key, frames))
      times.append(1e3 * (time.perf_counter() - begin))
    median, least = np.median(times[1:]), min(times[1:])
    table.add_row(name, f"{median:.1f}", f"{least:.1f}", f"{1e3 * median / arguments.clips:.0f}")
  Console().print(table)


if __name__ == "__main__":
  main()
