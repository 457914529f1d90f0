"""Auxiliary learning (zhang2019balance): its tables as data, and the settings under which they are trained."""

from tailwise.recipes.auxiliary_learning.tables import table1, table2, table3, table4, table5

__all__ = ["table1", "table2", "table3", "table4", "table5"]
