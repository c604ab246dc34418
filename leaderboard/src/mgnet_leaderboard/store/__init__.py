"""The folder of records: its schema, reading, writing, ingestion, and the check of a contribution."""
