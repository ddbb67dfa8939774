"""Pretrains a gait network, from a checkout; `--help` and fgait_jax/commands/pretrain.py say how."""

from fgait_jax.commands import pretrain

if __name__ == "__main__":
  pretrain.run()
