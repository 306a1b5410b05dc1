"""Predictors of a subnet's latency on one target."""
