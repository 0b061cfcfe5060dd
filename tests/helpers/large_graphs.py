"""Large graphs of a given number of nodes, built without text: what makes an engine slow, or overflow its stack."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

F = ir.DataType.FLOAT


class _Builder:
    """Adds nodes to a list; values are named v0, v1, ..."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self.x, self.c = typed("x"), typed("c", ir.DataType.BOOL, [])

    def add(self, op: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        node = ir.node(op, inputs, attributes=attributes)
        node.outputs[0].name = f"v{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def weight(self, content: np.ndarray) -> ir.Value:
        name = f"w{len(self.initializers)}"
        value = ir.val(name, const_value=ir.tensor(content, name=name))
        self.initializers.append(value)
        return value

    def model(self, output: ir.Value) -> ir.Model:
        output.name, output.type, output.shape = "y", ir.TensorType(F), ir.Shape(["N", 4, 4])
        graph = ir.Graph(
            [self.x, self.c],
            [output],
            nodes=self.nodes,
            initializers=self.initializers,
            opset_imports={"": 17},
            name="g",
        )
        return ir.Model(graph, ir_version=8)


def typed(name: str, dtype: ir.DataType = F, shape: list[int | str] | None = None) -> ir.Value:
    return ir.val(name, dtype=dtype, shape=["N", 4, 4] if shape is None else shape)


def mixed_graph(count: int) -> ir.Model:
    """What exporters write: no-ops, pairs of Transpose, shape chains, constants, common subexpressions, weights, branches.

    Few branches: onnx's own shape inference copies all that is known so far for each of them.
    """
    b, rng = _Builder(), np.random.default_rng(0)
    current, one = b.x, b.weight(np.ones((), np.float32))
    while len(b.nodes) < count:
        kind = len(b.nodes) % 7
        if kind == 0:
            current = b.add("Sin", b.add("Identity", current))
        elif kind == 1:
            current = b.add("Transpose", b.add("Transpose", current, perm=[0, 2, 1]), perm=[0, 2, 1])
        elif kind == 2:
            first = b.add("Gather", b.add("Shape", current), b.add("Constant", value=ir.tensor(np.array([0]))))
            rest = b.add("Constant", value=ir.tensor(np.array([4, 4])))
            current = b.add("Reshape", current, b.add("Concat", first, rest, axis=0))
        elif kind == 3:
            current = b.add("Add", b.add("Tanh", current), b.add("Tanh", current))
        elif kind == 4:
            current = b.add("Cos", b.add("Mul", current, one))
        elif kind == 5:
            current = b.add("MatMul", current, b.weight(rng.standard_normal((4, 4)).astype(np.float32)))
        elif len(b.nodes) % 10:
            current = b.add("Exp", b.add("Dropout", current))
        else:
            bodies = {n: _branch(f"{n}{len(b.nodes)}", current) for n in ("then_branch", "else_branch")}
            current = b.add("If", b.c, **bodies)
    return b.model(b.add("Relu", current))


def unary_chain(count: int) -> ir.Model:
    """Half of it does nothing."""
    b = _Builder()
    current = b.x
    for index in range(count):
        current = b.add("Identity" if index % 2 else "Sin", current)
    return b.model(b.add("Relu", current))


def shared_constant(count: int) -> ir.Model:
    """One constant that half of the nodes read."""
    b = _Builder()
    current, two = b.x, b.weight(np.full((), 2, np.float32))
    for index in range(count):
        current = b.add("Mul", current, two) if index % 2 else b.add("Sin", current)
    return b.model(b.add("Relu", current))


def many_readers(count: int) -> ir.Model:
    """One value that half of the nodes read, through nodes that go."""
    b = _Builder()
    source = total = b.add("Sin", b.x)
    for _ in range(count // 2):
        total = b.add("Add", total, b.add("Identity", source))
    return b.model(b.add("Relu", total))


def many_initializers(count: int) -> ir.Model:
    """Half as many weights as nodes, all of one shape, every other one equal to the first."""
    b = _Builder()
    current = b.x
    for index in range(count // 2):
        weight = b.weight(np.full(4, index if index % 2 else 0, np.float32))
        current = b.add("Sin", b.add("Max", current, weight))
    return b.model(b.add("Relu", current))


def constant_chain(count: int) -> ir.Model:
    """All of it can be computed beforehand."""
    b = _Builder()
    current = b.weight(np.ones(4, np.float32))
    for _ in range(count):
        current = b.add("Sin", current)
    return b.model(b.add("Add", b.x, current))


def nested_ifs(depth: int) -> ir.Model:
    """An If in an If in an If, with something to remove in the innermost."""
    b = _Builder()

    def inside(level: int) -> list[ir.Node]:
        if level == 0:
            return _nodes("Identity", "Sin", source=b.x, name="deepest")
        bodies = {
            "then_branch": _graph(inside(level - 1), f"t{level}"),
            "else_branch": _graph(_nodes("Cos", source=b.x, name=f"e{level}"), f"f{level}"),
        }
        node = ir.node("If", [b.c], attributes=bodies)
        node.outputs[0].name = f"if{level}"
        return [node]

    b.nodes += inside(depth)
    return b.model(b.add("Relu", b.nodes[-1].outputs[0]))


def _branch(name: str, source: ir.Value) -> ir.Graph:
    return _graph(_nodes("Identity", "Neg", "Exp", source=source, name=name), name)


def _nodes(*ops: str, source: ir.Value, name: str) -> list[ir.Node]:
    nodes: list[ir.Node] = []
    for number, op in enumerate(ops):
        nodes.append(ir.node(op, [source]))
        source = nodes[-1].outputs[0]
        source.name = f"{name}_{number}"
    return nodes


def _graph(nodes: list[ir.Node], name: str) -> ir.Graph:
    output = nodes[-1].outputs[0]
    output.type, output.shape = ir.TensorType(F), ir.Shape(["N", 4, 4])
    return ir.Graph((), [output], nodes=nodes, name=name)
