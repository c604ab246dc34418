"""The package as it is passes every check by which planted defects are caught, one test for each check."""

import pytest

from verify.mutation.checks import ALL_CHECKS, VariantCheck, failures
from verify.mutation.variants import installed


@pytest.mark.parametrize("check", ALL_CHECKS, ids=str)
def test_the_package_passes(check: VariantCheck) -> None:
    assert dict(failures(installed(), [check])) == {}
