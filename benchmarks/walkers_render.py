"""Renders synthetic walks on one core; prints frames a second and the time that the default data set takes.

python benchmarks/walkers_render.py [--walks 96]
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole
from data_prep.sources.walkers import WalkersSource


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--walks", type=whole(1), default=96, help="walks to render, spread over the default data set")
  count = parser.parse_args().walks
  walks = [walk for split in WalkersSource().splits().values() for walk in split]
  chosen = walks[:: max(1, len(walks) // count)][:count]
  chosen[0].read()  # imports and noise fields
  begin, used = time.perf_counter(), time.process_time()
  frames = sum(len(walk.read().frames) for walk in chosen)
  wall, used = time.perf_counter() - begin, time.process_time() - used
  per_walk = used / len(chosen)
  print(f"{'walks':>8} {'frames':>8} {'wall s':>8} {'frames/s of processor time':>28} {'all walks, processor s':>24}")
  print(f"{len(chosen):8} {frames:8} {wall:8.1f} {frames / used:28.0f} {per_walk * len(walks):24.0f}")


if __name__ == "__main__":
  main()
