"""Figures from stored results, never from a live trainer; classes stand in the order of their training images."""
