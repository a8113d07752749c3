"""Trained encoders to the ONNX graphs that ship."""

from __future__ import annotations

from nearfar.learn.export.image import export_image_graph
from nearfar.learn.export.model import export_picture_model, export_text_model
from nearfar.learn.export.text import export_graph

__all__ = ["export_graph", "export_image_graph", "export_picture_model", "export_text_model"]
