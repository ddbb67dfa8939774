"""Pretrains one gait foundation model on silhouette sequences and evaluates it on every public gait task."""

__version__ = "0.2.0.dev0"
