"""The stored notebooks, checked without a kernel; each rule is also shown to catch what it is there for."""

import importlib.util
import re
import runpy
import subprocess
import sys
import types
from importlib import metadata

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.book import rules
from tests.book.conftest import ROOT
from tools import address, execute

INSTALL = ROOT / "book" / "install_cell.py"


def elsewhere() -> set[str]:
    """Return the names glued by any chapter."""
    names = set()
    for path in (ROOT / "book").glob("*.ipynb"):
        names |= rules.glued(nbformat.read(path, as_version=4))
    return names


def test_there_is_a_chapter():
    assert list((ROOT / "book" / "src").glob("*.md"))


def test_every_notebook_has_a_source():
    sources = {p.stem for p in (ROOT / "book" / "src").glob("*.md")}
    assert {p.stem for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts} <= sources


def test_was_run_once_from_the_top(nb):
    assert rules.run_order(nb) == []


def test_no_error_and_no_stderr(nb):
    assert rules.bad_outputs(nb) == []


def test_claims_hold_and_are_checked(nb, chapter):
    assert rules.claims(nb, chapter) == []


def test_glued_names_exist(nb):
    assert rules.glue(nb, elsewhere()) == []


def test_agrees_with_its_source(nb, chapter):
    source = (ROOT / "book" / "src" / f"{chapter}.md").read_text(encoding="utf-8")
    assert rules.agrees(nb, execute.from_source(source)) == []


def test_figures_have_caption_name_and_alt_text(nb):
    assert rules.figures(nb) == []


def test_findings_are_few_and_have_errors(nb):
    assert rules.findings(nb) == []


def test_code_on_the_page_is_short(nb):
    assert rules.code_on_the_page(nb) == []


def test_imports_run_time_dependencies_only(nb):
    needed = {re.match(r"\w+", line)[0] for line in metadata.requires("hierlib") if "extra ==" not in line}
    assert rules.imports(nb, {"hierlib", *needed, *sys.stdlib_module_names}) == []


def test_no_unseeded_randomness(nb):
    assert rules.randomness(nb) == []


def test_install_cell_is_the_same_everywhere(nb):
    assert rules.install_cell(nb, INSTALL.read_text(encoding="utf-8")) == []


def test_no_cell_hides_its_output(nb):
    assert rules.semicolons(nb) == []


def test_sizes_stand_in_one_cell(nb):
    assert rules.sizes(nb) == []


def test_is_small(nb, chapter):
    assert (ROOT / "book" / f"{chapter}.ipynb").stat().st_size < 2_000_000


def test_says_how_it_was_made(nb):
    made = nb.metadata["hierlib"]
    assert made["scale"] == "quick" and made["device"].startswith("CPU")
    assert made["threads"] >= 1 and made["seconds"] > 0 and made["cpu_seconds"] > 0
    assert set(made["versions"]) == {"python", *execute.PACKAGES}


def test_its_cover_is_stored(nb, chapter):
    picture = (ROOT / "book" / "_static" / f"{chapter}.svg").read_text(encoding="utf-8")
    assert picture and picture == execute.cover(nb)
    assert f"book/_static/{chapter}.svg" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_has_a_card_at_its_head(chapter):
    assert "{chapter-facts}" in (ROOT / "book" / "src" / f"{chapter}.md").read_text(encoding="utf-8")


# -- the install cell ------------------------------------------------------------------------------------------


def run_install_cell(monkeypatch) -> list[str]:
    """Run the cell as the notebook would; return the commands it started."""
    started = []

    def record(command, *args, **kwargs):
        started.append(command if isinstance(command, str) else " ".join(map(str, command)))
        return subprocess.CompletedProcess(command, 0, "", "")

    for name in ("run", "check_call", "check_output", "call", "Popen"):
        monkeypatch.setattr(subprocess, name, record)
    runpy.run_path(str(INSTALL))
    return started


def test_install_cell_does_nothing_elsewhere(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    assert run_install_cell(monkeypatch) == []


def test_install_cell_says_how_where_hierlib_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=f"hierlib is not installed here.*pip install.*{address.repository()}"):
        run_install_cell(monkeypatch)


