"""What happens when: order, retries, names and effects of the flows. No arithmetic, no threshold, no path."""
