"""A make-believe CUDA device for torch on a machine without a GPU.

``from tests.simgpu import device; device.install()`` as the first cell of a notebook, in a kernel that was started in
the repository, and all cells run as on a Colab GPU. To count costs without computing: :mod:`tests.simgpu.costs`.

After that ``torch.cuda.is_available()`` is true, and tensors that are sent to or made on "cuda" are `CudaTensor`: their
numbers lie in an ordinary CPU tensor, but torch itself (dispatcher, autograd engine, functorch, optimisers) sees a
tensor of another device. Everything that touches one passes through `execute`, which refuses what CUDA refuses.

Caught, with CUDA's own kind of error: operands on two devices (let through, as on CUDA: CPU tensors of no dimension in
pointwise operators that do not write to them, CPU indices into a tensor of the device but not the reverse, copies);
`.numpy()`, `np.asarray`, pandas and matplotlib on a tensor of the device; a CPU generator for a draw on the device and
the reverse; integer matrix products; a second device index; use of the device in a forked child; more memory than
``install(limit=…)``. Draws of one seed differ from the CPU's, so that what relies on equal draws is seen as well.

Not seen: races, streams, CUDA graphs, torch.compile, Triton, autocast (absent or without effect); operators and dtypes
that only the CPU has, except integer products (look through `memory.calls`); rounding, TF32, non-determinism; indices
out of range, which are device-side asserts there; strides chosen by CUDA's kernels; workspaces and fragmentation; two
devices mixed inside one C++ operator; ``torch.load`` to "cuda"; threads other than the one that installed it.
``Module.to`` makes new Parameters here. An operator's own error in a backward pass (a wrong shape) ends the process.

How: torch's PrivateUse1 key with its Python device guard carries the tensors, so that autograd has a real device;
``Tensor.device`` and a function mode translate its private name to "cuda". Operators arrive in `__torch_dispatch__`,
factories in kernels, the rest in a fallback. Written for torch 2.13, with private names of torch; it changes torch in
this process for good, so that tests run it in processes of their own (`run`).
"""

import copy
import functools
import itertools
import os
import warnings
import weakref
from collections import Counter

import torch
from torch.optim.optimizer import _foreach_supported_types
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "simgpu"                                   # torch's private name of the device; programs see "cuda"
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
MIXED = {"copy_", "_to_copy", "_copy_from", "_copy_from_and_resize", "_pin_memory", "set_"}
INDEX = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
SCALARS = {"where", "masked_fill", "masked_fill_", "fill_", "lerp", "lerp_", "addcmul", "addcdiv"}     # not all tagged
PRODUCTS = {"mm", "bmm", "addmm", "addmm_", "baddbmm", "baddbmm_", "addbmm", "addmv", "mv", "dot", "convolution"}
FACTORIES = ("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "eye.m",
             "full", "linspace", "logspace", "randperm", "randperm.generator", "tril_indices", "triu_indices",
             "scalar_tensor")
_NAMES, _WATCHED = {str, torch.device}, {"device", "generator"}
_Base, _BaseGenerator, _device_of = torch._C.TensorBase, torch._C.Generator, torch._C.TensorBase.device.__get__
_seed, _forked = 0xC0DA, []                       # draws of the device: those of the CPU with another seed
os.register_at_fork(after_in_child=lambda: _forked.append(True))
_device_generators = set()                        # addresses of the C++ generators that are "on" the device
_default_generator = _BaseGenerator().manual_seed(_seed)


class Memory:
    """Bytes of the device in use, and what ran."""

    limit, live, peak, storages, calls = None, 0, 0, set(), Counter()

    def hold(self, inner):
        """Count the storage of a tensor of the device once, until it is freed."""
        storage = inner.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.storages:
            if self.limit is not None and self.live + size > self.limit:
                fail(torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / 2**20:.1f} MiB; of "
                                            f"{self.limit / 2**20:.1f} MiB, {self.live / 2**20:.1f} are in use"))
            self.storages.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.free, key, size).atexit = False

    def free(self, key, size):
        """Count no longer what is freed."""
        self.storages.discard(key)
        self.live -= size


