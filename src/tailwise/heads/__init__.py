"""Heads: from feature maps to logits; see :mod:`tailwise.heads.base`."""

from __future__ import annotations

from tailwise.heads.base import Head, HeadModule
from tailwise.heads.cosine import Cosine
from tailwise.heads.linear import Linear
from tailwise.heads.lws import LWS
from tailwise.heads.multi import Multi

__all__ = ["LWS", "Cosine", "Head", "HeadModule", "Linear", "Multi"]
