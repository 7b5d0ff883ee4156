"""Small ONNX networks, made by hand, whose result can be computed by hand."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.random.default_rng(5).normal(size=(3 * 7 * 7, 8)).astype(np.float32)


def expected(crops, mean=127.5, scale=127.5, bgr=False, height=112, width=112):
    """What the network gives, in NumPy and float64."""
    images = (crops.astype(np.float64) - mean) / scale
    if bgr:
        images = images[..., ::-1]
    step = height // 7, width // 7
    blocks = images.reshape(len(crops), 7, step[0], 7, step[1], 3).mean(axis=(2, 4))
    return blocks.transpose(0, 3, 1, 2).reshape(len(crops), -1) @ WEIGHTS


def write_network(
    path,
    *,
    batch="N",
    size=(112, 112),
    channels_last=False,
    half=False,
    listed_weights=False,
    dead_input=False,
    compressed=False,
    norm_output=False,
    normalises=False,
    domain="",
    outside=False,
    ir_version=8,
):
    """Means of 7 x 7 blocks, times a matrix."""
    height, width = size
    number = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    shape = [batch, height, width, 3] if channels_last else [batch, 3, height, width]
    weights = [numpy_helper.from_array(WEIGHTS, "w")]
    nodes, image = [], "x"
    if half:
        nodes.append(helper.make_node("Cast", [image], ["c"], to=TensorProto.FLOAT))
        image = "c"
    if normalises:
        weights += [
            numpy_helper.from_array(np.array(127.5, np.float32), "m"),
            numpy_helper.from_array(np.array(1 / 127.5, np.float32), "s"),
        ]
        nodes += [
            helper.make_node("Sub", [image, "m"], ["i"]),
            helper.make_node("Mul", ["i", "s"], ["j"]),
        ]
        image = "j"
    if channels_last:
        nodes.append(helper.make_node("Transpose", [image], ["t"], perm=[0, 3, 1, 2]))
        image = "t"
    matrix = "w"
    if compressed:
        scale = np.abs(WEIGHTS).max() / 127
        weights = [
            numpy_helper.from_array(np.rint(WEIGHTS / scale).astype(np.int8), "q"),
            numpy_helper.from_array(np.float32(scale), "qs"),
            *weights[1:],
        ]
        nodes.append(helper.make_node("DequantizeLinear", ["q", "qs"], ["w"]))
    step = [112 // 7 if size == (None, None) else side // 7 for side in (112, 112)]
    if None not in size:
        step = [height // 7, width // 7]
    nodes += [
        helper.make_node(
            "AveragePool", [image], ["p"], kernel_shape=step, strides=step
        ),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", matrix], ["y"], domain=domain),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8])]
    if norm_output:
        nodes.append(helper.make_node("ReduceL2", ["y"], ["n"], axes=[1]))
        outputs.append(
            helper.make_tensor_value_info("n", TensorProto.FLOAT, [batch, 1])
        )
    inputs = [helper.make_tensor_value_info("x", number, shape)]
    if listed_weights:
        inputs += [
            helper.make_tensor_value_info(each.name, each.data_type, each.dims)
            for each in weights
        ]
    if dead_input:
        inputs.append(helper.make_tensor_value_info("dead", TensorProto.FLOAT, [3, 3]))
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17 if ir_version > 3 else 8)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    onnx.save(
        model,
        path,
        save_as_external_data=outside,
        location=f"{path.stem}.weights" if outside else None,
        size_threshold=0,
    )
    return path
