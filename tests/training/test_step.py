"""The teacher's average against its closed form. The step as a whole is tested through the loop."""

import jax.numpy as jnp
import numpy as np

from fgait_jax.training.step import ema_rate


def test_momentum_of_the_teacher_is_the_reference_curve():
  """m(t) = 1 - 0.01 (cos(pi t / (T - 1)) + 1) / 2 after t updates; figures of FoundationGait A2."""
  steps = 40_001
  for t, expected in ((10_000, 0.991465), (20_000, 0.995), (30_000, 0.998536), (36_000, 0.999755)):
    np.testing.assert_allclose(1 - ema_rate(jnp.int32(t - 1), start=0.99, steps=steps), expected, atol=1e-6)


def test_teacher_stands_still_at_the_end():
  assert float(ema_rate(jnp.int32(9), start=0.99, steps=11)) == 0.0  # t = 10 = T - 1
  assert float(ema_rate(jnp.int32(10), start=0.99, steps=11)) == 0.0
  assert float(ema_rate(jnp.int32(0), start=0.99, steps=1)) == 0.0
