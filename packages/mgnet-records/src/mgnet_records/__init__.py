"""The documents that the MgNet packages exchange, each declared once. Import from the modules."""
