"""A config for images of one's own, with a reason for each choice."""

from .recommendation import Recommendation, recommend

__all__ = ['Recommendation', 'recommend']
