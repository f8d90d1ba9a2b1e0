# The compiled core of one sibling (a CPU level x a float width), floor by floor.
#
# Every file below is included exactly once, so a name belongs to the file that defines it, and the
# floors test checks that a file uses names of lower floors only.
from rtrl_core.memory import check_memory

include "base/platform.pxi"
include "base/arena.pxi"
include "arrays/arrays.pxi"
include "jacobian/record.pxi"
include "jacobian/products.pxi"
include "jacobian/panels.pxi"
include "jacobian/squares.pxi"
include "jacobian/tape.pxi"
include "jacobian/window.pxi"
include "jacobian/rank_one.pxi"
include "jacobian/suffix.pxi"
include "jacobian/reduction.pxi"
include "jacobian/fan.pxi"
include "jacobian/reach.pxi"
include "jacobian/traces.pxi"
include "jacobian/near.pxi"
include "contracts/metric.pxi"
include "contracts/contracts.pxi"
include "registry.pxi"
include "session/parts.pxi"
include "session/player.pxi"
include "session/gradients.pxi"
include "session/clock.pxi"
include "session/assembly.pxi"
include "session/arguments.pxi"
include "session/region.pxi"
include "session/usual.pxi"
include "session/engine.pxi"
