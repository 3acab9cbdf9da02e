"""Directives that state what was measured, generated from the stored results while the book is built.

``{findings} [chapter]``
    A chapter's findings: what the papers say, what we find with its error, the verdict, and where it stands.
``{claims-table} [chapter]``
    With a chapter, its checks, folded: intervals and what was measured. Without, what did not reproduce, then a section
    for each chapter with its findings and its checks.
``{verdicts}``
    How many findings of each chapter have which verdict.
``{reproducibility-table}``
    What each stored run used and cost: device, threads, time, versions; where the paper-scale runs come from.
``{chapter-facts} [chapter]``
    A card for a chapter's head: time, claims, paper scale, a link to Colab.
"""

from __future__ import annotations

import re
from pathlib import Path

import stored
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from hierlib.lab.claims import VERDICTS

WORDS = dict(zip(VERDICTS, ("verdict-holds", "verdict-small", "verdict-missed", "verdict-new"), strict=True))
WORDS[""] = "verdict-holds"
BOX = re.compile(r'class="claim claim-(\w+)" id="claim-([^"]+)"')


def table(head: list[str], rows: list[list], widths: list[int], classes: list[str]) -> nodes.table:
    """Return a table; a cell is a text or a list of nodes."""

    def row(cells):
        out = nodes.row()
        for cell in cells:
            content = nodes.paragraph("", cell) if isinstance(cell, str) else nodes.paragraph("", "", *cell)
            out += nodes.entry("", content)
        return out

    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=w) for w in widths]
    group += nodes.thead("", row(head))
    group += nodes.tbody("", *[row(r) for r in rows])
    return nodes.table("", group, classes=["ledger", *classes])


def soft(text: str, *classes: str) -> nodes.inline:
    """Return text in the quiet colour."""
    return nodes.inline("", text, classes=["ledger-soft", *classes])


def count(chapters: list[stored.Chapter]) -> str:
    """Return the line that counts findings by their verdict, and checks."""
    claims = [c for chapter in chapters for c in chapter.claims]
    if not claims:
        return "No claim is stored yet."
    verdicts = [c["verdict"] for c in claims if c.get("verdict")]
    each = ", ".join(f"{n} {verdict}" for verdict in VERDICTS if (n := verdicts.count(verdict)))
    failing = sum(not c["holds"] for c in claims)
    places = f"{len(chapters)} chapter{'s' * (len(chapters) != 1)}"
    outside = f"{failing} outside their intervals." if failing else "all inside their intervals."
    kinds = f" ({each})" * bool(each)
    return f"{len(verdicts)} findings in {places}{kinds} and {len(claims) - len(verdicts)} checks; {outside}"


class Ledger(SphinxDirective):
    """What the directives share."""

    optional_arguments = 1
    has_content = False

    @property
    def root(self) -> Path:
        return Path(self.env.srcdir)

    def chapter(self, name: str) -> stored.Chapter:
        """Read a chapter and rebuild this page whenever its results change."""
        for path in (stored.notebook_path(self.root, name), stored.paper_path(self.root, name)):
            self.env.note_dependency(str(path))  # one that is missing makes the page stale, as it should
        return stored.load(self.root, name)

    def chapters(self) -> list[stored.Chapter]:
        """Read all chapters, those that are not run yet left out."""
        self.env.note_dependency(str(self.root / "_toc.yml"))
        return [c for c in map(self.chapter, stored.names(self.root)) if c.claims or c.run]

    def link(self, chapter: str, text: str, anchor: str = "", classes: tuple[str, ...] = ()) -> nodes.Node:
        """Return a link to a chapter's page; plain text where the book has no such page."""
        target = f"book/{chapter}"
        if target not in self.env.found_docs or self.env.app.builder.format != "html":
            return nodes.inline("", text, classes=list(classes))
        uri = self.env.app.builder.get_relative_uri(self.env.docname, target)
        uri += f"#{anchor}" if anchor else ""
        return nodes.reference("", text, internal=True, refuri=uri, classes=list(classes))

    def mark(self, chapter: stored.Chapter, c: dict, text: str) -> list[nodes.Node]:
        word = WORDS[c.get("verdict", "")] if c["holds"] else "verdict-fails"
        return [self.link(chapter.name, text, f"claim-{c['name']}", ("verdict", word))]

    def measured(self, chapter: stored.Chapter, c: dict) -> list[nodes.Node]:
        """Return what was measured, and at paper scale where the chapter was run there."""
        there = chapter.paper_claims.get(c["name"])
        more = f"at paper scale {stored.measured(there)}" if there else "not measured at paper scale"
        return [nodes.strong("", stored.measured(c))] + [soft(more, "ledger-source")] * bool(chapter.paper_run)

    def findings(self, chosen: list[tuple[stored.Chapter, dict]], inside: bool = False) -> nodes.Node:
        """Return a table of findings, those that did not reproduce first: on a chapter's own page, or on another."""
        rows = []
        for chapter, c in sorted(chosen, key=lambda pair: pair[1]["verdict"] != VERDICTS[2]):
            # plain text, as on the chapter's page: an asterisk is an asterisk (ε*)
            we = [nodes.Text(f"{c['about']}: "), *self.measured(chapter, c)]
            if inside:
                last = nodes.reference("", "", internal=True, refuri="", classes=["where"], claim=c["name"])
            else:
                last = soft(c["source"])
            rows.append([c["paper"] or [soft("–")], we, self.mark(chapter, c, c["verdict"]), [last]])
        head = ["The papers say", "We find", "Verdict", "Section" if inside else "Source"]
        return table(head, rows, [30, 38, 16, 16], ["ledger-claims", "ledger-findings"])