memory, watchers = Memory(), []                   # called as `seen` is
_late = []                                        # errors inside a backward pass, where raising one ends the process


def fail(error=None):
    """Raise an error, of a backward pass when that is over: as all is on the CPU in truth, it can go on till then."""
    _late.extend([error] if error else [])
    if _late and torch._C._current_graph_task_id() == -1:
        error = _late[0]
        _late.clear()
        raise error


def seen(func, tensors, args, kwargs, out, way=None):
    """Tell the watchers what ran: operands on the device, args, kwargs and result, all inner, and `way_of`."""
    memory.calls[facts(func)[0]] += 1
    for watch in watchers:
        watch(func, tensors, args, kwargs, out, way)


def way_of(func, args, kwargs):
    """Return "down" for a copy to the CPU, which waits for the device, "up" for one of the CPU's tensors, else None."""
    name, device = facts(func)[0], kwargs.get("device")
    if (device is not None and not is_here(device)) or (name == "copy_" and not isinstance(args[0], CudaTensor)):
        return "down"
    host = any(isinstance(t, torch.Tensor) and not isinstance(t, CudaTensor) for t in leaves(args[1:2]))
    return "up" if host and name in {"copy_", *INDEX} else None


class CudaTensor(torch.Tensor):
    """A tensor of the simulated device; `.inner` is the CPU tensor with its numbers."""

    @staticmethod
    def __new__(cls, inner):
        memory.hold(inner)
        self = torch.Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(), dtype=inner.dtype,
                                                   storage_offset=inner.storage_offset(), device=f"{NAME}:0")
        self.inner = inner
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return execute(func, args, kwargs or {})

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory.")

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self, **_):
        return f"{repr(self.cpu())[:-1]}, device='cuda:0')"

    def __format__(self, spec):
        return format(self.item() if self.dim() == 0 else self.cpu(), spec)

    def _set_data(self, new):
        _Base.data.__set__(self, new)
        self.inner = new.inner

    data = property(torch.Tensor.detach, _set_data)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            new = memo[id(self)] = CudaTensor(self.inner.detach().clone())
            new.requires_grad_(self.requires_grad)
            new.grad = copy.deepcopy(self.grad, memo)
            new.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items() if k != "inner"})
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return (torch._utils._rebuild_device_tensor_from_cpu_tensor,
                (self.detach().cpu(), self.dtype, str(self.device), self.requires_grad))


