"""Exact search and evaluation, jitted."""
