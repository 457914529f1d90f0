"""Heads: from feature maps to logits; see :mod:`tailwise.heads.base`."""

from __future__ import annotations

from tailwise.heads.base import Head, HeadModule
from tailwise.heads.cosine import Cosine
from tailwise.heads.experts import Experts
from tailwise.heads.linear import Linear
from tailwise.heads.lws import LWS
from tailwise.heads.multi import Multi
from tailwise.heads.reslt import ResLT

__all__ = ["LWS", "Cosine", "Experts", "Head", "HeadModule", "Linear", "Multi", "ResLT"]
