"""Made data whose truth is known: machines and plants with physics, for tests, demonstrations and figures."""

from nearfar.simulate.bearing import Bearing
from nearfar.simulate.disturbance import Disturbance
from nearfar.simulate.machine import MachineFault, Regime, RotatingMachine
from nearfar.simulate.plant import Plant, Upset, simulate_plant
from nearfar.simulate.rotating_machine import simulate_machine
from nearfar.simulate.write_csv import write_csv

__all__ = [
    "Bearing",
    "Disturbance",
    "MachineFault",
    "Plant",
    "Regime",
    "RotatingMachine",
    "Upset",
    "simulate_machine",
    "simulate_plant",
    "write_csv",
]
