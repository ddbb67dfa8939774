"""The network of fine-tuning: heads, necks, and prompts that change nothing but what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fgait_jax.errors import ConfigError
from fgait_jax.models.backbones import create_network
from fgait_jax.models.discriminant import Discriminant
from fgait_jax.models.network import head_input
from fgait_jax.models.prompts import PixelBorder, add_prompts
from fgait_jax.models.recognition import ClassHead, DiscriminantHead, IdentityHead, Neck, Recognizer


def recognizer(name="transformer", head="identity", tokens=0, pixels=0):
  network = create_network(name=name, variant="test", rngs=nnx.Rngs(0))
  add_prompts(network, tokens=tokens, pixels=pixels, frame=(64, 44, 1), rngs=nnx.Rngs(2))
  made = Recognizer(network, head=head, classes=5, features=6, rngs=nnx.Rngs(1))
  made.eval()
  return made


def test_scores_are_cosines_of_normalised_embeddings():
  neck = Neck(2, 4, 3, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(0), (8, 2, 4))
  found = neck(x)
  flat = x.reshape(8, -1)
  normal = (flat - flat.mean(0)) / jnp.sqrt(flat.var(0) + 1e-5) * neck.norm.norm.scale[...]
  normal, kernel = normal.reshape(x.shape), neck.classes.kernel[...]
  cosine = jnp.einsum("bpd,pdc->bpc", normal, kernel)
  cosine /= jnp.linalg.norm(normal, axis=-1)[..., None] * jnp.linalg.norm(kernel, axis=1)
  np.testing.assert_allclose(found, cosine, atol=1e-5)


def test_heads_see_the_direction_of_a_projection_and_pooled_parts_as_they_are():
  x = jax.random.normal(jax.random.key(0), (4, 31, 8))
  np.testing.assert_array_equal(head_input(7 * x, None), 7 * x)
  for head in (IdentityHead(31, 8, 6, 5, rngs=nnx.Rngs(0)), ClassHead(31, 8, 3, rngs=nnx.Rngs(0))):
    found, longer = head(head_input(x, x)), head(head_input(x, 7 * x))
    np.testing.assert_allclose(found.logits, longer.logits, atol=1e-5)
    np.testing.assert_allclose(found.embedding, longer.embedding, atol=1e-6)
  assert found.logits.shape == (4, 1, 3)


def test_a_discriminant_that_is_learnt_further_is_the_one_that_a_network_ends_in():
  head, closing = DiscriminantHead(31, 8, 6, 5, rngs=nnx.Rngs(0)), Discriminant(31, 8, 6)
  head.mean[...] = closing.mean[...] = jax.random.normal(jax.random.key(1), (31 * 8,)) / 9
  closing.kernel[...] = head.embed.kernel[0]
  pooled = jax.random.normal(jax.random.key(0), (4, 31, 8))
  found = head(pooled)
  np.testing.assert_allclose(found.embedding, closing(pooled), atol=1e-6)
  np.testing.assert_allclose(head(7 * pooled).embedding, found.embedding, atol=1e-6)
  towards = head.classes.kernel[0] / jnp.linalg.norm(head.classes.kernel[0], axis=0)
  np.testing.assert_allclose(found.logits[:, 0], found.embedding[:, 0] @ towards, atol=1e-6)


@pytest.mark.parametrize("name", ["transformer", "p3d"])
@pytest.mark.parametrize("head, embedding, logits", [
  ("identity", (4, 31, 6), (4, 31, 5)), ("classes", (4, 1, 31 * 16), (4, 1, 5))])
def test_shapes_whole_and_in_strips(name, head, embedding, logits):
  frames, valid = jnp.zeros((4, 4, 64, 44, 1)), jnp.ones((4, 4), bool)
  for crops in ((), (2, 1)):
    found = nnx.eval_shape(lambda crops=crops: recognizer(name, head)(frames, valid, crop_list=crops))
    wide = 31 * 8 if head == "classes" and name == "transformer" else embedding[-1]
    assert found.embedding.shape == (*embedding[:-1], wide)
    assert found.logits.shape == logits


def test_prompt_tokens_keep_every_path_and_join_in():
  plain = nnx.eval_shape(recognizer)
  prompted = nnx.jit(lambda: recognizer(tokens=3))()
  paths = [set(nnx.to_flat_state(nnx.state(m, nnx.Param)).paths) for m in (plain, prompted)]
  assert paths[1] - paths[0] == {("encoder", "prompt_tokens")}
  assert paths[0] <= paths[1]
  frames = jax.random.uniform(jax.random.key(0), (2, 4, 64, 44, 1))
  valid = jnp.ones((2, 4), bool)
  run = nnx.jit(lambda network, *clips: network(*clips).embedding)
  before = run(prompted, frames, valid)
  prompted.encoder.prompt_tokens[...] *= 50  # a constant would vanish in layer norm
  after = run(prompted, frames, valid)
  assert np.abs(before - after).max() > 1e-6
  assert before.shape == nnx.eval_shape(lambda network: network(frames, valid), plain).embedding.shape


def test_an_encoder_without_tokens_takes_no_prompts():
  with pytest.raises(ConfigError, match="prompt_tokens=2: this encoder takes no tokens"):
    recognizer("p3d", tokens=2)


def test_the_border_is_learned_and_the_inside_is_left_alone():
  border = PixelBorder((64, 44, 1), width=3)
  frames = jax.random.uniform(jax.random.key(0), (1, 2, 64, 44, 1))
  np.testing.assert_array_equal(border(frames), frames)
  border.prompt_pixels[...] += 1.0
  changed = np.asarray(border(frames) != frames)[0, 0, ..., 0]
  assert not changed[3:-3, 3:-3].any()
  assert changed.sum() == 64 * 44 - 58 * 38
