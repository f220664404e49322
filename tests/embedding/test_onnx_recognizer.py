"""Embeddings of an ONNX file equal insightface's, or one line says why the file is refused."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the insightface extra")
pytest.importorskip("onnxruntime", reason="needs the insightface extra")

import onnx
from onnx import TensorProto, helper, numpy_helper

from lh2face.embedding.onnx_recognizer import normalisation, open_recognizer
from lh2face.onnx.files import read_metadata, read_onnx

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
WIDTH = 16
FACES = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)


def write(
    path: Path, shape=("b", 3, 112, 112), kind=FLOAT, *, nodes=(), outputs=("y",), rows="b",
    external: str | None = None, names=("", ""), inputs=1,
) -> Path:  # fmt: skip
    """Write a recognizer that multiplies pixels by a matrix, with further nodes behind it.

    Args:
        path: File to write.
        shape: Shape of the input.
        kind: Type of input, weights and outputs.
        nodes: Operator, its inputs and outputs, and attributes, after the product ``y``.
        outputs: Names of the outputs.
        rows: First dimension of the outputs.
        external: Name of the file that keeps the weights.
        names: Names of the two nodes.
        inputs: Number of inputs.
    """
    pixels = int(np.prod([side for side in shape[1:] if isinstance(side, int)]))
    weights = np.random.default_rng(0).normal(size=(pixels, WIDTH)) / 100
    weights = numpy_helper.from_array(weights.astype(helper.tensor_dtype_to_np_dtype(kind)), "W")
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"], name=names[0], axis=1),
            helper.make_node("MatMul", ["f", "W"], ["y"], name=names[1]),
            *(helper.make_node(op, i, o, **more) for op, i, o, more in nodes),
        ],
        "recognizer",
        [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "x2")[:inputs]],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if external is None:
        onnx.save(model, path)
        return path
    onnx.save(
        model, path, save_as_external_data=True, location="w.data", size_threshold=10
    )  # fmt: skip
    model = onnx.load(path, load_external_data=False)
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "location")
    entry.value = external
    path.write_bytes(model.SerializeToString())
    return path


NORM = ("ReduceL2", ["y"], ["n"], {"axes": [1], "keepdims": 1})
UNIT = ("Div", ["y", "n"], ["u"], {})


@pytest.fixture
def plain(tmp_path):
    return open_recognizer(write(tmp_path / "plain.onnx"))(FACES)


@pytest.mark.parametrize("names", [("", ""), ("Sub_0", "Mul_1"), ("_minusscalar0", "_mulscalar0")])
@pytest.mark.parametrize("size", [112, 128])
def test_embeddings_equal_get_feat(tmp_path, names, size):
    zoo = pytest.importorskip("insightface").model_zoo
    path = write(tmp_path / "m.onnx", ("b", 3, size, size), names=names)
    expected = zoo.get_model(str(path), providers=["CPUExecutionProvider"]).get_feat(
        [np.ascontiguousarray(face[..., ::-1]) for face in FACES]
    )
    found = open_recognizer(path)(FACES)
    assert found.dtype == np.float32 and found.shape == (5, WIDTH)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(open_recognizer(path)(FACES[:, :, ::-1][:, :, ::-1]), found)


def test_nodes_that_subtract_and_multiply_switch_normalisation_off():
    for names, expected in (
        (["Conv_0"], (127.5, 1 / 127.5)),
        (["Sub_0"], (127.5, 1 / 127.5)),
        (["Mul_0", "Conv"], (127.5, 1 / 127.5)),
        (["Mul_1", "Sub_0"], (0, 1)),
        (["_minusscalar0", "_mulscalar0"], (0, 1)),
    ):
        assert normalisation(names) == expected


@pytest.mark.parametrize("batch", [1, None])
def test_a_model_for_one_face_at_a_time_is_run_face_by_face(tmp_path, plain, batch):
    path = write(tmp_path / "one.onnx", (batch, 3, 112, 112))
    np.testing.assert_allclose(open_recognizer(path)(FACES), plain, rtol=1e-5)


@pytest.mark.parametrize(("kind", "tolerance"), [(HALF, 2e-2), (TensorProto.DOUBLE, 1e-4)])
def test_other_precisions_are_cast(tmp_path, plain, kind, tolerance):
    found = open_recognizer(write(tmp_path / "m.onnx", kind=kind))(FACES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain, atol=tolerance * abs(plain).max())


@pytest.mark.parametrize("outputs", [("y", "n"), ("n", "y"), ("u", "n"), ("n", "u")])
def test_the_embedding_is_found_beside_its_norm(tmp_path, plain, outputs):
    """It may be normalised or not, and be the first or second output."""
    path = write(tmp_path / "m.onnx", nodes=[NORM, UNIT], outputs=outputs)
    np.testing.assert_allclose(open_recognizer(path)(FACES), plain, rtol=1e-4, atol=1e-5)


def test_external_weights_beside_the_file_are_read(tmp_path, plain):
    path = write(tmp_path / "m.onnx", external="w.data")
    np.testing.assert_array_equal(open_recognizer(path)(FACES), plain)
    (tmp_path / "below").mkdir()
    (tmp_path / "w.data").rename(tmp_path / "below" / "w.data")
    path = write(tmp_path / "m.onnx", external="below/w.data")
    np.testing.assert_array_equal(open_recognizer(path)(FACES), plain)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("../w.data", "outside of its own folder"),
        ("ABSOLUTE", "outside of its own folder"),
        ("link.data", "outside of its own folder"),
        ("/dev/zero", "outside of its own folder"),
        ("absent.data", "there is no such file beside it"),
        ("pipe", "there is no such file beside it"),
        (".", "there is no such file beside it"),
        ("a\0b", "there is no such file beside it"),
        ("*/_ORT_MEM_ADDR_/*", "there is no such file beside it"),
    ],
)
def test_external_weights_outside_the_folder_are_refused(tmp_path, place, message):
    folder, outside = tmp_path / "model", tmp_path / "w.data"
    folder.mkdir()
    write(folder / "m.onnx", external="w.data")
    (folder / "w.data").rename(outside)
    (folder / "link.data").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    path = write(
        folder / "m.onnx", external=str(outside) if place == "ABSOLUTE" else place
    )  # fmt: skip
    for read in (open_recognizer, read_onnx, read_metadata):
        with pytest.raises(ValueError, match=rf"m\.onnx: keeps weights in .*{message}"):
            read(path)


def test_external_weights_in_a_subgraph_are_checked_too(tmp_path):
    path = tmp_path / "m.onnx"
    tensor = helper.make_tensor("t", FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)], "inner", [],
        [helper.make_tensor_value_info("c", FLOAT, [1])],
    )  # fmt: skip
    write(path, nodes=[("If", ["x"], ["z"], {"then_branch": inner, "else_branch": inner})])
    with pytest.raises(ValueError, match=r"'\.\./secret', outside of its own folder"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"shape": ("b", 1, 112, 112)}, r"found x \(b, 1, 112, 112\) float$"),
        ({"shape": ("b", 3, 112)}, r"found x \(b, 3, 112\) float$"),
        ({"shape": ("b", 112, 112, 3)}, r"found x \(b, 112, 112, 3\) float$"),
        ({"shape": ("b", 3, 112, 96)}, r"found x \(b, 3, 112, 96\) float$"),
        ({"shape": ("b", 3, 96, 96)}, r"found x \(b, 3, 96, 96\) float$"),
        ({"shape": ("b", 3, 120, 120)}, r"found x \(b, 3, 120, 120\) float$"),
        ({"shape": ("b", 3, 192, 192)}, r"found x \(b, 3, 192, 192\) float$"),
        ({"shape": ("b", 3, "h", "w")}, r"found x \(b, 3, h, w\) float$"),
        ({"shape": (8, 3, 112, 112)}, r"found x \(8, 3, 112, 112\) float$"),
        ({"inputs": 2}, r"found x \(b, 3, 112, 112\) float and x2 \(b, 3, 112, 112\) float$"),
        ({"nodes": [NORM, UNIT], "outputs": ("y", "u")}, r"found \(1, 16\) and \(1, 16\) for 1"),
        ({"nodes": [NORM], "outputs": ("n",)}, r"found \(1, 1\) for 1 faces"),
        ({"nodes": [NORM, UNIT], "outputs": ("y", "u", "n")}, r"found 3 outputs: y "),
        (
            {"nodes": [("ReduceMean", ["y"], ["z"], {"axes": [0], "keepdims": 0})],
             "outputs": ("z",)},
            r"found \(16,\) for 1 faces",
        ),
        (
            {"nodes": [("Identity", ["x"], ["z"], {})], "outputs": ("z",)},
            r"found \(1, 3, 112, 112\) for 1 faces",
        ),
        (
            {"nodes": [("Mystery", ["y"], ["z"], {"domain": "custom"})], "outputs": ("z",)},
            r"onnxruntime cannot run it: .*Mystery",
        ),
        (
            {"nodes": [("Shape", ["y"], ["s"], {}), ("Gather", ["y", "s"], ["z"], {})],
             "outputs": ("z",)},
            "onnxruntime cannot run it: ",
        ),
    ],
)  # fmt: skip
def test_a_model_that_is_no_recognizer_gives_one_line(tmp_path, how, message):
    path = write(tmp_path / "m.onnx", **how)
    with pytest.raises(ValueError, match=message) as raised:
        open_recognizer(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_a_model_that_mixes_faces_of_a_batch_is_refused(tmp_path):
    """The batch size is declared as free, but with several faces the number of rows is wrong."""
    mean = ("ReduceMean", ["y"], ["z"], {"axes": [0], "keepdims": 1})
    recognizer = open_recognizer(write(tmp_path / "m.onnx", nodes=[mean], outputs=("z",)))
    with pytest.raises(ValueError, match=r"found \(1, 16\) for 5 faces"):
        recognizer(FACES)


@pytest.mark.parametrize(
    "content", [b"", b"no model", b"\x08\x07", b"\xff" * 100, b"\x0a\x00" * 1000]
)
def test_a_file_that_is_no_onnx_gives_one_line(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    for read in (open_recognizer, read_metadata):
        with pytest.raises(ValueError, match=r"m\.onnx: not an ONNX file") as raised:
            read(path)
        assert "\n" not in str(raised.value)


def test_a_huge_file_and_a_pipe_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ValueError, match=r"pipe\.onnx: not a file"):
        read_onnx(tmp_path / "pipe.onnx")
    with (tmp_path / "sparse.onnx").open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ValueError, match=r"sparse\.onnx: expected at most .* found 4294967296"):
        read_onnx(tmp_path / "sparse.onnx")


def test_damaged_files_give_a_result_or_one_line(tmp_path):
    """Bytes are changed, or the file is truncated."""
    whole = write(tmp_path / "m.onnx", ("b", 3, 112, 112)).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.onnx"
    for _ in range(150):
        damaged = bytearray(whole)
        # The weights are most of the file, and may have any value.
        places = np.r_[rng.integers(0, 60, 2), rng.integers(len(whole) - 160, len(whole), 2)]
        for place in places:
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.integers(0, len(damaged))])])
        try:
            open_recognizer(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_a_graph_that_asks_for_too_much_memory_is_refused(tmp_path):
    # The product would take 16 GB of float32 before it is summed.
    shape = numpy_helper.from_array(np.array([1, 250_000_000, WIDTH], np.int64))
    large = [
        ("Constant", [], ["s"], {"value": shape}),
        ("Expand", ["y", "s"], ["l"], {}),
        ("ReduceMean", ["l"], ["z"], {"axes": [1], "keepdims": 0}),
    ]
    path = write(tmp_path / "a.onnx", nodes=large, outputs=("z",))
    with pytest.raises(ValueError, match=r"a\.onnx: onnxruntime cannot run it: .*memory"):
        open_recognizer(path)
