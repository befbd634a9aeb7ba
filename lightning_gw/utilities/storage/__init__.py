"""What is written to disk and read back: whole files, JSON and YAML that cannot do harm."""
