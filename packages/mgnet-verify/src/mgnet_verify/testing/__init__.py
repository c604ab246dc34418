"""For tests of your own networks: generated configurations, and the properties as tests."""

from mgnet_verify.testing.cases import Case, cases, holds
from mgnet_verify.testing.entry import properties_of, verify

__all__ = ["Case", "cases", "holds", "properties_of", "verify"]
