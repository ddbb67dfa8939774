"""What is kept back of a training split to choose by: whole people, or some walks of each."""

import dataclasses

import numpy as np

from fgait_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """Rows of a training split: those that teach, and those kept back for validation (none: nothing is chosen)."""

  fit: np.ndarray
  validation: np.ndarray


def keep_back_people(
  subjects: np.ndarray, labels: np.ndarray, *, target: str, fraction: float, seed: int, section: str
) -> Parts:
  """Draws identities to validate on, the same share of every class (by a subject's first walk); unlabelled walks are in
  neither part. `section` of the configuration is what errors name.

  Raises `ConfigError` unless at least two identities remain on either side.
  """
  if not 0 <= fraction < 1:
    raise ConfigError(f"config.{section}.validation_fraction={fraction} must be at least 0 and below 1")
  known = np.flatnonzero(labels != "")
  names, first = np.unique(subjects[known], return_index=True)
  strata = np.zeros(len(names)) if target == "subject" else labels[known][first]
  generator = np.random.default_rng((seed, 0x7A11D))
  kept = []
  for stratum in np.unique(strata):
    members = np.flatnonzero(strata == stratum)
    count = max(round(fraction * len(members)), 1 if len(members) > 1 else 0) if fraction else 0
    kept.append(generator.permutation(members)[:count])
  kept = np.concatenate(kept) if kept else np.zeros(0, int)
  if len(names) - len(kept) < 2 or (fraction and len(kept) < 2):
    raise ConfigError(f"config.{section}.validation_fraction={fraction} of {len(names)} training identities leaves"
                      f" {len(names) - len(kept)} to learn from and {len(kept)} to validate on; two of each are needed")
  held = np.isin(subjects, names[kept])
  return Parts(fit=known[~held[known]], validation=known[held[known]])


def keep_back_walks(labels: np.ndarray, rows: np.ndarray, *, fraction: float, seed: int, section: str) -> Parts:
  """Draws `fraction` of the `rows` of each label, one at least where it has two or more, none where it has one; errors
  name `section` of the configuration."""
  if not 0 <= fraction < 1:
    raise ConfigError(f"config.{section}.validation_fraction={fraction} must be at least 0 and below 1")
  generator, kept = np.random.default_rng((seed, 0x9B0BE)), [np.zeros(0, int)]
  for name in np.unique(labels[rows]) if fraction else ():
    own = generator.permutation(rows[labels[rows] == name])
    kept.append(own[: min(max(round(fraction * len(own)), 1), len(own) - 1)])
  validation = np.sort(np.concatenate(kept))
  return Parts(fit=np.setdiff1d(rows, validation), validation=validation)
