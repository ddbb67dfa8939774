"""The frame normaliser where scripts that prepare data have always found it; it lives in `fgait_jax/data`."""

from fgait_jax.data.normalise import FrameRefused, normalise, normalise_frame

__all__ = ["FrameRefused", "normalise", "normalise_frame"]
