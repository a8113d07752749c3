"""Who is it: enrolment, verification and identification on the device, against sealed templates."""

from nearfar.edge.verify.decision import Decision, Enrolment, Identification
from nearfar.edge.verify.verifier import Verifier

__all__ = ["Decision", "Enrolment", "Identification", "Verifier"]
