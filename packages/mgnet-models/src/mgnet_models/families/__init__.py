"""The networks around MgNet: one file for each family, with its names in the registry of timm."""
