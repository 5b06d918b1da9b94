"""Supervised cross-modal hashing in JAX."""

__version__ = "0.1.0"
