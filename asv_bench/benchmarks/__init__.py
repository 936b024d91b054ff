"""Benchmarks of groupconv, one module per question asked of it."""
