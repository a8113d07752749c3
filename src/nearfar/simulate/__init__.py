"""Made data whose truth is known: machines, plants and voices with physics, a shop with customers, a factory with photos and a log, for tests, demonstrations and figures."""

from nearfar.simulate.bearing import Bearing
from nearfar.simulate.disturbance import Disturbance
from nearfar.simulate.factory import FactoryRecord, simulate_factory
from nearfar.simulate.machine import MachineFault, Regime, RotatingMachine
from nearfar.simulate.plant import Plant, Upset, simulate_plant
from nearfar.simulate.rotating_machine import simulate_machine
from nearfar.simulate.shop import ShopEvent, simulate_shop, write_shop
from nearfar.simulate.shop_items import ShopItems
from nearfar.simulate.voices import Utterance, simulate_voices
from nearfar.simulate.write_csv import write_csv
from nearfar.simulate.write_factory import write_factory
from nearfar.simulate.write_wav import write_wav

__all__ = [
    "Bearing",
    "Disturbance",
    "FactoryRecord",
    "MachineFault",
    "Plant",
    "Regime",
    "RotatingMachine",
    "ShopEvent",
    "ShopItems",
    "Upset",
    "Utterance",
    "simulate_factory",
    "simulate_machine",
    "simulate_plant",
    "simulate_shop",
    "simulate_voices",
    "write_csv",
    "write_factory",
    "write_shop",
    "write_wav",
]
