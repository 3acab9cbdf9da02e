"""Real data from installed packages or from files: English text, its symbols and its correlations."""

from hierlib.real import coherence, text
from hierlib.real.vocabulary import Vocabulary

__all__ = ["Vocabulary", "coherence", "text"]
