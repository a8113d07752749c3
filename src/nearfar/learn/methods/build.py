"""The method that a recipe for pictures asks for."""

from __future__ import annotations

from nearfar.errors import RunError
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.methods.barlow_twins import BarlowTwins
from nearfar.learn.methods.byol import Byol
from nearfar.learn.methods.classifier import Classifier
from nearfar.learn.methods.densecl import DenseCl
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.methods.instance_discrimination import InstanceDiscrimination
from nearfar.learn.methods.moco_v2 import MocoV2
from nearfar.learn.methods.moco_v3 import MocoV3
from nearfar.learn.methods.nnclr import Nnclr
from nearfar.learn.methods.simclr import SimClr
from nearfar.learn.methods.simsiam import SimSiam
from nearfar.learn.methods.sup_con import SupCon
from nearfar.learn.methods.swav import Swav
from nearfar.learn.methods.vicreg import VicReg
from nearfar.recipe import methods as settings_of
from nearfar.recipe.methods import ImageMethodSettings


def build_image_method(
    settings: ImageMethodSettings, encoder: ImageEncoder, *, items: int, classes: int
) -> ImageMethod:
    """The method that a recipe asks for, with fresh heads and empty memory.

    Slow copies are made of the encoder as it is: load its weights and call `normalise_by` before.

    Args:
        settings: the recipe's method block.
        encoder: what is to be trained.
        items: how many pictures the corpus has, numbered from 0.
        classes: how many labels it has; 0 where there are none.

    Raises:
        RunError: the method learns by labels, and there are fewer than two.
    """
    if settings.needs_labels and classes < 2:
        raise RunError(
            f"method '{settings.kind}' learns by labels and needs at least two, but the pictures have {classes or 'none'}: put "
            "them into a folder for each label, name the column of labels, or choose a method that needs none, such as simclr"
        )
    match settings:
        case settings_of.SimClr():
            return SimClr(encoder, settings)
        case settings_of.MocoV2():
            return MocoV2(encoder, settings)
        case settings_of.MocoV3():
            return MocoV3(encoder, settings)
        case settings_of.Byol():
            return Byol(encoder, settings)
        case settings_of.Swav():
            return Swav(encoder, settings)
        case settings_of.SimSiam():
            return SimSiam(encoder, settings)
        case settings_of.BarlowTwins():
            return BarlowTwins(encoder, settings)
        case settings_of.VicReg():
            return VicReg(encoder, settings)
        case settings_of.SupCon():
            return SupCon(encoder, settings)
        case settings_of.Nnclr():
            return Nnclr(encoder, settings)
        case settings_of.DenseCl():
            return DenseCl(encoder, settings)
        case settings_of.InstanceDiscrimination():
            return InstanceDiscrimination(encoder, settings, items=items)
        case settings_of.Classifier():
            return Classifier(encoder, settings, classes=classes)
