"""How much of the data and how much noise x_t = a_t x_0 + b_t eps has, at each t. Other modules import from here."""

from ngldm.diffusion.schedules.schedule import Schedule, make_schedule

__all__ = ["Schedule", "make_schedule"]
