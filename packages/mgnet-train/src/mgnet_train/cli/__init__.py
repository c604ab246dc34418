"""The commands of mgnet-train, one file each. A command's file imports torch only when it runs."""
