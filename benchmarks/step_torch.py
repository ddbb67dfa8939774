"""Seconds per pretraining step of the same P3D network in PyTorch's own layers, to compare `step.py` with.

  pip install -r requirements-interop.txt
  python benchmarks/step_torch.py                  1-1-1-1, 8 sequences x 16 frames, float32
  python benchmarks/step_torch.py --device cuda --dtype bfloat16 --compile --batch 64

The step is that of `step.py --config configs/reference.py`: teacher forward on whole bodies, student forward and
backward on strips (8, 4, 2, 1), SGD and the moving average, on random data. Layers are torch's conv2d, conv3d and batch
norm in the order of the paper.
"""

import argparse
import copy
import pathlib
import resource
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from data_prep.arguments import whole  # noqa: E402

BINS = (16, 8, 4, 2, 1)


def cpu_seconds() -> float:
  usage = resource.getrusage(resource.RUSAGE_SELF)
  return usage.ru_utime + usage.ru_stime


class FrameConv(nn.Module):
  """3 x 3 within frames of [n c t h w], then batch normalisation."""

  def __init__(self, features_in, features, stride=1):
    super().__init__()
    self.conv = nn.Conv2d(features_in, features, 3, stride, 1, bias=False)
    self.norm = nn.BatchNorm2d(features)

  def forward(self, x):
    n, c, t, h, w = x.shape
    y = self.norm(self.conv(x.transpose(1, 2).reshape(n * t, c, h, w)))
    return y.reshape(n, t, *y.shape[1:]).transpose(1, 2)


