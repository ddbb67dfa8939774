"""Bodies and steps of the crowd from measurements: ANSUR II's 34 body measures, and step length as a function of speed.

`anthropometry` draws every length independently; here all measures of a body are drawn jointly, from the covariance of
6,068 measured persons (log-normal per sex), so that long arms go with long legs and waists with hips. Step lengths
follow a fit to 43 walkers at up to eight speeds (Fukuchi, Fukuchi, Duarte, PeerJ 2018, CC BY 4.0).
"""

import functools
import importlib.resources
import json

import numpy as np

from data_prep.walkers.anthropometry import FORWARD, Subject
from data_prep.walkers.randomness import around_one, generator

# log(step / stature) = STEP[0] + STEP[1] log(speed in m/s) + STEP[2] woman; spreads between and within persons.
STEP = (-1.1167, 0.5128, 0.0631)
STEP_SPREADS = (0.0547, 0.0396)
SPEED = 1.226  # m/s, comfortable
SPEED_SPREADS = (0.10, 0.10)  # between persons, and between a person's walks


@functools.cache
def _tables() -> tuple[tuple[str, ...], dict[int, tuple[np.ndarray, np.ndarray]]]:
  """Measures, and for each sex (0 woman, 1 man) the mean of their logarithms and a square root of the covariance."""
  stored = json.loads(importlib.resources.files(__package__).joinpath("ansur.json").read_text())
  tables = {}
  for sex, name in enumerate(("female", "male")):
    lower = stored[name]["log_covariance"]
    size = len(lower)
    covariance = np.array([[lower[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]) / 1e4
    values, vectors = np.linalg.eigh(covariance)
    tables[sex] = np.array(stored[name]["log_mean"]), vectors * np.sqrt(np.maximum(values, 0))
  return tuple(stored["measures"]), tables


def draw_measures(rng: np.random.Generator, sex: int) -> dict[str, float]:
  """The measures of one body in metres, by ANSUR II's names."""
  names, tables = _tables()
  mean, root = tables[sex]
  values = np.exp(mean + root @ np.clip(rng.standard_normal(len(mean)), -3, 3)) / 100
  return dict(zip(names, values.tolist(), strict=True))


def draw_body(name: str, *, seed: int) -> Subject:
  """The person called `name` in the crowd `seed`."""
  rng = generator(seed, "body", name)
  sex = int(rng.random() < 0.5)
  m = draw_measures(rng, sex)

  def radius(girth: str) -> float:
    return m[f"{girth}circumference"] / (2 * np.pi)

  height, skull = m["stature"], 0.52 * m["headlength"]
  hip, waist, chest, neck = m["hipbreadth"] / 2, m["waistbreadth"] / 2, m["chestbreadth"] / 2, radius("neck")
  seat, belly, breast = m["buttockdepth"] / 2, m["waistdepth"] / 2, m["chestdepth"] / 2
  posture = rng.normal(0, 0.008, 3)  # buttocks, belly, chest, as fractions of stature
  long_hair = rng.random() < (0.6, 0.08)[sex]
  thigh, calf = radius("thigh"), radius("calf")
  return Subject(
    name=name,
    sex=sex,
    height=height,
    stoutness=float(np.sqrt(m["waistcircumference"] / height / 0.535)),
    thigh=m["trochanterionheight"] - m["kneeheightmidpatella"],
    shank=m["kneeheightmidpatella"] - m["lateralmalleolusheight"],
    foot=m["footlength"],
    ankle_height=m["lateralmalleolusheight"],
    upper_arm=0.9 * m["shoulderelbowlength"],
    forearm=m["radialestylionlength"],
    hand=0.7 * m["handlength"],
    trunk=m["acromialheight"] - m["trochanterionheight"],
    neck=height - m["acromialheight"] - skull,
    hip_half=0.32 * m["bicristalbreadth"],
    shoulder_half=0.44 * m["biacromialbreadth"],
    skull=skull,
    jaw=0.53 * m["headbreadth"],
    thigh_radii=(0.88 * thigh, 0.5 * (thigh + radius("lowerthigh")), 0.9 * radius("lowerthigh")),
    shank_radii=(0.87 * calf, 0.94 * calf, 1.05 * radius("ankle")),
    arm_radii=(0.98 * m["bicepscircumferenceflexed"] / (2 * np.pi), 0.9 * m["forearmcircumferenceflexed"] / (2 * np.pi),
               1.15 * radius("wrist")),
    foot_radii=(0.43 * m["footbreadthhorizontal"], 0.3 * m["footbreadthhorizontal"]),
    widths=np.array([0.7 * hip, hip, (hip + waist) / 2, 0.93 * waist, 1.08 * chest, 1.1 * chest, 0.7 * chest, neck]),
    depths=np.array([0.78 * seat, 0.95 * seat, 0.5 * (seat + belly), 0.93 * belly, 0.95 * breast, 0.82 * breast,
                     0.65 * breast, 0.95 * neck]),
    forward=height * (FORWARD + np.array([0.5, 1, 0.4, 0, 0, 0, 0, 0]) * posture[0]
                      + np.array([0, 0, 0.7, 1, 0.4, 0, 0, 0]) * (posture[1] + 0.4 * (belly - 0.95 * breast) / height)
                      + np.array([0, 0, 0, 0.2, 1, 0.6, 0.2, 0]) * posture[2]),
    hair=height * rng.uniform(0.022, 0.045) if long_hair else 0.0,
    hair_drop=height * rng.uniform(-0.02, 0.10) if long_hair else 0.0,
  )  # fmt: skip


def step_length(subject: Subject, speed: float, deviation: float) -> float:
  """Length of a step in metres at `speed` in m/s; `deviation` is the person's, added to the logarithm."""
  return subject.height * float(np.exp(STEP[0] + STEP[1] * np.log(speed) + STEP[2] * (1 - subject.sex) + deviation))


def draw_tempo(rng: np.random.Generator) -> tuple[float, float]:
  """(cadence, step length) of one walk as factors of the person's own; their product is the factor of the speed."""
  speed = around_one(rng, SPEED_SPREADS[1])
  length = float(speed ** STEP[1] * around_one(rng, STEP_SPREADS[1]))
  return float(speed / length), length
