"""Structured identity mapping: the order in which concepts are learned, and the swing-by (chapter *SIM dynamics*)."""
