"""Pretrains one gait foundation model on silhouette sequences and evaluates it on every public gait task."""
