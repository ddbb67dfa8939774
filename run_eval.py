"""Evaluates a network or embeddings, from a checkout; `--help` and fgait_jax/commands/evaluate.py say how."""

from fgait_jax.commands import evaluate

if __name__ == "__main__":
  evaluate.run()