class ClaimsTable(Ledger):
    """``{claims-table}``."""

    def checks(self, chapter: stored.Chapter) -> list[nodes.Node]:
        """Return the table of a chapter's checks, folded."""
        chosen = [(chapter, c) for c in chapter.claims if not c.get("verdict")]
        if not chosen:
            return []
        bad = sum(not c["holds"] for _, c in chosen)
        told = f"{len(chosen)} checks, {f'{bad} outside their intervals' if bad else 'all inside their intervals'}"
        fold = f'<details class="checks"><summary>{told}</summary>'
        rows = [[[nodes.Text(c.get("about") or c["name"]), soft(c.get("source", ""), "ledger-source")], c["interval"],
                 self.measured(chapter, c), self.mark(chapter, c, "✓ holds" if c["holds"] else "✗ fails")]
                for _, c in chosen]
        head = ["Check and source", "Interval", "Measured", "Verdict"]
        content = table(head, rows, [46, 20, 20, 14], ["ledger-claims"])
        return [nodes.raw("", fold, format="html"), content, nodes.raw("", "</details>", format="html")]

    def run(self) -> list[nodes.Node]:
        if self.arguments:
            return self.checks(self.chapter(self.arguments[0])) or [nodes.paragraph("", "No check is stored yet.")]
        chapters = self.chapters()
        out: list[nodes.Node] = [nodes.paragraph("", count(chapters), classes=["ledger-count"])]
        not_there = [(k, c) for k in chapters for c in k.claims if c.get("verdict") == VERDICTS[2]]
        if not_there:
            title = nodes.title("", "What did not reproduce")
            key = nodes.make_id(title.astext())
            out.append(nodes.section("", title, self.findings(not_there), ids=[key], names=[key]))
        for chapter in chapters:
            section = nodes.section(ids=[f"claims-{chapter.name}"], names=[f"claims-{chapter.name}"])
            title, messages = self.state.inline_text(chapter.title, self.lineno)
            section += [nodes.title("", "", *title), *messages]
            section += nodes.paragraph("", "", self.link(chapter.name, "read the chapter"))
            found = [(chapter, c) for c in chapter.claims if c.get("verdict")]
            section += [self.findings(found)] * bool(found) + self.checks(chapter)
            out.append(section)
        return out


class Findings(Ledger):
    """``{findings}``."""

    def run(self) -> list[nodes.Node]:
        chapter = self.chapter(self.arguments[0] if self.arguments else Path(self.env.docname).name)
        found = [(chapter, c) for c in chapter.claims if c.get("verdict")]
        return [self.findings(found, inside=True)] if found else [nodes.paragraph("", "No finding is stored yet.")]


def finish(app: Sphinx, doctree: nodes.document) -> None:
    """Let each finding lead to the section that made it, and a folded cell of claims say what it holds."""
    where = {}
    for section in doctree.findall(nodes.section):                  # the innermost comes last
        for raw in section.findall(nodes.raw):
            where |= dict.fromkeys((name for _, name in BOX.findall(raw.astext())), section)
    for link in list(doctree.findall(lambda n: isinstance(n, nodes.reference) and "claim" in n)):
        if section := where.get(link["claim"]):
            link["refuri"] = f"#{section['ids'][0]}"
            link += nodes.Text(section.next_node(nodes.title).astext())
        else:
            link.parent.replace(link, soft("–"))
    for cell in doctree.findall(lambda n: isinstance(n, nodes.container) and "prompt_show" in n):
        if names := [kind for raw in cell.findall(nodes.raw) for kind, _ in BOX.findall(raw.astext())]:
            bad = names.count("fails")
            cell["prompt_show"] = cell["prompt_hide"] = (
                f"{len(names)} result{'s' * (len(names) != 1)} of this section, "
                f"{f'{bad} outside the' if bad else 'inside the'} intervals of the tests")


