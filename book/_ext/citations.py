"""Citations by author and year, with a letter where two would read alike; a bibliography sorted by author.

``Sclocchi et al. [2025a]`` in the text is ``[Sclocchi et al., 2025a]`` in the bibliography.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass

import sphinxcontrib.bibtex.plugin
from pybtex.database import Entry, Person
from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting import BaseSortingStyle
from sphinx.application import Sphinx
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle
from sphinxcontrib.bibtex.style.template import node

NAME = "author_year_letter"


def last_name(person: Person) -> str:
    """Return the last name as it is printed, with accents and particles."""
    return str(Text(" ").join([*person.rich_prelast_names, *person.rich_last_names]))


def authors(entry: Entry) -> list[str]:
    """Return the last names of the authors, or of the editors, or the title."""
    people = entry.persons.get("author") or entry.persons.get("editor")
    return [last_name(p) for p in people] if people else [str(Text.from_latex(entry.fields["title"]))]


def label(entry: Entry) -> str:
    """Return authors and year as they stand in the text, without a letter."""
    names = authors(entry)
    names = names if len(names) < 3 else [f"{names[0]} et al."]
    return f"{' and '.join(names)}, {entry.fields.get('year', 'n.d.')}"


class Labels(BaseLabelStyle):
    """``Sclocchi et al., 2025a``: a letter only where it is needed, in the order of the bibliography."""

    def format_labels(self, sorted_entries):
        plain = [label(entry) for entry in sorted_entries]
        total, seen = Counter(plain), Counter()
        for text in plain:
            yield text + (chr(ord("a") + seen[text]) if total[text] > 1 else "")
            seen[text] += 1


class ByAuthor(BaseSortingStyle):
    """By the label's authors, year and title, as a reader looks them up; accents and case do not count."""

    def sorting_key(self, entry):
        names, _, year = label(entry).rpartition(", ")
        bare = unicodedata.normalize("NFKD", names).encode("ascii", "ignore").decode().lower()
        return bare, year, str(Text.from_latex(entry.fields["title"])).lower()


class Bibliography(Style):
    """Entries as pybtex's ``unsrt`` writes them, sorted and labelled."""

    default_label_style = NAME
    default_sorting_style = NAME


@node
def lettered(children, data):
    """Format a reference with the year of the entry's label, which has the letter."""
    entry = data["entry"]
    year = data["formatted_entry"].label.rpartition(", ")[2]
    dated = Entry(entry.type, {**entry.fields, "year": year}, entry.persons)
    return children[0].format_data({**data, "entry": dated})


@dataclass
class Reference(AuthorYearReferenceStyle):
    """References by author and year whose year has the letter of the label."""

    def inner(self, role_name):
        return lettered[super().inner(role_name)]


def setup(app: Sphinx) -> dict:
    """Register the styles for _config.yml."""
    register_plugin("pybtex.style.labels", NAME, Labels)
    register_plugin("pybtex.style.sorting", NAME, ByAuthor)
    register_plugin("pybtex.style.formatting", NAME, Bibliography)
    sphinxcontrib.bibtex.plugin.register_plugin("sphinxcontrib.bibtex.style.referencing", NAME, Reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
