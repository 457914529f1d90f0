"""What a stage minimises: a tuple of objectives, each a weighted fraction of sums over samples."""

from tailwise.objectives.base import BoundObjective, Objective
from tailwise.objectives.classification import Classification
from tailwise.objectives.per_expert import PerExpert
from tailwise.objectives.pretext import Pretext
from tailwise.objectives.reslt import ResLT
from tailwise.objectives.ride import Ride
from tailwise.objectives.scaled import Scaled

__all__ = ["BoundObjective", "Classification", "Objective", "PerExpert", "Pretext", "ResLT", "Ride", "Scaled"]
