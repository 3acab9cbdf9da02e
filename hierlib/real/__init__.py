"""Real data from packages or files: English text, natural images, letters in many fonts; correlations and features."""

from hierlib.real import correlation, features, glyphs, images, text
from hierlib.real.vocabulary import Vocabulary

__all__ = ["Vocabulary", "correlation", "features", "glyphs", "images", "text"]
