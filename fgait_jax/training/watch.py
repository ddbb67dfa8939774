"""What evaluations during pretraining give reason to say."""

from collections.abc import Collection, Sequence

from fgait_jax.errors import ConfigError


def collapse(evaluations: Sequence[dict]) -> list[str]:
  """A warning for each evaluated data set whose embeddings, in the last of `evaluations` and not before, lie closer
  together than those of the untrained network, that of step 0, in both measures."""
  found = []
  if evaluations[0]["step"] != 0:
    return found
  untrained, *trained = evaluations
  for name in (key.removesuffix("/effective_rank") for key in untrained if key.endswith("/effective_rank")):
    collapsed = [line["step"] for line in trained if _collapsed(line, untrained, name)]
    if collapsed and collapsed == [evaluations[-1]["step"]]:
      now = evaluations[-1]
      found.append(
        f"warning     step {now['step']}: embeddings of {name} collapse: effective rank"
        f" {now[f'{name}/effective_rank']:.3g} (untrained {untrained[f'{name}/effective_rank']:.3g}), mean cosine"
        f" {now[f'{name}/mean_cosine']:.4g} (untrained {untrained[f'{name}/mean_cosine']:.4g}). If accuracy falls too,"
        " begin anew with a lower config.optim.peak_rate, a larger config.data.batch_size or"
        " config.objectives.contrastive.queue, or a teacher that follows more slowly (config.teacher.ema_start)"
      )
  return found


def _collapsed(line: dict, untrained: dict, name: str) -> bool:
  """Whether the effective rank is below half of the untrained network's, and the mean cosine above its."""
  rank, cosine = f"{name}/effective_rank", f"{name}/mean_cosine"
  if any(values.get(key) is None for values in (line, untrained) for key in (rank, cosine)):
    return False
  return line[rank] < untrained[rank] / 2 and line[cosine] > untrained[cosine]


def check_best(evaluations: Sequence[dict], keep_best: str, *, asked: Collection[str]) -> None:
  """Raises `ConfigError` where the last of `evaluations` has no metric `keep_best`, unless it is of one of those
  `asked` for that was not due, or failed, and so is not in it."""
  name = keep_best.removeprefix("-")
  if not name or name in evaluations[-1]:
    return
  known = sorted(key for key in evaluations[-1] if key != "step")
  if name.partition("/")[0] in set(asked) - {key.partition("/")[0] for key in known}:
    return
  raise ConfigError(f"config.train.keep_best={keep_best} is not evaluated; known: {', '.join(known)}")