def test_install_cell_installs_hierlib_alone_in_colab(monkeypatch):
    google, colab = types.ModuleType("google"), types.ModuleType("google.colab")
    google.colab, google.__path__ = colab, []
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    (command,) = run_install_cell(monkeypatch)
    assert "pip install" in command and "--no-deps" in command and address.repository() in command


# -- each rule catches what it is there for --------------------------------------------------------------------


def made(*cells, **metadata):
    return new_notebook(cells=list(cells), metadata=metadata)


def claim_cell(tags=("nbval-check-output",), **changes):
    claim = {"name": "x.k", "interval": "0.5 ± 0.1", "measured": 0.5, "about": "a", "source": "b", "holds": True}
    claim |= changes
    data = {"text/plain": f"[check {claim['name']}] 0.5 ± 0.1: holds"}
    output = new_output("display_data", data, metadata={"claim": claim})
    return new_code_cell("claims.check(...)", outputs=[output], metadata={"tags": list(tags)})


@pytest.mark.parametrize("counts", [[1, None], [2, 1], [1, 3], [1, 1]])
def test_rule_run_order(counts):
    assert rules.run_order(made(*(new_code_cell("1", execution_count=k) for k in counts)))


def test_rule_outputs():
    error = new_output("error", ename="E", evalue="", traceback=[])
    for bad in (error, new_output("stream", name="stderr", text="w")):
        assert rules.bad_outputs(made(new_code_cell("1", outputs=[bad])))
    assert not rules.bad_outputs(made(new_code_cell("1", outputs=[new_output("stream", name="stdout", text="w")])))
    progress = new_output("display_data", {"text/plain": ""}, metadata={"hierlib": "progress"})
    assert rules.bad_outputs(made(new_code_cell("1", outputs=[progress])))


def test_rule_sizes():
    chosen = new_code_cell("n = lab.by_scale(quick=1, paper=2)", metadata={"tags": ["sizes"]})
    assert rules.sizes(made(chosen, new_code_cell("n + 1"))) == []
    for later in ("n = lab.by_scale(quick=1, paper=2)", 'n = 1 if lab.scale() == "quick" else 2'):
        assert rules.sizes(made(chosen, new_code_cell(later)))
    second = new_code_cell("k = 1", metadata={"tags": ["sizes"]})
    assert rules.sizes(made(new_code_cell("n = 1"))) and rules.sizes(made(chosen, second))


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": 0.61},
        {"measured": float("nan")},
        {"holds": False},
        {"about": ""},
        {"source": " "},
        {"name": "y.k"},
        {"tags": ()},
        {"interval": "0.5 ± 0.2"},
    ],
)
def test_rule_claims(changes):
    assert not rules.claims(made(claim_cell()), "x")
    assert rules.claims(made(claim_cell(**changes)), "x")


def test_rule_claims_once_and_stored():
    assert rules.claims(made(claim_cell(), claim_cell()), "x")
    assert rules.claims(made(new_code_cell('claims.check("k", 1, "> 0", "about")')), "x")


def test_rule_glue():
    text = new_markdown_cell("It is {glue:text}`x.k` and {glue:text}`y.k:s`.")
    assert rules.glue(made(text), set()) == ["glued nowhere: x.k", "glued nowhere: y.k"]
    assert rules.glue(made(text), {"x.k", "y.k"}) == []
    caption = {"mystnb": {"figure": {"caption": "It is {glue:text}`x.k`."}}}
    assert rules.glue(made(new_code_cell("plot()", metadata=caption)), set()) == ["glued nowhere: x.k"]


def test_rule_agrees():
    text = "# T\n\n```{code-cell}\n:tags: [hide-input]\n\n1 + 1\n```\n"
    source = execute.from_source(text)
    assert rules.agrees(execute.from_source(text), source) == []
    for other in (text.replace("1 + 1", "1 + 2"), text.replace("hide-input", "x"), text + "\nmore\n"):
        assert rules.agrees(execute.from_source(other), source)


