"""The same examples in every run, without a clock and without a database."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    'lift_mm',
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    # A folder of the test serves all its examples, which overwrite it.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
settings.load_profile('lift_mm')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Give a folder that the examples of a module share."""
    return tmp_path_factory.mktemp('properties')