@functools.cache
def facts(func):
    """Return of an operator: name, whether it writes, draws, only views, is pointwise; positions of what it writes."""
    schema, name, alias = func._schema, func._overloadpacket.__name__, [r.alias_info for r in func._schema.returns]
    view = bool(alias) and all(a is not None and not a.is_write for a in alias)
    writes = [k for k, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    pointwise = torch.Tag.pointwise in func.tags or name in SCALARS or name.startswith("_foreach_")
    return name, schema.is_mutable, any(a.name == "generator" for a in schema.arguments), view, pointwise, writes


def leaves(x):
    """Yield what is in nested lists and tuples, but for None."""
    if isinstance(x, (list, tuple)):
        for y in x:
            yield from leaves(y)
    elif x is not None:
        yield x


def tree_map(f, x):
    """Return nested lists and tuples with f applied to what is in them."""
    return type(x)([tree_map(f, y) for y in x]) if type(x) in (list, tuple) else f(x)


def _inner(x):
    return x.inner if isinstance(x, CudaTensor) else x


def is_here(device):
    """Return whether a device is the simulated one."""
    return torch.device(device).type in ("cuda", NAME)


def execute(func, args, kwargs):
    """Run one operator of the device on the CPU tensors inside, after the checks that CUDA makes."""
    (_, written, draws, *_), flat = facts(func), list(leaves((args, *kwargs.values())))
    tensors = [t for t in flat if isinstance(t, torch.Tensor)]
    check_devices(func, args, tensors)
    ours = {id(t.inner): t for t in tensors if isinstance(t, CudaTensor)} if written else {}
    theirs = {id(t) for t in tensors if not isinstance(t, CudaTensor)}
    inner_args, inner_kwargs = tree_map(_inner, args), {k: tree_map(_inner, v) for k, v in kwargs.items()}
    device, on = kwargs.get("device"), True
    if device is not None:
        on = is_here(device)
        inner_kwargs |= {"device": CPU if on else device} | ({"pin_memory": False} if "pin_memory" in kwargs else {})
    generator = next((g for g in flat if isinstance(g, _BaseGenerator)), None) if draws else None
    _check(generator)
    inner_kwargs |= {"generator": _default_generator} if draws and generator is None else {}
    out = func(*inner_args, **inner_kwargs)
    here = [t.inner for t in tensors if isinstance(t, CudaTensor)]
    seen(func, here, inner_args, inner_kwargs, out, way_of(func, args, kwargs) if watchers else None)
    for t in ours.values():
        if t.shape != t.inner.shape or t.stride() != t.inner.stride():                      # resized or turned in place
            _Base.data.__set__(t, CudaTensor(t.inner))

    new = lambda t: CudaTensor(t) if on and type(t) is torch.Tensor and id(t) not in theirs else t
    return tree_map(lambda t: ours[id(t)] if id(t) in ours else new(t), out)


def _check(generator=None):
    if _forked:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess: use the 'spawn' start method")
    if generator is not None and generator._cdata not in _device_generators:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def check_devices(func, args, tensors):
    """Raise as CUDA does where operands are on two devices, or of a type that CUDA has no kernel for."""
    name, *_, pointwise, writes = facts(func)
    if name in PRODUCTS and not all(t.is_floating_point() or t.is_complex() for t in tensors):
        fail(RuntimeError(f"\"{name}_cuda\" not implemented for '{tensors[0].dtype}'"))
    host = [t for t in tensors if not isinstance(t, CudaTensor)]
    if len(host) in (0, len(tensors)) or name in MIXED:
        return
    if name in INDEX:
        if type(args[0]) is not CudaTensor and any(isinstance(t, CudaTensor) for t in leaves(args[1])):
            fail(RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)"))
        fine = {id(t) for t in leaves(args[1])} | {id(t) for t in host if t.dim() == 0 and t is not args[0]}
    else:
        out = {id(t) for k in writes if k < len(args) for t in leaves(args[k])}
        fine = {id(t) for t in host if pointwise and t.dim() == 0 and id(t) not in out}
    if any(id(t) not in fine for t in host):
        where = [("cuda" if isinstance(t, CudaTensor) else "cpu", tuple(t.shape)) for t in tensors]
        fail(RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
                          f"cpu! (simulated: aten::{func.__name__}, {where})"))


def _factory(op):
    def kernel(*args, device=None, pin_memory=None, layout=None, generator=None, **kwargs):
        _check(generator)
        draws = {"generator": generator or _default_generator} if "randperm" in str(op) else {}
        out = (torch.ops.aten.randperm.generator if draws else op)(*args, device=CPU, **draws, **kwargs)
        seen(op, [], args, kwargs, out)
        return CudaTensor(out)
    return kernel


class Generator(_BaseGenerator):
    """torch.Generator that may be "on" the device."""

    def __new__(cls, device="cpu"):
        self = _BaseGenerator.__new__(cls, "cpu" if is_here(device) else device)
        if is_here(device):
            _device_generators.add(self._cdata)
            weakref.finalize(self, _device_generators.discard, self._cdata)
        return self

    device = property(lambda self: CUDA if self._cdata in _device_generators else torch.device("cpu"))

    def manual_seed(self, seed):
        return super().manual_seed(seed ^ _seed if self._cdata in _device_generators else seed)


