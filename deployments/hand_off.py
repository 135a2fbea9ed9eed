"""Moved: see `tasks.mx.hand_off`."""

from tasks.mx.hand_off import BY_MESSAGE, FORGOTTEN, SOURCE, WISH, HandedOff, Outcome, hand_off

__all__ = ["BY_MESSAGE", "FORGOTTEN", "SOURCE", "WISH", "HandedOff", "Outcome", "hand_off"]
