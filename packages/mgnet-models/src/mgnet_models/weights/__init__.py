"""Files of weights: our own, those that come with the package, and those of the released code."""
