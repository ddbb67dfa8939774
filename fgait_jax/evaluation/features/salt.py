"""A secret rotation of embeddings, one for each deployment: distances stay, and embeddings of two deployments, or of
one and of none, do not match.

Each part is turned by an orthogonal matrix of its own, drawn from the SHA-256 of a key file. It hides nothing within a
deployment, and who holds enough walks both salted and plain can compute the matrices: see SECURITY.md.
"""

import dataclasses
import hashlib
import os

import numpy as np

from fgait_jax.errors import ConfigError
from fgait_jax.evaluation.labels import Features
from fgait_jax.paths import local_path

FEWEST, MOST = 32, 1 << 20  # bytes of a key file


@dataclasses.dataclass(frozen=True)
class Salt:
  """What a key file stands for; `name` tells two apart and gives away nothing of the key."""

  digest: bytes = dataclasses.field(repr=False)

  @property
  def name(self) -> str:
    return hashlib.sha256(b"name of the salt" + self.digest).hexdigest()[:16]

  def apply(self, found: Features) -> Features:
    """`found` with each part [C] of its embeddings turned; rounded to float32 once."""
    count, channels, parts = found.embeddings.shape
    turned = np.empty((count, channels, parts), np.float32)
    for part in range(parts):
      turned[:, :, part] = found.embeddings[:, :, part].astype(np.float64) @ self.rotation(part, channels)
    return dataclasses.replace(found, embeddings=turned)

  def rotation(self, part: int, channels: int) -> np.ndarray:
    """The orthogonal matrix float64 [channels, channels] of a part, uniform among all (Mezzadri 2007,
    math-ph/0609050): its numbers come from SHAKE-256, which no version of a library changes."""
    stream = hashlib.shake_256(self.digest + part.to_bytes(4, "big")).digest(16 * channels * channels)
    uniform = ((np.frombuffer(stream, "<u8") >> 11) + 0.5).reshape(2, channels, channels) / 2**53
    normal = np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1])
    basis, triangle = np.linalg.qr(normal)
    return basis * np.sign(np.diag(triangle))


def load(path: str | os.PathLike, key: str = "config.salt") -> Salt:
  """That of a key file, which the caller's `key` names. Raises `ConfigError` where it cannot be read, or is too short
  to be secret."""
  file = local_path(path, key)
  try:
    with file.open("rb") as stream:
      secret = stream.read(MOST + 1)
  except OSError as error:
    make = f"; make one by: head -c {FEWEST} /dev/urandom > {path}" if isinstance(error, FileNotFoundError) else ""
    raise ConfigError(f"{key}={path} cannot be read ({error.strerror or error}){make}") from error
  if not FEWEST <= len(secret) <= MOST:
    size = f"{len(secret)} bytes" if len(secret) <= MOST else f"more than {MOST} bytes"
    raise ConfigError(f"{key}={path} holds {size}, and a key {FEWEST} to {MOST}: it is no key file; name another one,"
                      f" such as one that head -c {FEWEST} /dev/urandom > NEW_FILE makes")
  return Salt(hashlib.sha256(secret).digest())
