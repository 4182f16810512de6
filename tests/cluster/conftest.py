"""A private Ray that the tests of this folder share."""

import pytest

from cluster.session import connect


@pytest.fixture(scope="package")
def ray_session():
    """Two cores of a private Ray, started once and ended with them."""
    with connect(None, cpus=2, gpus=0) as session:
        yield session