class Verdicts(Ledger):
    """``{verdicts}``."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for chapter in self.chapters():
            found = [c.get("verdict") for c in chapter.claims]
            rows.append([[self.link(chapter.name, chapter.title)],
                         *(str(found.count(v)) if v in found else [soft("–")] for v in VERDICTS)])
        return [table(["Findings", *VERDICTS], rows, [32, 15, 22, 17, 14], [])]


class ReproducibilityTable(Ledger):
    """``{reproducibility-table}``."""

    def run(self) -> list[nodes.Node]:
        chapters = self.chapters()
        if not chapters:
            return [nodes.paragraph("", "No chapter is stored yet.")]
        packages = list(dict.fromkeys(p for c in chapters for p in c.run.get("versions", {})))
        costs = [
            [
                [self.link(c.name, c.title)],
                str(c.run.get("device", "–")),
                str(c.run.get("threads", "–")),
                stored.duration(c.run["seconds"]) if "seconds" in c.run else "–",
                stored.duration(c.run["cpu_seconds"]) if "cpu_seconds" in c.run else "–",
                f"{c.holding} of {len(c.claims)}",
            ]
            for c in chapters
        ]
        versions = [
            [[self.link(c.name, c.title)], *(c.run.get("versions", {}).get(p, "–") for p in packages)]
            for c in chapters
        ]
        paper = [self.paper(c) for c in chapters if c.paper_run]
        head = ["Chapter", "Device", "Threads", "Wall time", "CPU time", "Claims that hold"]
        head_paper = ["Chapter", "Device", "Wall time", "Commit", "Date", "Versions"]
        parts = [
            self.part("The stored runs (quick scale)", table(head, costs, [24, 34, 8, 12, 12, 10], [])),
            self.part("Versions", table(["Chapter", *packages], versions, [24] + [12] * len(packages), [])),
        ]
        if paper:
            parts.append(self.part("Runs at paper scale", table(head_paper, paper, [24, 20, 10, 12, 12, 22], [])))
        return parts

    def paper(self, chapter: stored.Chapter) -> list:
        run, title = chapter.paper_run, [self.link(chapter.name, chapter.title)]
        commit, _, dirty = str(run.get("commit", "–")).partition("-")
        versions = ", ".join(f"{k} {v}" for k, v in run.get("versions", {}).items())
        return [
            title,
            str(run.get("device", "–")),
            stored.duration(run["seconds"]) if "seconds" in run else "–",
            [nodes.literal("", commit[:10]), nodes.Text(" with changes" if dirty else "")],
            str(run.get("date", "–")),
            versions or "–",
        ]

    def part(self, title: str, content: nodes.Node) -> nodes.section:
        key = nodes.make_id(title)
        return nodes.section("", nodes.title("", title), content, ids=[key], names=[key])


class ChapterFacts(Ledger):
    """``{chapter-facts}``."""

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0] if self.arguments else Path(self.env.docname).name
        chapter, run = self.chapter(name), self.chapter(name).run
        facts = []
        if "seconds" in run:
            threads = run.get("threads", 1)
            threads = f"{threads} CPU thread{'s' * (threads != 1)}"
            facts.append(("Runs in", f"{stored.duration(run['seconds'])} on {threads}"))
        if chapter.claims:
            found = sum(bool(c.get("verdict")) for c in chapter.claims)
            rest = len(chapter.claims) - chapter.holding
            findings = f"{found} findings, " * bool(found)
            facts.append(("States", f"{findings}{len(chapter.claims) - found} checks"
                          + f"; {rest} outside their intervals" * bool(rest)))
        if paper := chapter.paper_run:
            time = f" in {stored.duration(paper['seconds'])}" if "seconds" in paper else ""
            facts.append(("Paper scale", f"run on {paper.get('device', 'a GPU')}{time}"))

        card = nodes.container(classes=["chapter-facts"])
        for label, text in facts:
            line = nodes.paragraph(classes=["fact"])
            line += [nodes.inline("", label, classes=["fact-label"]), nodes.Text(" " + text)]
            card += line
        badge = nodes.paragraph(classes=["fact"])
        address = stored.colab(self.root, name)
        badge += nodes.reference("", "Open in Colab", refuri=address, classes=["colab-badge"])
        card += badge
        return [card]


def setup(app: Sphinx) -> dict:
    """Register the directives."""
    app.add_directive("findings", Findings)
    app.add_directive("verdicts", Verdicts)
    app.add_directive("claims-table", ClaimsTable)
    app.add_directive("reproducibility-table", ReproducibilityTable)
    app.add_directive("chapter-facts", ChapterFacts)
    app.connect("doctree-read", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
