"""Array types, and the one-letter names of axes in all signatures.

  b  batch (sequences or clips)     t  time (frames)          h w  pixels, top to bottom, left to right
  k  clips per sequence             n  tokens                 c    channels of the input (1 for silhouettes)
  s  temporal slots of a token grid r  rows of the grid (16)  q    columns of the grid
  d  features                       p  horizontal parts (31)  e    embedding channels

Three words, never a bare "mask":
  valid    True where a frame is real, False where it pads a short sequence.
  visible  True where the encoder sees the token.
  masked   valid & ~visible: where the reconstruction loss is taken.
"""

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

__all__ = ["Array", "Bool", "Float", "Int", "PRNGKeyArray", "UInt8"]
