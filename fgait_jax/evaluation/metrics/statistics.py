"""How sure a figure is, and whether embeddings are healthy: intervals, paired tests, hubs, collapse.

All randomness comes from a seed given by the caller. Subjects, not sequences, are what is resampled: sequences of one
person are not independent, so resampling them would make intervals too narrow.
"""

import numpy as np

from fgait_jax.errors import ConfigError

LEVEL = 95.0  # percent, of every interval
_BLOCK = 2e8  # bytes of resampled sums held at a time
_DRAWS = 2e7  # numbers drawn at a time


def check_resamples(count: int) -> None:
  """Raises `ConfigError` unless `count` resamples behind an interval are 0, or enough for its ends."""
  if count != 0 and count < 100:
    raise ConfigError(f"config.bootstrap={count} must be at least 100, for ends of an interval, or 0 for none")


def subject_weights(num_subjects: int, *, resamples: int, seed: int | tuple) -> np.ndarray:
  """How often each subject is drawn in each resample: float32 [resamples, subjects], rows sum to `num_subjects`."""
  drawn = np.random.default_rng(seed).integers(num_subjects, size=(resamples, num_subjects))
  flat = (drawn + np.arange(resamples)[:, None] * num_subjects).ravel()
  return np.bincount(flat, minlength=resamples * num_subjects).reshape(resamples, -1).astype(np.float32)


def interval(samples: np.ndarray) -> list[float]:
  """[low, high] of the central 95 % of finite `samples` (percentile bootstrap); [nan, nan] of none."""
  samples = np.asarray(samples)[np.isfinite(samples)]
  if not samples.size:
    return [float("nan")] * 2
  tail = (100 - LEVEL) / 2
  return [float(x) for x in np.percentile(samples, [tail, 100 - tail])]


def cell_sums(values: np.ndarray, *, subject: np.ndarray, row: np.ndarray, subjects: int, rows: int) -> np.ndarray:
  """Sums [subjects, rows, v, k] of per-probe `values` [n, v, k] over probes of one subject and one row of cells."""
  out = np.zeros((subjects * rows, *values.shape[1:]), np.float32)
  key = subject.astype(np.int64) * rows + row
  order = np.argsort(key, kind="stable")
  starts = np.flatnonzero(np.r_[True, np.diff(key[order]) > 0]) if len(key) else np.zeros(0, int)
  if len(starts):
    out[key[order][starts]] = np.add.reduceat(values[order], starts, axis=0)
  return out.reshape(subjects, rows, *values.shape[1:])


