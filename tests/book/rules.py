"""What a stored notebook must fulfil, as functions that return a line per fault: also tried on bad notebooks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from hierlib.lab.claims import parse
from tools.execute import is_progress

GLUE = re.compile(r"\{glue:[a-z]*\}`([^`]+)`|^\s*```\{glue:?[a-z]*\}\s+(\S+)", re.MULTILINE)
FIGURE_REFERENCE = re.compile(r"\{(?:numref|ref)\}`(?:[^`<]*<)?(fig-[^`>]+)>?`")
FIGURE_POINTS = 530  # the column of a page of 1280 px is 512 points wide
# numpy.random names that make a generator of their own; everything else there draws from the global one
NUMPY_OK = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator"}
# torch functions and tensor methods that draw, from the global generator unless one is handed over
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "multinomial", "bernoulli", "poisson"}
IN_PLACE = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_")
TENSOR_DRAWS = {*IN_PLACE, "multinomial"}
TORCH_NEVER = {"manual_seed", "seed", "rand_like", "randn_like", "randint_like"}


def code(nb: NotebookNode) -> list[NotebookNode]:
    """Return the code cells."""
    return [c for c in nb.cells if c.cell_type == "code"]


def outputs(nb: NotebookNode) -> Iterator[tuple[NotebookNode, NotebookNode]]:
    """Yield (cell, output) for all outputs."""
    for cell in code(nb):
        for output in cell.outputs:
            yield cell, output


def first_line(cell: NotebookNode) -> str:
    """Return what names a cell in a message."""
    return next((line for line in cell.source.splitlines() if line.strip()), "(empty cell)")


def run_order(nb: NotebookNode) -> list[str]:
    """Every code cell was run once, from the top: nbval passes a cell that was never run."""
    counts = [c.execution_count for c in code(nb)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts {counts}"]


def bad_outputs(nb: NotebookNode) -> list[str]:
    """No output is an error, was written to stderr or is a bar of progress."""
    bad = [c for c, o in outputs(nb) if o.output_type == "error" or o.get("name") == "stderr" or is_progress(o)]
    return [f"error, stderr or progress: {first_line(c)}" for c in bad]


def sizes(nb: NotebookNode) -> list[str]:
    """One cell, tagged ``sizes``, holds all that the scale decides."""
    tagged = [c for c in code(nb) if "sizes" in c.metadata.get("tags", [])]
    faults = [] if len(tagged) == 1 else [f"{len(tagged)} cells with the tag sizes"]
    return faults + [
        f"the scale decides outside of the sizes cell: {first_line(c)}"
        for c in code(nb)
        if c not in tagged
        for n in ast.walk(parsed(c.source))
        if isinstance(n, ast.Call) and _dotted(n.func).rsplit(".", 1)[-1] in ("by_scale", "scale")
    ]


def claims(nb: NotebookNode, chapter: str) -> list[str]:
    """Every claim holds, says what about and from where, is named once, and stands in a checked cell."""
    faults, names = [], []
    for cell, output in outputs(nb):
        claim = output.get("metadata", {}).get("claim")
        if claim is None:
            continue
        name = claim["name"]
        names.append(name)
        low, high = parse(claim["interval"])
        if not (low <= claim["measured"] <= high and claim["holds"] is True):
            faults.append(f"{name}: {claim['measured']} is not {claim['interval']}")
        faults += [f"{name}: no {key}" for key in ("about", "source") if not claim.get(key, "").strip()]
        if not name.startswith(f"{chapter}."):
            faults.append(f"{name}: not named {chapter}.KEY")
        if "nbval-check-output" not in cell.metadata.get("tags", []):
            faults.append(f"{name}: its cell lacks the tag nbval-check-output")
        if claim["interval"] not in output["data"]["text/plain"]:
            faults.append(f"{name}: its text does not state its interval")
    faults += [f"{name}: claimed more than once" for name in sorted({n for n in names if names.count(n) > 1})]
    called = sum(
        isinstance(n, ast.Call) and _dotted(n.func).rsplit(".", 1)[-1] in ("check", "finding")
        for c in code(nb)
        for n in ast.walk(parsed(c.source))
    )
    if called and not names:
        faults.append("claims are made but none is stored")
    return faults


def glued(nb: NotebookNode) -> set[str]:
    """Return the names that the notebook's outputs glue."""
    records = [o.get("metadata", {}).get("scrapbook") for _, o in outputs(nb)]
    return {r["name"] for r in records if r}


def glue(nb: NotebookNode, elsewhere: set[str]) -> list[str]:
    """Every name that the text shows was glued by this chapter or another."""
    known, faults = glued(nb) | elsewhere, []
    for cell in nb.cells:
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
        for match in GLUE.finditer(cell.source if cell.cell_type == "markdown" else str(caption)):
            key = (match[1] or match[2]).split("::")[-1].split(":")[0]
            if key not in known:
                faults.append(f"glued nowhere: {key}")
    return faults


def agrees(nb: NotebookNode, source: NotebookNode) -> list[str]:
    """The notebook is its source cell by cell: type, text, metadata, id."""

    def form(cell):
        return cell.cell_type, cell.source, dict(cell.metadata), cell["id"]

    if len(nb.cells) != len(source.cells):
        return [f"{len(nb.cells)} cells, the source has {len(source.cells)}"]
    pairs = enumerate(zip(nb.cells, source.cells, strict=True))
    return [f"cell {i} differs from its source: {first_line(b)}" for i, (a, b) in pairs if form(a) != form(b)]


