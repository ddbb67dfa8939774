"""A program that fine-tunes the test-size network on toys, in one process or as one of several:

  python tests/training/toy_fine_tuning.py FOLDER [COORDINATOR PROCESSES PROCESS SIGNAL_AT TORN]

At batch SIGNAL_AT this process sends itself SIGTERM (-1: never); after TORN readings of its own training walks fail.
"""

import functools
import os
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "training")]

import jax  # noqa: E402
import numpy as np  # noqa: E402
from conftest import ToySplit  # noqa: E402

from configs import pretrain  # noqa: E402
from fgait_jax import defaults  # noqa: E402
from fgait_jax.data.subset import Subset  # noqa: E402
from fgait_jax.errors import FgaitError  # noqa: E402
from fgait_jax.evaluation.features import extraction  # noqa: E402
from fgait_jax.parallel import hosts  # noqa: E402
from fgait_jax.parallel.mesh import make_mesh  # noqa: E402
from fgait_jax.training import fine_tuning, supervised  # noqa: E402
from fgait_jax.training import state as states  # noqa: E402
from fgait_jax.training.pretrained import Pretrained  # noqa: E402
from fgait_jax.training.session import Stopped  # noqa: E402


def score(network, between) -> float:
  """Something that all processes must enter together; lower with every step, so that the first is the best."""
  recognise = functools.partial(network.recognise, output="embedding")
  found = extraction.extract(recognise, ToySplit(sequences=6), max_frames=6, batch_frames=48, embedding="embedding",
                             normalise=False, mesh=network.learner.mesh, between=between)
  return float(np.abs(found.embeddings).sum())


def main(folder: str, coordinator: str = "", processes: str = "0", process: str = "-1", signal_at: str = "-1",
         torn: str = "inf") -> int:
  hosts.initialize(coordinator=coordinator, processes=int(processes), process=int(process))
  mesh, config = make_mesh(), pretrain.get_config("test")
  graph, wanted = states.abstract_weights(config, mesh)
  where = jax.tree.map(lambda leaf: leaf.sharding, wanted)
  weights = jax.jit(lambda: states.initial_weights(config), out_shardings=where)()
  network = Pretrained(graph=graph, **weights, config=config, step=0, path=None, identity="none", mesh=mesh)
  evaluation = defaults.evaluation().unlock()
  c = evaluation.fine_tune
  c.subjects, c.per_subject, c.clip_frames, c.window_frames, c.crop_list = 4, 2, 4, 4, ()
  c.steps, c.validate_every, c.log_every, c.threads = 6, 2, 1, 0
  c.augment.update({step: 0.0 for step in c.augment if step != "width"})
  c.optim.warmup_steps = 0
  learner = supervised.create(
    network, head="identity", reads="projection", classes=8, features=8, method="full", statistics="frozen", rank=2,
    lora_scale=1.0, prompt_tokens=0, prompt_pixels=0, rules_of_rates=c.optim.rules, seed=0)
  split = Subset(ToySplit(torn=float(torn)), np.arange(24), name="toy/train (fit)")
  split.__dict__["subjects"] = np.repeat([f"person{i}" for i in range(8)], 3)

  made = fine_tuning.batches

  def batches(splits, *, start, **options):
    for number, batch in enumerate(made(splits, start=start, **options), start=start):
      if number == int(signal_at):
        os.kill(os.getpid(), signal.SIGTERM)
      yield batch

  fine_tuning.batches = batches
  try:
    fitted = fine_tuning.Fitter(learner, evaluation, identity="none").fit(
      split, np.repeat(np.arange(8), 3), pathlib.Path(folder), score=score)
  except Stopped:
    return 0
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print(f"best step {fitted.step} score {fitted.score}")
  return 0


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
