"""ResLT (cui2022reslt): the method, its tables as data, and its figures as tables."""

from tailwise.recipes.reslt.cifar import table1, table5, table9
from tailwise.recipes.reslt.figures import figure3, figure4, figure5, figure7
from tailwise.recipes.reslt.full_size import table2, table3, table4, table6, table7, table8
from tailwise.recipes.reslt.method import ce_reslt_settings, reslt, reslt_as_printed

__all__ = [
    "ce_reslt_settings",
    "figure3",
    "figure4",
    "figure5",
    "figure7",
    "reslt",
    "reslt_as_printed",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "table8",
    "table9",
]
