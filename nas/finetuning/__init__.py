"""Subnets of a run trained alone: to be exported, or to see what a supernet's ranks are worth."""
