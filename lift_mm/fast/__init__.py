"""Leaner ways to compute what the modules of a frozen net say.

Plain torch functions that know nothing of tuners. What they compute equals
the modules' own arithmetic to the last bit; what they keep for the backward
pass is less. ``lift_mm.tuners.speed`` puts them into a net.
"""
