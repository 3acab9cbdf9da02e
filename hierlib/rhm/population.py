"""Population dynamics: belief propagation on a tree of any depth, without the tree.

The upward messages below different nodes are independent given the symbols there. So a pool of N messages for
each true symbol of level l is enough to make the pools of level l + 1: take a parent symbol, one of its rules,
and one message from the pool of each child symbol. This reaches depths that no string could have (level 40 of
s = 2 stands for 10^12 leaves), for any noise channel. Source: Mézard, Montanari 2009, *Information, Physics, and
Computation*, ch. 14; used here to settle the thresholds of Bayes channels, which the mean field misses.
"""

from collections.abc import Callable, Iterator

import torch

from hierlib.lab import checks, generator
from hierlib.lab.seeds import Seed
from hierlib.lab.types import Float, Tensor
from hierlib.rhm.grammar import Grammar
from hierlib.rhm.messages import combine

__all__ = ["upward_pools"]

_COLUMNS = 256      # messages at a time, so that what their rules gather stays in cache


def upward_pools(
    g: Grammar, channel: Callable[..., Float[Tensor, "n d v"]], noise: float, *, size: int = 256, seed: Seed = 0
) -> Iterator[Float[Tensor, "v size v"]]:
    """Yield the pools of upward messages of level 0, 1, 2, …, L of the grammar, each once it has been looked at.

    Source: Mézard, Montanari 2009, ch. 14.

    Parameters
    ----------
    g
        The grammar; its rules are used level by level (make it as deep as wanted: no string is ever formed).
    channel
        ``channel(x0, noise, v, seed=generator)`` gives the likelihood ``(n, d, v)`` of tokens ``(n, d)``: any
        function of :mod:`hierlib.rhm.channels`.
    noise
        Noise level of the channel.
    size
        Messages per pool.
    seed
        Integer or CPU ``torch.Generator``.

    Yields
    ------
    float ``(v, size, v)``
        ``pool[a, k]``: a normalised message of a node whose true symbol is a. ``pool[a, k, a].mean()`` over a
        and k is the mean upward belief in the truth.

    Raises
    ------
    ValueError
        For ``size < 1``, or a channel that returns another shape or rules out the true symbol.
    """
    size = checks.integer("size", size, low=1)
    gen, v, device = generator(seed, "upward_pools"), g.v, g.rules.device
    truth = torch.arange(v).repeat_interleave(size)                        # (v · size,)
    messages = channel(truth[:, None].to(device), noise, v, seed=gen)
    shape, expected = tuple(messages.shape), (v * size, 1, v)
    checks.require(shape == expected, "channel", shape, f"to return {expected}")
    for rules in (*g.rules, None):
        total = messages.sum(-1, keepdim=True)
        checks.require(bool((total > 0).all()), "channel", "an impossible message", "to allow the true symbol")
        pool = (messages / total).view(v, size, v)
        yield pool
        if rules is None:                                                  # at the root
            return
        rule = torch.randint(g.m, (v * size,), generator=gen)
        pick = torch.randint(size, (v * size, g.s), generator=gen)
        children = rules[truth.to(device), rule.to(device)]                # (v · size, s)
        below = pool[children, pick.to(device)]                            # (v · size, s, v)
        parts, symbols = below.permute(1, 2, 0)[None].split(_COLUMNS, -1), rules.flatten(0, 1).T.contiguous()
        messages = torch.cat([combine(part.contiguous(), symbols)[0] for part in parts], -1).T
