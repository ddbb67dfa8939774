"""Walks embedded a second by the published networks in PyTorch's own layers, to compare `embed.py` with.

  pip install -r requirements-interop.txt
  python benchmarks/embed_torch.py                 8 walks x 90 frames, float32
  taskset -c 0 python benchmarks/embed_torch.py    on one core

Layers, widths and order are those of the papers (docs/networks.md); weights and frames are random.
"""

import argparse
import os
import pathlib
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from step_torch import Block, FrameConv, name_of
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402

CHANNELS = (64, 128, 256, 512)


class Strips(nn.Module):
  """Mean and maximum of horizontal strips of [n c h w], and a linear map of each: [n, parts, features]."""

  def __init__(self, bins, features_in, features, maps=1):
    super().__init__()
    self.bins = bins
    self.kernel = nn.Parameter(torch.empty(maps * sum(bins), features_in, features).uniform_(-0.05, 0.05))

  def forward(self, *maps):
    strips = [x.reshape(*x.shape[:2], count, -1) for x in maps for count in self.bins]
    parts = torch.cat([strip.mean(-1) + strip.max(-1).values for strip in strips], -1)
    return torch.matmul(parts.permute(2, 0, 1), self.kernel).transpose(0, 1)


class Residual(nn.Module):
  """DeepGaitV2 (`temporal`: P3D) or GaitBase, one block a stage, on [n c t h w]."""

  def __init__(self, *, temporal):
    super().__init__()
    self.stem = FrameConv(1, CHANNELS[0])
    widths = (CHANNELS[0], *CHANNELS)
    self.blocks = nn.Sequential(*(
      Block(widths[i], widths[i + 1], 2 if i in (1, 2) else 1, temporal=temporal and i > 0) for i in range(4)))
    self.strips = Strips((16,), CHANNELS[3], CHANNELS[2])

  def forward(self, frames):
    return self.strips(self.blocks(torch.relu(self.stem(frames))).max(2).values)


class GaitSet(nn.Module):
  """Frames as a set, maxima over time at three depths, on [n c t h w]."""

  def __init__(self, channels=(32, 64, 128)):
    super().__init__()
    one, two, three = channels
    def pair(a, b, window=3):
      return nn.ModuleList([nn.Conv2d(a, b, window, 1, window // 2, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)])
    self.set1, self.set2, self.set3 = pair(1, one, 5), pair(one, two), pair(two, three)
    self.global2, self.global3 = pair(one, two), pair(two, three)
    self.strips = Strips((16, 8, 4, 2, 1), three, 256, maps=2)

  def forward(self, frames):
    n, _, t, h, w = frames.shape
    def run(pair, x, halve):
      for convolution in pair:
        x = functional.leaky_relu(convolution(x))
      return functional.max_pool2d(x, 2) if halve else x
    def most(x):
      return x.reshape(n, t, *x.shape[1:]).max(1).values
    x = run(self.set1, frames.transpose(1, 2).reshape(n * t, 1, h, w), True)
    whole = run(self.global2, most(x), True)
    x = run(self.set2, x, True)
    whole = run(self.global3, whole + most(x), False)
    top = most(run(self.set3, x, False))
    return self.strips(top, whole + top)


NETWORKS = {
  "gaitset:32-64-128": GaitSet, "gaitbase:resnet9": lambda: Residual(temporal=False),
  "deepgaitv2:p3d-1-1-1-1": lambda: Residual(temporal=True),
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--networks", nargs="+", default=tuple(NETWORKS), choices=tuple(NETWORKS))
  parser.add_argument("--walks", type=whole(1), default=8, help="in a batch")
  parser.add_argument("--frames", type=whole(1), default=90)
  parser.add_argument("--device", default="cpu")
  parser.add_argument("--repeats", type=whole(1), default=5)
  options = parser.parse_args()
  torch.set_float32_matmul_precision("high")
  torch.set_num_threads(len(os.sched_getaffinity(0)))  # else they wait for each other on fewer cores
  frames = (torch.rand(options.walks, 1, options.frames, 64, 44, device=options.device) > 0.5).float()
  table = Table("network", "walks a second", "processor seconds a walk", title=f"PyTorch {torch.__version__}, "
                f"{options.walks} x {options.frames} frames, {name_of(options.device)}")
  for name in options.networks:
    network = NETWORKS[name]().eval().to(options.device)
    seconds, processor = [], []
    for _ in range(options.repeats + 1):
      start, used = time.perf_counter(), time.process_time()
      with torch.inference_mode():
        network(frames).sum().item()  # waits
      seconds.append(time.perf_counter() - start)
      processor.append(time.process_time() - used)
    table.add_row(name, f"{options.walks / np.median(seconds[1:]):.2f}",
                  f"{np.median(processor[1:]) / options.walks:.3f}")
  Console().print(table)


if __name__ == "__main__":
  main()
