"""Real data from installed packages or from files: English text and natural images, their symbols and correlations."""

from hierlib.real import correlation, images, text
from hierlib.real.vocabulary import Vocabulary

__all__ = ["Vocabulary", "correlation", "images", "text"]
