"""Backbones: from images to feature maps, by name; see :mod:`tailwise.models.backbone`."""

from __future__ import annotations

from tailwise.models.backbone import Backbone, backbone_names, build_backbone

__all__ = ["Backbone", "backbone_names", "build_backbone"]
