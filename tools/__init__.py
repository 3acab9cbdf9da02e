"""Small scripts around the book, run as ``python -m tools.NAME`` from the repository root."""