def test_rule_figures():
    def figure(caption="c", name="fig-a", alt="a curve that falls with time", width=500):
        image = new_output("display_data", {"image/svg+xml": f'<?xml?><svg height="9pt" width="{width}pt"></svg>'})
        settings = {"figure": {"caption": caption, "name": name}, "image": {"alt": alt}}
        return new_code_cell("plot()", outputs=[image], metadata={"mystnb": settings})

    assert not rules.figures(made(figure(), new_markdown_cell("{numref}`fig-a` and {numref}`Fig. %s <fig-a>`")))
    assert not rules.figures(made(figure(caption=60 * "{glue:text}`x.a key` ")))
    for bad in (figure(caption=""), figure(name="a"), figure(alt=""), figure(caption=61 * "w "), figure(width=540.5)):
        assert rules.figures(made(bad))
    assert rules.figures(made(figure(), figure()))
    assert rules.figures(made(new_markdown_cell("{numref}`fig-b`")))
    bare = figure()
    bare.metadata.clear()
    assert rules.figures(made(bare))


def test_rule_findings():
    ten = [claim_cell(name=f"x.{k}", verdict="reproduced", error=0.1, paper="p") for k in range(10)]
    five, check = ten[:5], claim_cell(verdict="", error=None, paper="")
    exact = [claim_cell(verdict="new here", error=None, paper="") for _ in range(3)]
    assert rules.findings(made(*five, check)) == []
    assert rules.findings(made(*five, exact[0])) == [] != rules.findings(made(*five, *exact))
    assert rules.findings(made(*five[1:], check)) and rules.findings(made(*ten))
    assert rules.findings(made(*five, claim_cell(verdict="reproduced", error=0.1, paper="")))
    assert rules.findings(made(*five, new_markdown_cell("The slope, checked to lie in {glue:text}`x.0`.")))


def test_rule_code_on_the_page():
    cells = [new_code_cell("\n".join(25 * ["a = 1"])) for _ in range(14)]
    assert rules.code_on_the_page(made(*cells)) == []
    assert rules.code_on_the_page(made(*cells, new_code_cell("b")))
    for source in ("\n".join(26 * ["a = 1"]), "a" * 89):
        assert rules.code_on_the_page(made(new_code_cell(source)))
        assert not rules.code_on_the_page(made(new_code_cell(source, metadata={"tags": ["hide-input"]})))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.random.seed(0)",
        "import numpy as np\nnp.random.rand(3)",
        "from numpy import random\nrandom.normal()",
        "from numpy.random import rand\nrand(3)",
        "import numpy as np\nrng = np.random.default_rng()",
        "from numpy.random import default_rng\ndefault_rng()",
        "import random\nrandom.random()",
        "from random import choice\nchoice([1])",
        "import torch\ntorch.manual_seed(0)",
        "import torch\ntorch.randn(3)",
        "import torch as t\nt.randint(0, 3, (2,))",
        "import torch\ntorch.multinomial(p, 1)",
        "import torch\ntorch.rand_like(p)",
        "import torch\ntorch.empty(3).normal_()",
        "%matplotlib inline\nimport torch\ntorch.randperm(3)",
    ],
)
def test_rule_randomness_catches(source):
    assert rules.randomness(made(new_code_cell(source)))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nrng = np.random.default_rng(0)\nrng.normal(size=3)\nrng.multinomial(3, [1.0])",
        "import torch\ng = torch.Generator().manual_seed(0)\ntorch.randn(3, generator=g)",
        "from hierlib import rhm\nrhm.Grammar.random(v=8, m=2, s=2, L=3, seed=0)",
        "%matplotlib inline\n!ls",
    ],
)
def test_rule_randomness_passes(source):
    assert not rules.randomness(made(new_code_cell(source)))


def test_rule_imports():
    for source in ("import bokeh.plotting as bp", "from skimage.data import cat", "if True:\n    import sklearn"):
        assert rules.imports(made(new_code_cell(source)), {"numpy"})
    assert not rules.imports(made(new_code_cell("import numpy.linalg as la\nfrom numpy import fft")), {"numpy"})


def test_rule_randomness_knows_imports_of_earlier_cells():
    assert rules.randomness(made(new_code_cell("import numpy as onp"), new_code_cell("onp.random.rand(3)")))


def test_rule_install_cell_and_semicolons():
    assert rules.install_cell(made(new_code_cell("import os ")), "import os\n")
    assert not rules.install_cell(made(new_code_cell("import os")), "import os\n")
    assert rules.semicolons(made(new_code_cell("plot();\n")))
