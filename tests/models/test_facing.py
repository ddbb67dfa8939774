"""Walks centred and facing one way: what must not matter does not, and sides are told apart, of real people too."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_prep.sources.crowd import CrowdSource
from fgait_jax.data.schema import mirrored
from fgait_jax.models import facing
from fgait_jax.models.backbones import create_network
from fgait_jax.models.recognition import Recognizer


@pytest.fixture(scope="module")
def walks() -> dict[int, np.ndarray]:
  """Clips float32 [8, 64, 44, 1] in 0..1 of the crowd, by the camera's azimuth, degrees."""
  found = {}
  for walk in CrowdSource(subjects=6, walks=8).splits()["train"]:
    found[int(walk.view)] = walk.read().frames[:32:4, :, 10:54, None].astype(np.float32) / 255
  return found


def face(clip: np.ndarray) -> np.ndarray:
  return np.asarray(facing.face(jnp.asarray(clip)[None], jnp.ones((1, len(clip)), bool)))[0]


def sine(clip: np.ndarray) -> float:
  image = jnp.asarray(clip.mean(axis=(0, 3)))[None]
  return float(facing.azimuth_sine(image, facing.median_column(image))[0])


def from_the_side(walks):
  """Those of which the map is sure: all but one."""
  found = {view: clip for view, clip in walks.items() if abs(np.sin(np.radians(view))) > 0.5}
  sure = {view: clip for view, clip in found.items() if abs(sine(clip)) > facing.UNSURE}
  assert len(sure) == len(found) - 1 == 29
  return sure


def test_the_sine_of_the_azimuth_is_told_and_the_right_side_turned(walks):
  error = [sine(clip) - np.sin(np.radians(view)) for view, clip in walks.items()]
  assert np.sqrt(np.mean(np.square(error))) < 0.3  # of a sine whose own is 0.7
  for view, clip in from_the_side(walks).items():
    assert np.sign(sine(clip)) == (1 if view < 180 else -1)
    assert sine(face(clip)) > 0
    np.testing.assert_array_equal(face(clip), clip if view < 180 else mirrored(clip))


def test_neither_side_nor_place_matters_nor_is_anything_done_twice(walks):
  for clip in from_the_side(walks).values():
    once = face(clip)
    np.testing.assert_array_equal(face(once), once)
    np.testing.assert_array_equal(face(mirrored(clip))[:, :, 1:], once[:, :, 1:])  # column 0 has no mirror image
    np.testing.assert_array_equal(face(clip[:, :, ::-1])[:, :, 2:-2], once[:, :, 2:-2])  # one pixel off before
    for pixels in (-3, 2):
      np.testing.assert_array_equal(face(np.roll(clip, pixels, axis=2))[:, :, 4:-4], once[:, :, 4:-4])


def test_a_walk_of_which_it_is_unsure_stays_as_it_is(walks):
  clip = next(iter(from_the_side(walks).values()))
  for asked in (-0.05, 0.05, -0.15):
    share = (1 + asked / sine(clip)) / 2
    mixed = (share * clip + (1 - share) * mirrored(clip)).astype(np.float32)  # asymmetry is linear, the median stays
    mixed[:, :, 0] = 0  # has no mirror image
    assert sine(mixed) == pytest.approx(asked, abs=0.01)
    np.testing.assert_array_equal(face(mixed), mixed if asked > -facing.UNSURE else mirrored(mixed))


def test_padding_and_other_walks_have_no_influence_and_without_a_body_nothing_happens(walks):
  left, right = (next(clip for view, clip in walks.items() if 60 < view % 180 < 120 and (view < 180) == side)
                 for side in (True, False))
  frames = np.stack([left, right, np.zeros_like(left)])
  padded = np.concatenate([frames, frames[[1, 0, 0]], frames[[1, 0, 0]]], axis=1)  # most of it walks the other way
  valid = np.arange(padded.shape[1])[None] < np.array([[8], [8], [8]])
  found = np.asarray(facing.face(jnp.asarray(padded), jnp.asarray(valid)))[:, :8]
  np.testing.assert_array_equal(found, np.stack([face(left), face(right), frames[2]]))


def test_asymmetry_is_right_less_left_from_the_column_beside_the_median_outwards():
  image = np.zeros((1, 64, 44), np.float32)
  for column, place, value in ((22, None, 0), (23, 0, 1), (26, 0, 1), (27, 1, 1), (42, 4, 1), (43, None, 0),
                               (21, 0, -1), (18, 0, -1), (17, 1, -1), (2, 4, -1), (1, None, 0)):
    image[:] = 0
    image[0, 9, column] = 1
    expected = np.zeros((8, 5))
    if place is not None:
      expected[1, place] = value / 2 / 32  # half of a pixel among 8 x 4
    np.testing.assert_allclose(facing.asymmetry(jnp.asarray(image), jnp.array([22]))[0], expected)


@pytest.mark.parametrize(("width", "channels"), [(64, 1), (45, 1), (32, 1), (44, 3)])
def test_any_width_and_several_channels(walks, width, channels):
  view, clip = next(iter(from_the_side(walks).items()))
  wide = np.pad(clip, [(0, 0), (0, 0), (10, 10), (0, 0)])
  middle, left = 32, width // 2
  clip = np.repeat(wide[:, :, middle - left : middle - left + width], channels, axis=3)
  turned = np.zeros_like(clip)
  columns = [(c, 2 * left - c) for c in range(width) if 0 <= 2 * left - c < width]
  turned[:, :, [c for c, _ in columns]] = clip[:, :, [other for _, other in columns]]
  np.testing.assert_array_equal(face(clip), clip if view < 180 else turned)
  np.testing.assert_array_equal(face(turned)[:, :, 1:-1], face(clip)[:, :, 1:-1])


def test_a_network_with_facing_does_not_see_the_side_and_one_without_does(walks):
  clip = next(clip for view, clip in walks.items() if 60 < view < 120).copy()
  clip[:, :, 0] = 0  # has no mirror image
  both = jnp.stack([jnp.asarray(clip), jnp.asarray(mirrored(clip))])
  valid = jnp.ones(both.shape[:2], bool)
  for turns in (True, False):
    network = create_network(name="transformer", variant="test", facing=turns, rngs=nnx.Rngs(0))
    network.eval()
    embedded = np.asarray(network.embed(both, valid).pooled)
    taught = network.pretrain(both, valid, crop_list=(1,), masked_fractions=(0.0,), key=jax.random.key(0)).prediction
    tuned = Recognizer(network, head="identity", classes=3, features=4, rngs=nnx.Rngs(1))
    tuned.eval()
    for found in (embedded, np.asarray(taught), np.asarray(tuned(both, valid).embedding)):
      assert np.allclose(found[0], found[1], atol=1e-5) == turns



def test_the_sides_of_real_people_are_told_apart(shared_data):
  """KTH's walks to the left (`p1-l`) show the left side, those to the right the right one."""
  sides = {"l": [], "r": []}
  for path in sorted(shared_data.glob("kth/opengait/*/d?/*/*.pkl")):
    frames = np.asarray(pickle.loads(path.read_bytes()))
    sides[path.stem[-1]].append(sine(frames[:, :, 10:54, None].astype(np.float32) / 255))
  left, right = (np.array(values) for values in sides.values())
  assert min(len(left), len(right)) > 100
  assert np.mean(left > facing.UNSURE) > 0.98
  assert np.mean(right < -facing.UNSURE) > 0.98
