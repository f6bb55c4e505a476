"""What happens when: order, retries, names and effects of the flows. No arithmetic, no threshold, no path.

The flows' docstrings describe their parameters under ``Args:`` and not in numpydoc: Prefect's form reads nothing else.
"""