class Block(nn.Module):
  """A residual block; with `temporal`, a residual convolution in time after the first within frames."""

  def __init__(self, features_in, features, stride=1, temporal=True):
    super().__init__()
    self.conv1, self.conv2 = FrameConv(features_in, features, stride), FrameConv(features, features)
    self.temporal = self.shortcut = None
    if temporal:
      self.temporal = nn.Sequential(
        nn.Conv3d(features, features, (3, 1, 1), padding=(1, 0, 0), bias=False), nn.BatchNorm3d(features)
      )
    if stride != 1 or features_in != features:
      self.shortcut = nn.Sequential(
        nn.Conv3d(features_in, features, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(features)
      )

  def forward(self, x):
    a = torch.relu(self.conv1(x))
    if self.temporal is not None:
      a = torch.relu(a + self.temporal(a))
    return torch.relu(self.conv2(a) + (x if self.shortcut is None else self.shortcut(x)))


class PartLinear(nn.Module):
  def __init__(self, features):
    super().__init__()
    self.kernel = nn.Parameter(torch.empty(sum(BINS), features, features).uniform_(-0.08, 0.08))

  def forward(self, x):
    return torch.matmul(x.transpose(0, 1), self.kernel).transpose(0, 1)


class PartNorm(nn.BatchNorm1d):
  def forward(self, x):
    return super().forward(x.reshape(len(x), -1)).reshape(x.shape)


class Network(nn.Module):
  def __init__(self, layers, channels):
    super().__init__()
    self.stem = FrameConv(1, channels[0])
    widths = (channels[0], *channels)
    blocks = []
    for stage, count in enumerate(layers):
      stride = 2 if stage in (1, 2) else 1
      blocks += [Block(widths[stage], widths[stage + 1], stride, temporal=stage > 0)]
      blocks += [Block(widths[stage + 1], widths[stage + 1], temporal=stage > 0) for _ in range(count - 1)]
    self.blocks = nn.Sequential(*blocks)
    features, norm = channels[-1], lambda: PartNorm(sum(BINS) * channels[-1])
    self.projector = nn.Sequential(PartLinear(features), norm(), nn.ReLU(), PartLinear(features), norm())
    self.predictor = nn.Sequential(PartLinear(features), norm(), nn.ReLU(), PartLinear(features))

  def encode(self, frames):
    return self.blocks(torch.relu(self.stem(frames)))

  def encode_parts(self, frames, crops=(8, 4, 2, 1)):
    groups = zip(frames.chunk(len(crops)), crops, strict=True)
    return torch.cat([self.encode_strips(group, parts) for group, parts in groups])

  def encode_strips(self, frames, parts):
    if parts == 1:
      return self.encode(frames)
    half, window = len(frames) // 2, frames.shape[3] // parts
    shifted = functional.pad(frames[half:], (0, 0, window // 2, window // 2))
    maps = self.encode(torch.cat([cut(frames[:half], window), cut(shifted, window)]))
    margin = window // 8
    shifted = stitch(maps[half * parts :], parts + 1)[:, :, :, margin:-margin]
    return torch.cat([stitch(maps[: half * parts], parts), shifted])

  def project(self, maps):
    highest = maps.max(2).values
    strips = [highest.reshape(*highest.shape[:2], bins, -1) for bins in BINS]
    parts = torch.cat([strip.mean(-1) + strip.max(-1).values for strip in strips], -1)
    return self.projector(parts.transpose(1, 2))


def cut(frames, window):
  n, c, t, h, w = frames.shape
  return frames.reshape(n, c, t, h // window, window, w).permute(0, 3, 1, 2, 4, 5).reshape(-1, c, t, window, w)


def stitch(maps, parts):
  n, c, t, h, w = maps.shape
  return maps.reshape(n // parts, parts, c, t, h, w).permute(0, 2, 3, 1, 4, 5).reshape(-1, c, t, parts * h, w)


def train_step(teacher, student, optimizer, frames, dtype=torch.float32):
  with torch.autocast(frames.device.type, dtype, enabled=dtype != torch.float32):
    with torch.no_grad():
      target = functional.normalize(teacher.project(teacher.encode(frames[:, 0])), dim=-1)
    query = student.predictor(student.project(student.encode_parts(frames[:, 1])))
  query, target = query.float(), target.float()
  logits = torch.einsum("npd,mpd->pnm", functional.normalize(query, dim=-1), target) * 16
  labels = torch.arange(len(frames), device=frames.device).expand(logits.shape[0], -1)
  loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
  optimizer.zero_grad()
  loss.backward()
  optimizer.step()
  with torch.no_grad():
    for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
      kept.lerp_(new, 0.01)
  return loss


def name_of(device: str) -> str:
  return torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} threads"


def blocks(text: str) -> list[int]:
  """The blocks of each stage, of "1-1-1-1"."""
  if text.count("-") != 3:
    raise argparse.ArgumentTypeError(f"{text!r} is not the blocks of four stages, such as 1-1-1-1")
  return [whole(1)(count) for count in text.split("-")]


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--variant", type=blocks, default="1-1-1-1")
  parser.add_argument("--channels", type=whole(1), nargs=4, default=(64, 128, 256, 512))
  parser.add_argument("--batch", type=whole(1), default=8)
  parser.add_argument("--frames", type=whole(1), default=16)
  parser.add_argument("--steps", type=whole(1), default=5)
  parser.add_argument("--device", default="cpu")
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="bfloat16: autocast")
  parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
  options = parser.parse_args()
  torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as jax by default; convolutions are so anyway
  teacher = Network(options.variant, options.channels)
  teacher = teacher.to(options.device)
  student = copy.deepcopy(teacher)
  optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
  frames = torch.rand(options.batch, 2, 1, options.frames, 64, 44, device=options.device)
  if options.compile:
    for network in (teacher, student):
      network.encode, network.project = torch.compile(network.encode), torch.compile(network.project)
  seconds, processor = [], []
  for _ in range(options.steps + 1):
    start, used = time.perf_counter(), cpu_seconds()
    loss = train_step(teacher, student, optimizer, frames, getattr(torch, options.dtype)).item()  # waits
    seconds.append(time.perf_counter() - start)
    processor.append(cpu_seconds() - used)
  table = Table("quantity", "value", title=f"P3D {'-'.join(map(str, options.variant))} in PyTorch {torch.__version__}, "
                f"{options.batch} x {options.frames} frames, {options.dtype}{', compiled' * options.compile}, "
                f"{name_of(options.device)}")
  rows = {
    "seconds a step, median": np.median(seconds[1:]), "seconds a step, least": min(seconds[1:]),
    "clips a second": 2 * options.batch / np.median(seconds[1:]),
    "CPU seconds a step, median": np.median(processor[1:]), "loss": loss,
  }
  for name, value in rows.items():
    table.add_row(name, f"{value:.4f}")
  Console().print(table)


if __name__ == "__main__":
  main()
