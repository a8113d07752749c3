"""The method over views that a recipe asks for, whatever they are views of."""

from __future__ import annotations

from nearfar.errors import RunError
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.methods.arc_face import ArcFace
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
from nearfar.learn.methods.triplet import TripletIdentity
from nearfar.learn.methods.vicreg import VicReg
from nearfar.recipe import identity as identity_settings
from nearfar.recipe import methods as settings_of
from nearfar.recipe.identity import IdentityMethodSettings
from nearfar.recipe.methods import ImageMethodSettings

ViewMethodSettings = ImageMethodSettings | IdentityMethodSettings


def views_looked_at(settings: ViewMethodSettings, *, identity: bool) -> int | None:
    """How many views of each item a method looks at, the first ones; None for all that there are.

    Args:
        settings: the recipe's method block.
        identity: whether the batch holds several items of each label, as the pairing `identity` has it.
    """
    one = isinstance(settings, settings_of.Classifier | IdentityMethodSettings)
    return 1 if one or (identity and isinstance(settings, settings_of.SupCon)) else None


def build_view_method(settings: ViewMethodSettings, encoder: ViewEncoder, *, items: int, classes: int) -> ImageMethod:
    """The method that a recipe asks for, with fresh heads and empty memory.

    Slow copies are made of the encoder as it is: load its weights and call `normalise_by` before.

    Args:
        settings: the recipe's method block.
        encoder: what is to be trained.
        items: how many pictures or recordings the corpus has, numbered from 0.
        classes: how many labels there are to learn, numbered from 0; 0 where there are none.

    Raises:
        RunError: the method learns by labels, and there are fewer than two.
    """
    if settings.needs_labels and classes < 2:
        raise RunError(
            f"method '{settings.kind}' learns by labels and needs at least two, but the data have {classes or 'none'}: put "
            "items into a folder for each label, name the column of labels, or choose a method that needs none, such as simclr"
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
            assert isinstance(encoder, ImageEncoder)
            return DenseCl(encoder, settings)
        case settings_of.InstanceDiscrimination():
            return InstanceDiscrimination(encoder, settings, items=items)
        case settings_of.Classifier():
            return Classifier(encoder, settings, classes=classes)
        case identity_settings.ArcFace():
            return ArcFace(encoder, settings, classes=classes)
        case identity_settings.TripletIdentity():
            return TripletIdentity(encoder, settings)