def figures(nb: NotebookNode) -> list[str]:
    """Every figure has a caption, a name of its own beginning with fig-, and alt text; every reference meets one."""
    faults, names = [], []
    for cell in code(nb):
        images = [m for o in cell.outputs for m in o.get("data", {}) if m.startswith("image/")]
        settings = cell.metadata.get("mystnb", {})
        if not images and "figure" not in settings:
            continue
        where, figure = first_line(cell), settings.get("figure", {})
        if len(images) > 1:
            faults.append(f"more than one image: {where}")
        if not str(figure.get("caption", "")).strip():
            faults.append(f"figure without caption: {where}")
        if len(GLUE.sub("number", str(figure.get("caption", ""))).split()) > 60:
            faults.append(f"caption of more than 60 words: {where}")
        drawings = ["".join(o.get("data", {}).get("image/svg+xml", "")) for o in cell.outputs]
        wide = [float(found[1]) for x in drawings if (found := re.search(r'<svg\b[^>]*? width="([\d.]+)pt"', x))]
        if max(wide, default=0) > FIGURE_POINTS:
            faults.append(f"wider than the page, so its text shrinks: {max(wide):.0f} pt: {where}")
        if not str(figure.get("name", "")).startswith("fig-"):
            faults.append(f"figure without a name fig-…: {where}")
        if images and len(str(settings.get("image", {}).get("alt", "")).strip()) < 15:
            faults.append(f"figure without alt text: {where}")
        names.append(figure.get("name"))
    faults += [f"figure name {n} more than once" for n in sorted({n for n in names if n and names.count(n) > 1})]
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    known = set(names) | set(re.findall(r"^:name:\s*(fig-\S+)", text, flags=re.MULTILINE))
    return faults + [f"no such figure: {n}" for n in sorted(set(FIGURE_REFERENCE.findall(text)) - known)]


def code_on_the_page(nb: NotebookNode, lines: int = 350, cell: int = 25, columns: int = 88) -> list[str]:
    """Code that a page shows teaches: few lines in a cell and in all, and no line is wider than the page."""
    hidden = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
    shown = [c for c in code(nb) if not hidden & set(c.metadata.get("tags", []))]
    count = [len(c.source.splitlines()) for c in shown]
    faults = [f"{n} lines: {first_line(c)}" for c, n in zip(shown, count, strict=True) if n > cell]
    faults += [f"{len(x)} columns: {x}" for c in shown for x in c.source.splitlines() if len(x) > columns]
    return faults + [f"{sum(count)} lines of code on the page"] * (sum(count) > lines)


def findings(nb: NotebookNode) -> list[str]:
    """Five to eight headline results, most with a standard error; the page's text states no interval."""
    found = [o.metadata["claim"] for _, o in outputs(nb) if o.get("metadata", {}).get("claim", {}).get("verdict")]
    faults = [] if 5 <= len(found) <= 8 else [f"{len(found)} findings"]
    without = [c["name"] for c in found if c["error"] is None]
    faults += [f"findings without an error: {without}"] * (len(without) > 2)
    faults += [f"{c['name']}: what does the paper say?" for c in found if not c["paper"] and c["verdict"] != "new here"]
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    return faults + [f"an interval in the text: {x}" for x in re.findall(r"checked (?:to lie )?in \{glue.*", text)]


def parsed(source: str) -> ast.Module:
    """Return the syntax tree of a cell, IPython's own lines left out."""
    return ast.parse("\n".join("" if re.match(r"\s*[%!]", line) else line for line in source.splitlines()))


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(node.id if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


def _aliases(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                found |= {alias.asname: alias.name} if alias.asname else {top: top}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def imports(nb: NotebookNode, allowed: set[str]) -> list[str]:
    """No package is imported but those allowed: Colab's install cell brings hierlib alone."""
    found = {full.split(".")[0]: c for c in code(nb) for full in _aliases(parsed(c.source)).values()}
    return [f"imports {name}: {first_line(c)}" for name, c in found.items() if name not in allowed]


def randomness(nb: NotebookNode) -> list[str]:
    """Nothing draws from a global or unseeded generator."""
    trees = [(c, parsed(c.source)) for c in code(nb)]
    aliases = {name: full for _, tree in trees for name, full in _aliases(tree).items()}
    faults = []
    for cell, tree in trees:
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            head, _, rest = _dotted(call.func).partition(".")
            full = ".".join(filter(None, (aliases.get(head, head), rest)))
            if fault := _draw(full, call):
                faults.append(f"{fault}: {first_line(cell)}")
    return faults


def _draw(full: str, call: ast.Call) -> str:
    room, _, name = full.rpartition(".")
    keywords = {k.arg for k in call.keywords}
    if room == "numpy.random" and name not in NUMPY_OK:
        return f"numpy's global generator ({name})"
    if full == "numpy.random.default_rng" and not call.args and not keywords:
        return "default_rng() without a seed"
    if full == "numpy.random.SeedSequence" and not call.args and not keywords:
        return "SeedSequence() without entropy"
    if room == "random" or full.startswith("random."):
        return f"Python's global generator (random.{name})"
    if room in ("torch", "torch.cuda", "torch.random"):
        if name in TORCH_NEVER or (name in TORCH_DRAWS and "generator" not in keywords):
            return f"torch's global generator ({full})"
    elif name in TENSOR_DRAWS and "generator" not in keywords and not room.endswith("rng"):
        return f"torch's global generator (.{name})"
    return ""


def install_cell(nb: NotebookNode, text: str) -> list[str]:
    """The first code cell is the install cell, to the byte."""
    return [] if code(nb)[0].source == text.rstrip("\n") else ["the first code cell is not book/install_cell.py"]


def semicolons(nb: NotebookNode) -> list[str]:
    """No cell ends with ``;``: IPython then hides its output, which nbval does not see."""
    return [f"ends with ;: {first_line(c)}" for c in code(nb) if c.source.rstrip().endswith(";")]