def mean_of_cells(sums: np.ndarray, counts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
  """Mean over allowed, non-empty cells of each cell's mean; cells are the two axes before the last of `sums`.

  sums [..., rows, v, k], counts [..., rows, v, 1 or k], allowed bool [rows, v]. First over v, then over rows: the
  cross-view average of the official gait evaluators. nan where no cell is left.
  """
  with np.errstate(invalid="ignore", divide="ignore"):
    cells = np.where(allowed[..., None] & (counts > 0), sums / counts, np.nan)
    there = np.isfinite(cells)
    by_row = np.nansum(cells, axis=-2) / there.sum(axis=-2)
    return np.nansum(by_row, axis=-2) / np.isfinite(by_row).sum(axis=-2)


def bootstrap_cells(sums: np.ndarray, counts: np.ndarray, allowed: np.ndarray, *, resamples: int,
                    seed: int) -> np.ndarray:
  """Resampled `mean_of_cells` [resamples, k] when subjects (first axis of sums and counts) are drawn with replacement.

  The gallery stays as it is: the interval speaks of other probe subjects against this gallery.
  """
  weights = subject_weights(len(sums), resamples=resamples, seed=seed)
  out = []
  step = max(1, int(_BLOCK // max(1, 4 * sums[0].size)))
  flat_sums, flat_counts = sums.reshape(len(sums), -1), counts.reshape(len(counts), -1)
  for start in range(0, resamples, step):
    drawn = weights[start : start + step]
    resampled = (drawn @ flat_sums).reshape(-1, *sums.shape[1:])
    counted = (drawn @ flat_counts).reshape(-1, *counts.shape[1:])
    out.append(mean_of_cells(resampled, counted, allowed))
  return np.concatenate(out)


def paired_sums(differences: np.ndarray, counts: np.ndarray, *, resamples: int, seed: int) -> dict:
  """Compares two systems on the same probes: each subject's sum of second - first over its probes, of which there are
  `counts`, in each of c conditions; both [s, c].

  Returns `difference` (mean over conditions of the mean over probes), its 95 % bootstrap `ci` over subjects, and `p`,
  two-sided, of a permutation test that swaps the two systems subject by subject, in all conditions at once (Ernst 2004;
  never below 1 / (resamples + 1)). A resample without a probe in one of the conditions does not count.
  """
  differences, counts = np.asarray(differences, np.float64), np.asarray(counts, np.float64)
  number = len(differences)
  shares = np.mean(differences / counts.sum(0), axis=1)  # of each subject in the difference
  difference, samples, extreme = shares.sum(), [], 0
  # Sums that are equal on paper differ in their last bits; a tie that is missed makes p too small.
  tie = 1e-6 * np.abs(shares).sum()
  step = max(1, int(_DRAWS // number))
  for block, start in enumerate(range(0, resamples, step)):
    draws = min(step, resamples - start)
    weights = subject_weights(number, resamples=draws, seed=seed if block == 0 else (seed, 0, block))
    with np.errstate(invalid="ignore"):
      samples.append(np.mean((weights @ differences) / (weights @ counts), axis=1))
    signs = np.random.default_rng((seed, 1) if block == 0 else (seed, 1, block)).choice((-1.0, 1.0), (draws, number))
    extreme += np.sum(np.abs(signs @ shares) >= abs(difference) - tie)
  p = float((extreme + 1) / (resamples + 1))
  return {"difference": float(difference), "ci": interval(np.concatenate(samples)), "p": p}


def by_subject(right: np.ndarray, subjects: np.ndarray) -> dict:
  """What a paired test of two classifiers wants: the per cent right (`accuracy`) and the number of `trials` of each of
  the `subjects`; right bool [n], subjects [n]."""
  names, subject, trials = np.unique(subjects, return_inverse=True, return_counts=True)
  return {"subjects": names, "accuracy": 100 * np.bincount(subject, weights=right) / trials, "trials": trials}


def hubness(nearest: np.ndarray, *, gallery_labels: np.ndarray) -> dict:
  """How unevenly nearest neighbours fall: `nearest` int [n], gallery index each probe found first.

  skewness: of the number of probes for which a gallery item is nearest (N_1 of Radovanovic et al. 2010), 0 when even.
  largest_share: largest percent of probes that one gallery subject takes; `subject` is that subject's label.
  """
  nearest = np.asarray(nearest)[np.asarray(nearest) >= 0]
  if not nearest.size:
    return {"skewness": float("nan"), "largest_share": float("nan"), "subject": ""}
  occurrence = np.bincount(nearest, minlength=len(gallery_labels)).astype(np.float64)
  spread = occurrence.std()
  names, taken = np.unique(np.asarray(gallery_labels)[nearest], return_counts=True)
  return {
    "skewness": float(np.mean((occurrence - occurrence.mean()) ** 3) / spread**3) if spread > 0 else 0.0,
    "largest_share": float(100 * taken.max() / nearest.size),
    "subject": str(names[np.argmax(taken)]),
  }


def health(embeddings: np.ndarray, *, seed: int = 0, most: int = 2048) -> dict:
  """Signs of collapse: `effective_rank` and `mean_cosine`, means over parts of [N, C, P], from at most `most` rows.

  effective_rank: exp of the entropy of the covariance's normalised eigenvalues (Roy and Vetterli 2007), at most C; 0
  where embeddings differ by no more than the rounding of float32.
  mean_cosine: mean cosine between different sequences; 1 when all point the same way.
  """
  if len(embeddings) > most:
    embeddings = embeddings[np.sort(np.random.default_rng(seed).choice(len(embeddings), most, replace=False))]
  ranks, cosines, num = [], [], len(embeddings)
  for part in np.ascontiguousarray(np.asarray(embeddings, np.float32).transpose(2, 0, 1)):
    # The mean goes first: near collapse it is all there is, and its square would drown the spread in rounding.
    spread = part - part.mean(axis=0, dtype=np.float64).astype(np.float32)
    # The smaller of the two products: their eigenvalues above zero are the same.
    product = spread.T @ spread if spread.shape[1] <= num else spread @ spread.T
    values = np.clip(np.linalg.eigvalsh(product.astype(np.float64)), 0, None)
    noise = np.finfo(np.float32).eps ** 2 * float(np.vdot(part, part))
    shares = values[values > max(values.sum() * 1e-6, noise)]
    shares = shares / max(shares.sum(), 1e-30)
    ranks.append(np.exp(-np.sum(shares * np.log(shares))) if shares.size else 0.0)
    unit = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
    pairs = num * (num - 1)
    mean = (np.sum(unit.sum(axis=0, dtype=np.float64) ** 2) - np.vdot(unit, unit)) / pairs if pairs else np.nan
    cosines.append(np.clip(mean, -1, 1))  # rounding alone leads beyond
  return {"effective_rank": float(np.mean(ranks)), "mean_cosine": float(np.mean(cosines)), "sequences": num}
