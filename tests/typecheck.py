"""The run-time checker of shapes: beartype, on tensors only.

Numbers are left to hierlib's own checks, whose ``ValueError`` the tests want to see; `Hashable` lets any pass.
"""

from collections.abc import Hashable

from beartype import BeartypeConf, FrozenDict, beartype

check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({int: Hashable, float: Hashable})))
