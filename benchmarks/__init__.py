"""Measurements; each script ends with a table and a JSON file under results/."""
