"""Random views of pictures: what is drawn, what is done with it, and how it looks."""

from nearfar.learn.views.batch import ViewBatch
from nearfar.learn.views.draw import Draws
from nearfar.learn.views.geometry import plain
from nearfar.learn.views.random_views import Views
from nearfar.learn.views.sheet import sheet, write_png
from nearfar.learn.views.throughput import views_per_second_core

__all__ = ["Draws", "ViewBatch", "Views", "plain", "sheet", "views_per_second_core", "write_png"]
