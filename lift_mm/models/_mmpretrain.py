"""Imported first: says clearly why mmpretrain cannot be imported."""

from lift_mm.compat import import_mmpretrain_models

import_mmpretrain_models()
