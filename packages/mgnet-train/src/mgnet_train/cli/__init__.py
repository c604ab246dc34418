"""The command mgnet-train: one file for each subcommand. A subcommand imports torch only when it runs."""
