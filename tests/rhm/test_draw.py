import matplotlib.pyplot as plt
import pytest
import torch

from hierlib.rhm import Grammar, draw


def test_a_tree_has_all_its_nodes_and_edges():
    g = Grammar.random(5, 2, 3, 2, seed=0)
    symbols = [t[0] for t in g.sample(1, seed=0)]
    fig, ax = plt.subplots()
    draw.tree(ax, symbols, s=3, kept=[torch.zeros(len(t), dtype=torch.bool) for t in symbols],
              belief=[torch.full((len(t),), 0.5) for t in symbols])
    assert len(ax.collections[0].get_segments()) == 12
    assert [t.get_text() for t in ax.texts] == [str(int(x)) for level in symbols for x in level]
    with pytest.raises(ValueError, match="symbols"):
        draw.tree(ax, symbols[:-1], s=3)
    plt.close(fig)
