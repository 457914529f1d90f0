"""Feature Space Augmentation for Long-Tailed Data (chu2020feature): its tables and figures as data."""

from tailwise.recipes.feature_space_augmentation.cifar import table1, table2
from tailwise.recipes.feature_space_augmentation.figures import figure8, figure9, sweep_draws, sweep_tau
from tailwise.recipes.feature_space_augmentation.full_size import table3, table4

__all__ = ["figure8", "figure9", "sweep_draws", "sweep_tau", "table1", "table2", "table3", "table4"]
