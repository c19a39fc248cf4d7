"""Two vector loops the solver lives on, written as LLVM vector instructions. No Spark here.

numba leaves `for k: score[k] += value * w[row, k]` scalar, because it cannot know that `score` and `w` do not overlap:
measured 12 ns a stored value from the L1 cache, against 1.3 ns here, where the sums stay in registers (8 against
25-36 ns from memory). LLVM splits the vectors to what the processor has, so the code is portable.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 32  # floats of a weight row: two cache lines
_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INT64 = ir.IntType(64)
_FMA = ("contract",)  # a multiply and an add may become one instruction


def _row(builder, weights, columns, j):
    """Pointer to the vector weights[columns[j], :]."""
    column = builder.zext(builder.load(builder.gep(columns.data, [j])), _INT64)
    first = builder.gep(weights.data, [builder.mul(column, ir.Constant(_INT64, WIDTH))])
    return builder.bitcast(first, _FLOATS.as_pointer())


def _spread(builder, values, j, scale):
    """The vector whose every float is values[j] * scale."""
    value = builder.uitofp(builder.load(builder.gep(values.data, [j])), ir.FloatType())
    value = builder.fmul(value, scale)
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


def _load(builder, pointer):
    value = builder.load(pointer)
    value.align = 4  # NumPy promises no more for float32
    return value


def _store(builder, value, pointer):
    builder.store(value, pointer).align = 4


def _checked(weights, columns, values, total):
    wanted = (types.float32, 2), (types.int32, 1), (types.uint16, 1), (types.float32, 1)
    for array, (kind, dimensions) in zip((weights, columns, values, total), wanted):
        if array.dtype != kind or array.ndim != dimensions or array.layout != "C":
            raise TypeError(f"expected a C-ordered {dimensions}-d array of {kind}, not {array}")


@intrinsic
def gather(typing, weights, columns, values, start, end, scale, total):
    """total[:] += sum over j in [start, end) of scale * values[j] * weights[columns[j], :].

    weights float32[n, WIDTH], columns int32, values uint16, total float32[WIDTH]; nothing is bounds-checked.
    """
    _checked(weights, columns, values, total)
    signature = types.void(weights, columns, values, types.int64, types.int64, types.float32, total)

    def codegen(context, builder, signature, args):
        w, c, v = (context.make_array(signature.args[i])(context, builder, args[i]) for i in range(3))
        out = context.make_array(signature.args[6])(context, builder, args[6])
        pointer = builder.bitcast(out.data, _FLOATS.as_pointer())
        sum_ = cgutils.alloca_once(builder, _FLOATS)
        builder.store(_load(builder, pointer), sum_)
        with cgutils.for_range_slice(builder, args[3], args[4], ir.Constant(_INT64, 1)) as (j, _):
            product = builder.fmul(_spread(builder, v, j, args[5]), _load(builder, _row(builder, w, c, j)), flags=_FMA)
            builder.store(builder.fadd(builder.load(sum_), product, flags=_FMA), sum_)
        _store(builder, builder.load(sum_), pointer)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def prefetch(typing, array, at):
    """Ask for the cache line of array[at], 1-d, ahead of its use; nothing is bounds-checked, nothing waits."""
    signature = types.void(array, types.int64)

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]), "llvm.prefetch.p0i8"
        )
        address = builder.bitcast(builder.gep(data, [args[1]]), byte)
        builder.call(function, [address, flag(0), flag(3), flag(1)])  # for reading, into all caches, data
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scatter(typing, weights, columns, values, start, end, scale, step):
    """weights[columns[j], :] += scale * values[j] * step[:] for each j in [start, end); arrays as in `gather`."""
    _checked(weights, columns, values, step)
    signature = types.void(weights, columns, values, types.int64, types.int64, types.float32, step)

    def codegen(context, builder, signature, args):
        w, c, v = (context.make_array(signature.args[i])(context, builder, args[i]) for i in range(3))
        by = context.make_array(signature.args[6])(context, builder, args[6])
        step_ = _load(builder, builder.bitcast(by.data, _FLOATS.as_pointer()))
        with cgutils.for_range_slice(builder, args[3], args[4], ir.Constant(_INT64, 1)) as (j, _):
            pointer = _row(builder, w, c, j)
            product = builder.fmul(_spread(builder, v, j, args[5]), step_, flags=_FMA)
            _store(builder, builder.fadd(_load(builder, pointer), product, flags=_FMA), pointer)
        return context.get_dummy_value()

    return signature, codegen
