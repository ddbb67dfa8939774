"""Re-exports the frame normaliser of `fgait_jax/data` for scripts that prepare data."""

from fgait_jax.data.normalise import FrameRefused, normalise, normalise_frame

__all__ = ["FrameRefused", "normalise", "normalise_frame"]
