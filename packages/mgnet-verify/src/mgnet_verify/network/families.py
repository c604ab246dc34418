"""Importing this module makes every family known that has a specification."""

from mgnet_verify.network import msdnet, plain, resnet, sparse_coding

__all__ = ["msdnet", "plain", "resnet", "sparse_coding"]
