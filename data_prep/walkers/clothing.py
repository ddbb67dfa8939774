"""Clothes and load: a condition's outfit as thicknesses in metres and factors, and the bag.

Conditions are named like CASIA-B's: `nm-01` normal clothes, `bg-01` with a bag, `cl-01` a coat. Every subject has its
own wardrobe; the same clothes fit a little differently in every walk.
"""

import dataclasses
import re

import numpy as np

from data_prep.walkers.anthropometry import Subject
from data_prep.walkers.randomness import around_one, generator
from fgait_jax.errors import DataError

BAGS = ("backpack", "shoulder bag", "hand bag")
KINDS = ("nm", "bg", "cl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outfit:
  """Clothes and load. Thicknesses in metres, added to the body's radii; lengths as fractions of the thigh."""

  top: float
  sleeve: float
  trousers: float
  hem: float  # extra radius of the trousers at the ankle
  shoe: float  # extra radius of the foot
  skirt: float  # how far shirt, skirt or coat reaches down the legs, 0 the hip joints, 1 the knees
  flare: float  # extra half-axes at its lower edge
  hood: float  # extra radius around neck and back of the head: hood or collar; 0 none
  bag: str  # one of `BAGS`, or ""
  bag_side: int  # 0 left, 1 right
  bag_size: tuple[float, float, float]  # half-lengths: along the walk, across, upwards
  bag_height: float  # of its middle, as a fraction of the trunk

  @property
  def carrying(self) -> tuple[float, float]:
    """Factors on the swing of the left and the right arm."""
    held = {"hand bag": 0.5, "shoulder bag": 0.65}.get(self.bag, 1.0)
    return (held, 1.0) if self.bag_side == 0 else (1.0, held)


def kind_of(condition: str) -> str:
  """`nm`, `bg` or `cl`; raises `DataError` on other names."""
  if not re.fullmatch(rf"({'|'.join(KINDS)})-\d\d", condition):
    raise DataError(f"condition {condition!r} of the walkers is not of the form {', '.join(k + '-01' for k in KINDS)}")
  return condition[:2]


def dress(subject: Subject, condition: str, *, seed: int, other_day: bool = False) -> Outfit:
  """What the subject wears in `condition`: clothes are drawn by (subject, kind), their fit by (subject, condition).

  With `other_day`, this condition has clothes of its own. Raises `DataError` for an unknown condition.
  """
  kind = kind_of(condition)
  wardrobe = generator(seed, "wardrobe", subject.name, *([condition] if other_day else []))
  fit = generator(seed, "fit", subject.name, condition)
  daily = _casual(wardrobe, subject)
  if kind == "cl":
    coat = _coat(wardrobe)
    # Half of them put the coat over the same clothes, the others have changed trousers and shoes too.
    daily = coat | {name: daily[name] for name in ("trousers", "hem", "shoe")} if wardrobe.random() < 0.5 else coat
  daily = {name: value * float(around_one(fit, 0.12)) for name, value in daily.items()}
  bag = BAGS[fit.integers(len(BAGS))] if kind == "bg" else ""
  sizes = {"backpack": (0.095, 0.135, 0.21), "shoulder bag": (0.16, 0.055, 0.13), "hand bag": (0.15, 0.05, 0.13)}
  size = tuple(np.array(sizes.get(bag, (0.0, 0.0, 0.0))) * around_one(fit, 0.2) * around_one(fit, 0.1, 3))
  return Outfit(
    **daily,
    bag=bag,
    bag_side=int(fit.random() < 0.6),
    bag_size=size,
    bag_height={"backpack": 0.66, "shoulder bag": 0.05}.get(bag, 0.0) + 0.05 * fit.normal(),
  )


def _casual(rng: np.random.Generator, subject: Subject) -> dict[str, float]:
  skirt = subject.sex == 0 and rng.random() < 0.15
  return {
    "top": rng.uniform(0.004, 0.028),
    "sleeve": rng.uniform(0.002, 0.016),
    "trousers": rng.uniform(0.003, 0.024),
    "hem": rng.choice([0.0, 0.008, 0.024]) + rng.uniform(0, 0.008),
    "shoe": rng.uniform(0.002, 0.016),
    "skirt": rng.uniform(0.5, 1.1) if skirt else rng.uniform(0.02, 0.28),
    "flare": rng.uniform(0.01, 0.07) if skirt else rng.uniform(0.0, 0.015),
    "hood": rng.choice([0.0, 0.0, 0.02]),
  }


def _coat(rng: np.random.Generator) -> dict[str, float]:
  return {
    "top": rng.uniform(0.022, 0.055),
    "sleeve": rng.uniform(0.012, 0.032),
    "trousers": rng.uniform(0.003, 0.024),
    "hem": rng.choice([0.0, 0.01, 0.025]) + rng.uniform(0, 0.008),
    "shoe": rng.uniform(0.002, 0.018),
    "skirt": rng.uniform(0.35, 1.05),
    "flare": rng.uniform(0.01, 0.06),
    "hood": rng.choice([0.0, 0.015, 0.04]),
  }
