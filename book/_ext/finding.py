"""The search finds chapters before the library's pages, and a word in British and in American spelling.

Index and query are brought to one spelling by the same rules, here in Python and there in JavaScript.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

# understood by Python and JavaScript alike
RULES = (
    (r"(\w{3})is(e[ds]?|er|ers|ing|ations?|able)$", "$1iz$2"),
    (r"(\w{3})ys(e[ds]?|er|ers|ing)$", "$1yz$2"),
    (r"^(arm|behavi|col|fav|harb|lab|neighb|rig|vap)our", "$1or"),
    (r"(\w{2})tre(s?)$", "$1ter$2"),
    (r"([ae])ll(ed|ing)$", "$1l$2"),
)


def one_spelling(word: str) -> str:
    """Return a lower-case word in the spelling of the index."""
    for pattern, put in RULES:
        word = re.sub(pattern, put.replace("$", "\\"), word)
    return word


QUERY = """
Stemmer = ((Plain) => function () {
  const stem = new Plain().stemWord;
  const rules = [RULES];
  this.stemWord = (word) => stem(rules.reduce((w, [pattern, put]) => w.replace(pattern, put), word.toLowerCase()));
})(Stemmer);
""".replace("RULES", ", ".join(f'[/{pattern}/, "{put}"]' for pattern, put in RULES))


class Search(SearchEnglish):
    """English, in either spelling."""

    js_stemmer_code = SearchEnglish.js_stemmer_code + QUERY

    def stem(self, word: str) -> str:
        return super().stem(one_spelling(word.lower()))


def _rank(app: Sphinx, config) -> None:
    config.html_search_scorer = str(Path(__file__).with_name("scorer.js"))


def setup(app: Sphinx) -> dict:
    """Replace Sphinx's English, and name the file that ranks."""
    app.add_search_language(Search)
    app.connect("config-inited", _rank)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
