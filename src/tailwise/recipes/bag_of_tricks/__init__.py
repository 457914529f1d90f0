"""Bag of Tricks (zhang2021bag): its tables as data, and the bag itself."""

from tailwise.recipes.bag_of_tricks.bag import bag_of_tricks, bag_of_tricks_200, bag_of_tricks_official
from tailwise.recipes.bag_of_tricks.combined import table9, table10, table11
from tailwise.recipes.bag_of_tricks.one_stage import table2, table3, table4, table5, table6
from tailwise.recipes.bag_of_tricks.two_stage import table7, table8

__all__ = [
    "bag_of_tricks",
    "bag_of_tricks_200",
    "bag_of_tricks_official",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "table8",
    "table9",
    "table10",
    "table11",
]
