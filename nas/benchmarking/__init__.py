"""Predictors and searchers on published tables, where the truth is known."""
