"""Many networks of one architecture, trained and called as one."""

import copy
from collections.abc import Callable
from itertools import chain

import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from hierlib.lab import checks
from hierlib.lab.types import Float, Tensor
from hierlib.nets.parameters import count

__all__ = ["Ensemble", "chunked_loss"]

SMALL = 2**23       # parameters × rows up to which batched members are faster than a loop on one CPU core, measured


class Ensemble(nn.Module):
    """E networks of one architecture as one module, ``(E, n, …) -> (E, n, …)``.

    Every parameter is the stack of the members', with a leading dimension E. An elementwise optimiser (SGD, Adam,
    AdamW) on the sum of the members' losses then trains each exactly as if it were alone. On a GPU, and for small
    networks on a CPU, one batched call replaces E small ones: it costs little more than one of them. On a CPU,
    members of which one fills the cache are called one after another, which is faster.

    Parameters
    ----------
    members
        Networks that differ in their weights only. They are copied, with their memory format (``channels_last``).
    chunk
        How many members a batched call takes; 1 is a loop. By default all of them on a GPU, and on a CPU all of them
        when parameters × rows is at most 2²³ for one member, else 1. Smaller chunks need less memory where no gradient
        is asked for; in training :func:`chunked_loss` does.

    Raises
    ------
    ValueError
        For no members, or members of different architectures; when called, for inputs without the leading
        dimension E.

    Examples
    --------
    >>> from hierlib.nets import MLP
    >>> ensemble = Ensemble([MLP(3, 1, seed=k) for k in range(5)])
    >>> ensemble(torch.zeros(5, 7, 3)).shape
    torch.Size([5, 7, 1])
    """

    def __init__(self, members: list[nn.Module], chunk: int | None = None) -> None:
        super().__init__()
        members = list(members)
        checks.require(len(members) > 0, "members", members, "one network or more")
        for k, member in enumerate(members):
            checks.require(_architecture(member) == _architecture(members[0]), f"members[{k}]", member,
                           f"of the architecture of members[0]: {members[0]}")
        self.chunk = None if chunk is None else checks.integer("chunk", chunk, low=1)
        self.size = len(members)
        states = [dict(_tensors(member)) for member in members]
        self.stack = copy.deepcopy(members[0])       # the members' module, holding the weights of all of them
        for name, tensor in _tensors(self.stack):
            tensor.data = _stack([state[name].detach() for state in states])

    def __len__(self) -> int:
        return self.size

    def forward(self, x: Tensor, *more: Tensor, shared: bool = False) -> Tensor:
        """Return the outputs of all members, ``(E, n, …)``.

        Parameters
        ----------
        x
            ``(E, n, …)``: slice i is the input of member i. With `shared`, ``(n, …)``: the input of all of them.
        more
            Further inputs of the members (noise level, condition), ``(E, n, …)`` or `shared` as `x` is.
        """
        states, inputs = dict(_tensors(self.stack)), (x, *more)
        E = len(next(iter(states.values())))         # all members, or those of a chunk
        for k, y in enumerate(inputs):
            checks.require(shared or (y.ndim > 1 and len(y) == E), f"more[{k - 1}]" if k else "x", tuple(y.shape),
                           f"of shape ({E}, n, …), or shared")
        rows = len(x if shared else x[0])
        chunk = self.chunk or (E if x.device.type != "cpu" or rows * count(self) <= SMALL * E else 1)
        if chunk >= E:
            return self._batched(states, inputs, shared)
        # slices by split and unbind: their gradients are joined in one copy, where indexing makes one of E slices each
        parts = [dict(zip(states, part, strict=True)) for part in zip(*(t.split(chunk) for t in states.values()))]
        pieces = zip(*([y] * len(parts) if shared else y.split(chunk) for y in inputs))
        return torch.cat([self._batched(part, piece, shared) for part, piece in zip(parts, pieces, strict=True)])

    def member(self, i: int) -> nn.Module:
        """Return network `i`, a plain module with weights of its own.

        Raises
        ------
        ValueError
            Unless `i` is in 0 … E−1.
        """
        i = checks.integer("i", i, low=0, high=self.size - 1)
        mine = {}                                    # deepcopy takes these in place of the stacks
        for _, t in _tensors(self.stack):
            piece = t.detach()[i].clone()
            mine[id(t)] = nn.Parameter(piece, t.requires_grad) if isinstance(t, nn.Parameter) else piece
        return copy.deepcopy(self.stack, mine)

    def _batched(self, states: dict[str, Tensor], inputs: tuple[Tensor, ...], shared: bool) -> Tensor:
        if len(next(iter(states.values()))) == 1:    # vmap over one member only costs
            alone = {name: tensor.squeeze(0) for name, tensor in states.items()}
            return functional_call(self.stack, alone, inputs if shared else tuple(y[0] for y in inputs)).unsqueeze(0)
        call = vmap(lambda state, y: functional_call(self.stack, state, y), (0, None if shared else 0),
                    randomness="different")
        with sdpa_kernel(SDPBackend.MATH):           # the only attention that vmap can batch
            return call(states, inputs)


