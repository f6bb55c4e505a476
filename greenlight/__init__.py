"""Retrain, prove, release, reproduce and undo models by name."""

__version__ = "0.1.0"