class _Translate(TorchFunctionMode):
    """Turns the public name of the device into the private one, and watches the generators of draws on the CPU."""

    default = None                                # of torch.set_default_device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.default is None and _NAMES.isdisjoint(map(type, args)) and _WATCHED.isdisjoint(kwargs):     # most often
            out = func(*args, **kwargs)
            if _late:
                fail()
            return out
        if self.default is not None and func in _device_constructors() and kwargs.get("device") is None:
            kwargs = kwargs | {"device": self.default}
        if func is not torch.device:
            args = tuple(map(_private, args))
            kwargs = kwargs | {"device": _private(kwargs["device"])} if "device" in kwargs else kwargs
        out, generator = func(*args, **kwargs), kwargs.get("generator")
        fail()
        if generator is not None and generator._cdata in _device_generators and any(
                isinstance(t, torch.Tensor) and t.device.type == "cpu" for t in leaves(out)):
            raise RuntimeError("Expected a 'cpu' device type for generator but found 'cuda'")
        return out

    def set_default(self, device):
        self.default = None if device is None else torch.device(device)


def _private(x):
    """Return the private name of the device in the place of "cuda", and all else as it is."""
    if not (isinstance(x, torch.device) and x.type == "cuda") and not (x.__class__ is str and x[:4] == "cuda"):
        return x
    if (torch.device(x).index or 0) > 0:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return torch.device(NAME, 0)


def install(limit=None, name="simulated T4"):
    """Make the device available in this process, once and for all; it runs out of memory at `limit` bytes."""
    memory.limit, cuda = limit, torch.cuda
    if hasattr(torch, NAME):
        return                                    # installed already
    _setup_privateuseone_for_python_backend(NAME)
    install.kept = kept = [torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL"), _Translate()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each, key in itertools.product(FACTORIES, ("PrivateUse1", "CUDA")):
            packet, _, overload = each.partition(".")
            kept[0].impl(each, _factory(getattr(getattr(torch.ops.aten, packet), overload or "default")), key)
        kept[0].impl("_copy_from", lambda a, b, *_: execute(torch.ops.aten.copy_.default, (b, a), {}), "PrivateUse1")
        kept[0].impl("_efficientzerotensor", _factory(torch.ops.aten.zeros.default), "PrivateUse1")
        kept[1].fallback(lambda op, *args, **kwargs: execute(op, args, kwargs), "PrivateUse1")
    torch.autograd.set_multithreading_enabled(False)          # the engine may have started without this device
    torch.Tensor.device = property(lambda self: CUDA if (d := _device_of(self)).type == NAME else d)
    torch.Tensor.is_cuda = property(lambda self: self.device.type == "cuda")
    torch.Tensor.cuda, torch.Tensor.pin_memory = (lambda self, *_, **__: self.to("cuda")), (lambda self, *_: self)
    torch.Generator, torch.compile = Generator, lambda f=None, **_: (lambda f: f) if f is None else f
    contexts, torch.set_default_device = torch.get_default_device, kept[2].set_default
    torch.get_default_device = lambda: kept[2].default or contexts()
    _foreach_supported_types.append(CudaTensor)
    answers = {"is_available": True, "device_count": 1, "current_device": 0, "get_device_name": name}
    for each, answer in (answers | dict.fromkeys(("_lazy_init", "synchronize", "empty_cache", "set_device"))).items():
        setattr(cuda, each, functools.partial(lambda answer, *_, **__: answer, answer))    # torch wants one object each
    cuda.memory_allocated, cuda.max_memory_allocated = (lambda d=None: memory.live), (lambda d=None: memory.peak)
    cuda.reset_peak_memory_stats = lambda d=None: setattr(memory, "peak", memory.live)
    cuda.manual_seed, cuda.manual_seed_all = (lambda s: bool(_default_generator.manual_seed(s ^ _seed)) for _ in "ab")
    kept[2].__enter__()