def chunked_loss(
    loss: Callable[..., Tensor], model: nn.Module, *inputs: Tensor, chunk: int | None = None
) -> Float[Tensor, "E"]:
    """Return the losses ``loss(model, *inputs)`` of an ensemble's members, in the memory that `chunk` of them need.

    The loss is called for so many at a time, and their gradient is taken at once, which frees what it needs. As members
    do not mix, losses and gradients are those of a single call.

    Parameters
    ----------
    loss
        Returns ``(k,)`` for a model and inputs of k members, such as :func:`hierlib.diffusion.gaussian.loss`. It draws
        nothing: random numbers are among the inputs, so that no member's depend on the chunks.
    model
        An :class:`Ensemble`, or a module around one: all parameters and buffers have the members in front.
    inputs
        ``(E, …)`` each.
    chunk
        Members at a time; None for all.

    Raises
    ------
    ValueError
        For a chunk below 1, or as the loss.
    """
    E = len(inputs[0])
    chunk = E if chunk is None else checks.integer("chunk", chunk, low=1)
    if chunk >= E or not torch.is_grad_enabled():
        return loss(model, *inputs)
    call, states, values, slopes = nn.Module(), dict(_tensors(model)), [], []
    call.model, call.forward = model, lambda *inputs: loss(model, *inputs)      # its weights can be replaced for a call
    trained = [name for name, t in states.items() if t.requires_grad]
    for k in range(0, E, chunk):
        mine = {name: t.detach()[k:k + chunk].requires_grad_(t.requires_grad) for name, t in states.items()}
        value = functional_call(call, {f"model.{name}": t for name, t in mine.items()},
                                tuple(x[k:k + chunk] for x in inputs))
        slopes.append(torch.autograd.grad(value.sum(), [mine[name] for name in trained], allow_unused=True))
        values.append(value.detach())
    whole = [None if parts[0] is None else torch.cat(parts) for parts in zip(*slopes, strict=True)]
    return _Known.apply(values, whole, *(states[name] for name in trained))


class _Known(torch.autograd.Function):
    """Losses of all members whose gradients are known."""

    @staticmethod
    def forward(ctx, values, slopes, *parameters):
        ctx.slopes = slopes
        return torch.cat(values)

    @staticmethod
    def backward(ctx, weight):
        return None, None, *(s if s is None else s * weight.view(-1, *[1] * (s.ndim - 1)) for s in ctx.slopes)


def _tensors(module: nn.Module) -> chain[tuple[str, Tensor]]:
    """Return names and tensors of the parameters and buffers."""
    return chain(module.named_parameters(), module.named_buffers())


def _stack(tensors: list[Tensor]) -> Tensor:
    """Return the tensors along a new first dimension; in the memory format channels_last if they have it."""
    first = tensors[0]
    if first.ndim != 4 or not all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors):
        return torch.stack(tensors)
    # (a convolution chooses its format by the strides, and those of dimensions of size 1 count)
    n, c, h, w = first.shape
    stacked = torch.stack([t.permute(0, 2, 3, 1) for t in tensors])
    return stacked.as_strided((len(tensors), n, c, h, w), (first.numel(), *first.stride()))


def _architecture(module: nn.Module) -> tuple:
    """Return what members must have in common."""
    return type(module), repr(module), [(name, t.shape, t.dtype, t.device) for name, t in _tensors(module)]
