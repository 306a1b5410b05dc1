"""Subnets outside the supernet: norm calibration, evaluation, measured samples."""
