"""Operators by what they do to shapes."""

# fmt: off
ELEMENTWISE = frozenset([
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Cos", "Cosh", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish",
    "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign",
    "Sqrt", "Tan", "Tanh", "ThresholdedRelu",
])
"""One operand, and each element by itself."""

KEEP_SHAPE = ELEMENTWISE | frozenset([
    "BatchNormalization", "CastLike", "Clip", "CumSum", "DequantizeLinear", "Dropout", "Hardmax", "InstanceNormalization",
    "LayerNormalization", "LogSoftmax", "LpNormalization", "PRelu", "QuantizeLinear", "Softmax", "Trilu",
])
"""The first output has the shape of the first input."""

BROADCASTING = frozenset([
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor",
])
"""Element by element, over operands that are broadcast to one shape (from opset 7)."""
# fmt: on
