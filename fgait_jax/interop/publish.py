"""Publishes the network of a run: weights, configuration and model card in one folder that every task reads.

  python -m fgait_jax.interop.publish RUN --out FOLDER                        float32, whole
  python -m fgait_jax.interop.publish RUN --out FOLDER --dtype bfloat16       half the size, every array rounded
  python -m fgait_jax.interop.publish RUN --out FOLDER --without-heads        what its own embedding needs, no more

The card has the results of these weights in RUN/results, or in --results. RUN may be such a folder itself. A run of
run_pretrain.py writes RUN/weights when it ends; its card has figures once it is published after an evaluation.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable

from absl import logging

from fgait_jax.errors import CheckpointError, DataError, FgaitError
from fgait_jax.evaluation.report import sources
from fgait_jax.evaluation.results import Result
from fgait_jax.interop import card
from fgait_jax.parallel import hosts
from fgait_jax.parallel.mesh import make_mesh
from fgait_jax.paths import local_path
from fgait_jax.training import checkpoints, folders, preflight, weights
from fgait_jax.training.checkpoints import load_network
from fgait_jax.training.pretrained import Pretrained


def write(network: Pretrained, out: pathlib.Path, *, dtype: str = "float32", heads: bool = True,
          results: Iterable[Result] = (), licence: str = "") -> None:
  """Writes weights, configuration and card, with the tables of `results`, into `out`; all processes call it together,
  and the first one writes."""
  weights.save(network, out, dtype=dtype, heads=heads)
  if hosts.is_first():
    published = weights.load(out, mesh=make_mesh(devices=network.mesh.local_devices))
    text = card.write(published, name=out.name, results=list(results), licence=licence)
    folders.write_text(out / weights.CARD, text)


def results_of(network: Pretrained, folder: pathlib.Path) -> list[sources.Shown]:
  """The results in `folder` of what `network` embeds by, or embedded by before it was rounded, not of what was
  fine-tuned from it; none where there is no folder."""
  try:
    found = sources.read(folder, flag="--results").results
  except DataError:
    return []
  known = {network.identity, *(network.identity.removesuffix(f"-{dtype}") for dtype in weights.DTYPES)}
  return [shown for shown in found if (of := shown.result.checkpoint) and of.identity in known
          and of.embedding == network.embedding and not shown.result.fine_tuning]


def refuse_others(out: pathlib.Path, identity: str | None) -> None:
  """Raises `CheckpointError` where `out` is a run's folder, since weights in it would be read in place of its
  checkpoints, or holds what would be lost: files of the same names that are none of ours, or weights of another run
  than that of `identity`; a run's own may be replaced, by those of a later step or another type. With None, where it
  is not known yet, any weights may."""
  if (out / checkpoints.FOLDER).exists():
    raise CheckpointError(f"--out={out} is a run's folder, whose checkpoints and config.json these files would hide;"
                          f" give another one, such as {out / weights.FOLDER}")
  there = [name for name in (weights.WEIGHTS, weights.ABOUT, weights.CARD) if (out / name).exists()]
  found = weights.identity_in(out)
  if there and found is None:
    raise CheckpointError(f"--out={out} holds {', '.join(there)} of something else, which would be lost; give another"
                          " folder")
  if None not in (found, identity) and found.partition("-")[0] != identity.partition("-")[0]:
    raise CheckpointError(f"--out={out} holds the weights {found}, of another run than {identity}, and they would be"
                          " lost; give another folder, or remove that one first")


def at_end(config, workdir: str) -> None:
  """Writes <workdir>/weights of a run that is complete; all processes call it together."""
  workdir = local_path(workdir, "--workdir")
  mesh = make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp, tensor=config.mesh.tensor)
  network = load_network(workdir, mesh=mesh)
  found = results_of(network, workdir / "results")
  out = workdir / weights.FOLDER
  write(network, out, results=(shown.result for shown in found))
  if hosts.is_first():
    print(f"weights     in {out}, to embed with; the checkpoint is what goes on training", flush=True)


def main(arguments: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(prog="python -m fgait_jax.interop.publish", description=__doc__.split("\n\n")[0])
  parser.add_argument("run", help="a run's folder, one step's, or a folder of weights")
  parser.add_argument("--out", required=True, help="folder that receives the files")
  parser.add_argument("--dtype", choices=tuple(weights.DTYPES), default="float32", help="default: %(default)s")
  parser.add_argument("--without-heads", action="store_true",
                      help="leave out what the embedding does not need, which pretraining would begin anew")
  parser.add_argument("--results", help="folder of results of these weights (default: RUN/results)")
  parser.add_argument("--licence", default="", help="of the weights, such as Apache-2.0, for the card")
  options = parser.parse_args(arguments)
  logging.set_verbosity(logging.ERROR)  # Orbax logs every file it opens
  try:
    preflight.configure_jax()
    out = preflight.writable(options.out, flag="--out")
    network = load_network(options.run)
    refuse_others(out, network.identity)
    folder = local_path(options.results or weights.located(options.run) / "results", "--results")
    if not (found := results_of(network, folder)):
      raise CheckpointError(
        f"{folder} holds no result of the weights {network.identity}, and a card without figures tells nobody what they"
        f" are worth; run_eval.py --config=configs/zero_shot.py --config.checkpoint={options.run} --out={folder} writes"
        " one, and --results names another folder")
    write(network, out, dtype=options.dtype, heads=not options.without_heads, licence=options.licence,
          results=(shown.result for shown in found))
  except FgaitError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  size = sum((out / name).stat().st_size for name in (weights.WEIGHTS, weights.ABOUT, weights.CARD))
  print(f"{out}: {weights.WEIGHTS}, {weights.ABOUT}, {weights.CARD}, {size / 1e6:.1f} MB; the card has the figures of"
        f" {', '.join(shown.path.name for shown in found)}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
