"""Data: pools of images, the long-tailed subset that is cut from them, decoding, and the data card."""

from tailwise.data.card import data_card, draw_card, format_card
from tailwise.data.images import decode, decode_many, find_unreadable
from tailwise.data.index import LongTailIndex, Pool, UnreadableImage, pool_checksum
from tailwise.data.open import Splits, guess_source, open_data, prepare_index
from tailwise.data.profiles import class_profile, cut_long_tail, select
from tailwise.data.synthetic import synthetic_pool

__all__ = [
    "LongTailIndex",
    "Pool",
    "Splits",
    "UnreadableImage",
    "class_profile",
    "cut_long_tail",
    "data_card",
    "decode",
    "decode_many",
    "draw_card",
    "find_unreadable",
    "format_card",
    "guess_source",
    "open_data",
    "pool_checksum",
    "prepare_index",
    "select",
    "synthetic_pool",
]
