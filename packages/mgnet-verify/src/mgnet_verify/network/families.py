"""Importing this module makes every family known that has a specification."""

from mgnet_verify.network import plain, resnet, sparse_coding

__all__ = ["plain", "resnet", "sparse_coding"]
