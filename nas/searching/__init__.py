"""What the search chooses from and how: problems, searchers, and the choice among measured
finalists.
"""
