"""Runners in this process leave no trace for the tests after them."""

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(scope='module', autouse=True)
def restored_scope():
    """A runner sets the default scope for whatever is built later."""
    before = DefaultScope._instance_dict.copy()
    yield
    DefaultScope._instance_dict = before
