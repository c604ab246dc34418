"""For tests of your own networks: generated configurations, the properties on them, and variants of our source."""

from mgnet_verify.testing.cases import Case, cases, holds

__all__ = ["Case", "cases", "holds"]
