"""Datasets as they are downloaded: unpacked folders and archives with parts, ImageNet's files, tables of the Hub.

The oracles are torchvision's readers (`ImageFolder`, the development kit of ImageNet); files of the Hub are written as
`datasets` 5.2 writes them, whose own output gave the same pictures and labels.
"""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import ImageFolder
from torchvision.datasets import imagenet as torchvision_imagenet

from xai_core.core.errors import BadPicture, BadRequest
from xai_core.data import datasets, imagenet_labels, layouts, picture_tables

CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
RUNS = Path(__file__).parents[2] / "data" / "runs"


def picture(level=0, kind="JPEG"):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), (level, level, level)).save(buffer, kind)
    return buffer.getvalue()


def laid(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zipped(file, files):
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file


def intel():
    """The Intel scenes as Kaggle's archive holds them, with samples of the shipped runs as the test pictures."""
    shipped = pd.read_parquet(RUNS / "scenes_supervised.parquet", columns=["sample", "true"])
    tested = shipped.groupby("true")["sample"].first()
    assert tuple(tested.index) == CLASSES
    files = {f"seg_test/seg_test/{name}": picture(place) for place, name in enumerate(tested)}
    files |= {f"seg_train/seg_train/{name}/{place}.jpg": picture(100 + place) for place, name in enumerate(CLASSES)}
    return files | {f"seg_pred/seg_pred/{place}.jpg": picture(200 + place) for place in range(3)}, list(tested)


@pytest.mark.parametrize("around", ["", "archive/"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_intel_scenes_have_three_parts_with_the_names_of_the_shipped_runs(tmp_path, monkeypatch, around, packed):
    files, tested = intel()
    files = {around + name: data for name, data in files.items()}
    whole = zipped(tmp_path / "intel.zip", files) if packed else laid(tmp_path / "intel", files)
    monkeypatch.setenv("XAI_DATA", str(tmp_path))
    names = [name for name in datasets.offered() if not name.startswith("world")]
    assert names == [f"{whole.name}/{part}" for part in ("seg_pred", "seg_test", "seg_train")]
    pred, test, train = (datasets.open_dataset(datasets.find_offered(name)) for name in names)
    assert [(one.name, one.label) for one in test.samples] == [(name, name.partition("/")[0]) for name in sorted(tested)]
    assert [(one.name, one.label) for one in train.samples] == [(f"{c}/{i}.jpg", c) for i, c in enumerate(CLASSES)]
    assert [(one.name, one.label) for one in pred.samples] == [(f"{place}.jpg", "") for place in range(3)]
    assert test.classes == train.classes == CLASSES and test.title == names[1]
    assert test.open(tested[4]).getpixel((0, 0)) == (4, 4, 4) and train.open("sea/4.jpg").getpixel((0, 0)) == (104,) * 3
    assert all(datasets.may_have(datasets.find_offered(names[1]), name) for name in tested)
    assert packed or not datasets.may_have(datasets.find_offered(names[2]), tested[0])
    with pytest.raises(BadRequest, match=r"has parts: seg_pred, seg_test, seg_train. Choose one"):
        datasets.open_dataset(whole)
    with pytest.raises(BadRequest, match="There is no file or folder"):
        datasets.open_dataset(whole / "seg_other")


def test_an_archive_and_a_folder_of_one_part_give_the_same(tmp_path):
    files, _ = intel()
    of_folder = datasets.open_dataset(laid(tmp_path / "intel", files) / "seg_train")
    of_zip = datasets.open_dataset(zipped(tmp_path / "intel.zip", files) / "seg_train")
    assert of_folder.samples == of_zip.samples and of_folder.title == "intel/seg_train"
    assert datasets.zip_parts(tmp_path / "intel.zip", "intel") == ("seg_pred", "seg_test", "seg_train")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_tree_of_parts_is_that_of_torchvision(tmp_path, part):
    """The classes of CIFAR-100 have one called train."""
    names = [
        f"{part}/{label}/{number}.png" for part in ("train", "val", "test") for label in ("cat", "train") for number in "01"
    ]
    laid(tmp_path / "cifar", {name: picture(kind="PNG") for name in names})
    theirs, ours = ImageFolder(tmp_path / "cifar" / part), datasets.open_dataset(tmp_path / "cifar" / part)
    assert list(ours.classes) == theirs.classes
    expected = [(Path(path).relative_to(theirs.root).as_posix(), theirs.classes[label]) for path, label in theirs.samples]
    assert [(one.name, one.label) for one in ours.samples] == expected


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train/1.png", "cat/1.png", "dog/1.png"], []),  # a class
        (["train/1.png", "test/1.png", "dog/1.png"], []),  # classes
        (["train/1.png", "test/2.png"], ["test", "train"]),  # no other folders: parts without labels
        (["train/train/1.png", "train/cat/1.png"], []),  # one part alone: opened as it is
        (["a/b/train/cat/1.png", "a/b/val/cat/2.png", "a/b/notes/1.txt"], ["train", "val"]),
        (["train_station/1.png", "training/cat/1.png"], []),
        (["my-train/cat/1.png", "my-test-set/cat/1.png", "latest/cat/2.png"], ["my-test-set", "my-train"]),
        ([], []),
    ],
)
def test_parts_are_told_from_classes(tmp_path, names, parts):
    laid(tmp_path, {name: picture(kind="PNG") for name in names})
    pictures = [layouts.PurePosixPath(name) for name in names if name.endswith("png")]
    for tree in (layouts.of_folder(tmp_path), layouts.of_names(pictures)):
        assert list(layouts.parts_of(tree)) == parts


def test_one_part_alone_is_opened_as_it_is(tmp_path):
    laid(tmp_path / "pets", {f"seg_train/seg_train/{label}/1.png": picture(kind="PNG") for label in ("cat", "train")})
    opened = datasets.open_dataset(tmp_path / "pets")
    assert [(one.name, one.label) for one in opened.samples] == [("cat/1.png", "cat"), ("train/1.png", "train")]


class TestImageNet:
    def test_names_give_wordnet_ids_in_a_flat_folder_and_in_a_zip_of_one(self, tmp_path, monkeypatch):
        names = ("n01440764_tench.JPEG", "n02123045_tabby.JPEG")
        expected = [(name, name[:9]) for name in names]
        laid(tmp_path / "flat", {name: picture() for name in names})
        zipped(tmp_path / "flat.zip", {name: picture() for name in names})
        zipped(tmp_path / "one.zip", {f"pictures/{name}": picture() for name in names})
        monkeypatch.setenv("XAI_DATA", str(tmp_path))
        assert {"flat", "flat.zip", "one.zip"} <= {*datasets.offered()}
        for name in ("flat", "flat.zip"):
            assert [(one.name, one.label) for one in datasets.open_dataset(tmp_path / name).samples] == expected
        assert [one.label for one in datasets.open_dataset(tmp_path / "one.zip").samples] == [name[:9] for name in names]

    def test_a_folder_counts_more_than_a_files_name(self, tmp_path):
        laid(
            tmp_path / "x",
            {"wild/n02123045_1.jpg": picture(), "tame/n02123045_2.jpg": picture(), "n02123045x.jpg": picture()},
        )
        labels = {one.name: one.label for one in datasets.open_dataset(tmp_path / "x").samples}
        assert labels == {"wild/n02123045_1.jpg": "wild", "tame/n02123045_2.jpg": "tame", "n02123045x.jpg": ""}

    NAMES = tuple(f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2, 4))
    WNIDS = ("n02119789", "n02100735", "n02110185")  # of 1, 2 and 3, as in the kit: not in the order of the ids

    def validation(self, root, **files):
        return laid(root / "imagenet" / "val", {name: picture() for name in self.NAMES} | files)

    def kit(self, numbers="3\n1\n2\n2\n", children=(0, 0, 0, 2), wnids=None):
        """The two files of the development kit; the last synset is no class."""
        rows = [(number, wnid, "words", "gloss", 0) for number, wnid in enumerate(wnids or [*self.WNIDS, "n00001740"], 1)]
        kind = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object), ("num_children", object)]
        synsets = np.array([(*row[:4], count) for row, count in zip(rows, children, strict=True)], dtype=kind)
        file = io.BytesIO()
        savemat(file, {"synsets": synsets[:, None]}, do_compression=True)
        return {imagenet_labels.TRUTH: numbers.encode(), imagenet_labels.META: file.getvalue()}

    @pytest.mark.parametrize("place", ["", "../", "../ILSVRC2012_devkit_t12/data/"])
    def test_the_development_kit_gives_the_labels_that_torchvision_reads(self, tmp_path, place, monkeypatch):
        files = self.kit()
        folder = self.validation(tmp_path, **{place + name: data for name, data in files.items()})
        ours = datasets.open_dataset(folder)
        packed = tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        monkeypatch.setattr(torchvision_imagenet, "_verify_archive", lambda *_: None)  # it knows the whole kit's checksum
        torchvision_imagenet.parse_devkit_archive(tmp_path, packed.name)
        _, theirs = torch.load(tmp_path / "meta.bin", weights_only=True)
        assert theirs == ["n02110185", "n02119789", "n02100735", "n02100735"]  # of pictures 1 to 4
        assert [(one.name, one.label) for one in ours.samples] == [
            (name, theirs[int(name[15:23]) - 1]) for name in self.NAMES
        ]

    def test_kaggles_solution_gives_the_labels_below_folders_and_in_a_zip(self, tmp_path):
        rows = ["ImageId,PredictionString", *(f"{name[:-5]},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for name, wnid in zip(
            self.NAMES, self.WNIDS, strict=True))]  # fmt: skip
        files = {f"ILSVRC/Data/CLS-LOC/val/{name}": picture() for name in self.NAMES}
        files |= {
            "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_1.JPEG": picture(),
            "LOC_val_solution.csv": "\n".join(rows).encode(),
        }
        for whole in (laid(tmp_path / "imagenet", files), zipped(tmp_path / "imagenet.zip", files)):
            opened = datasets.open_dataset(whole / "val")
            assert [one.label for one in opened.samples] == list(self.WNIDS)
            assert datasets.open_dataset(whole / "train").classes == ("n01440764",)

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({imagenet_labels.TRUTH: b"1\n2\n3\n3\n"}, r"only its meta.mat explains: put meta.mat"),
            ({imagenet_labels.META: b"MATLAB 5.0 nothing"}, "cannot be read as that of ImageNet's development kit"),
            ({imagenet_labels.TRUTH: b"1\n2\n"}, "has 2 lines, none for ILSVRC2012_val_00000004.JPEG"),
            ({imagenet_labels.TRUTH: b"1\n9\n1\n1\n"}, "names class 9 in line 2, which meta.mat does not know"),
            ({imagenet_labels.TRUTH: b"1\nn01440764\n"}, "one number in each line"),
            ({imagenet_labels.SOLUTION: b"ImageId,PredictionString\na,tench 1 2 3 4\n"}, "no single WordNet id"),
            ({imagenet_labels.SOLUTION: b"ImageId,PredictionString\na,n01440764 1 2 3 4 n02123045 1 2 3 4\n"}, "no single"),
            ({imagenet_labels.SOLUTION: b"a,b\n1,2\n"}, "needs the columns ImageId and PredictionString"),
        ],
    )  # fmt: skip
    def test_what_does_not_say_the_classes_is_refused(self, tmp_path, files, said):
        needed = {} if imagenet_labels.TRUTH in files and "put" in said else self.kit()
        folder = self.validation(tmp_path, **(needed | files))
        with pytest.raises(BadRequest, match=said):
            datasets.open_dataset(folder)

    def test_a_kit_that_names_a_class_twice_is_refused(self, tmp_path):
        files = self.kit(wnids=["n02119789", "n02119789", "n02110185", "n00001740"])
        with pytest.raises(BadRequest, match="to several classes"):
            datasets.open_dataset(self.validation(tmp_path, **files))

    def test_a_meta_file_that_unpacks_to_too_much_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(imagenet_labels, "MOST_BYTES", 1000)
        file = io.BytesIO()
        savemat(file, {"synsets": np.zeros(10**4)}, do_compression=True)
        assert len(file.getvalue()) < 1000
        with pytest.raises(BadRequest, match="unpacks to more than"):
            datasets.open_dataset(self.validation(tmp_path, **(self.kit() | {imagenet_labels.META: file.getvalue()})))

    def test_without_such_files_there_are_no_labels(self, tmp_path):
        assert datasets.open_dataset(self.validation(tmp_path)).classes == ()


KIND = pa.struct({"bytes": pa.binary(), "path": pa.string()})
FEATURES = {
    "img": {"_type": "Image"},
    "fine_label": {"names": ["apple", "train", "tulip/rose"], "_type": "ClassLabel"},
    "coarse_label": {"names": ["thing", "plant"], "_type": "ClassLabel"},
    "camera": {"dtype": "string", "_type": "Value"},
}  # the columns of CIFAR-100, and one more


def rows(count, first=0, paths=None, **columns):
    """A table as `datasets` makes it: its schema's metadata describes the columns."""
    images = [{"bytes": picture(first + row, "PNG"), "path": paths and paths[row]} for row in range(count)]
    values = {
        "img": pa.array(images, KIND),
        "fine_label": pa.array([row % 3 if row else -1 for row in range(count)], pa.int64()),
        "coarse_label": pa.array([row % 2 for row in range(count)], pa.int64()),
        "camera": pa.array([None if row == 1 else f"c{row}" for row in range(count)]),
    } | columns
    described = {"info": {"features": {name: one for name, one in FEATURES.items() if name in values}}}
    return pa.table(values).replace_schema_metadata({"huggingface": json.dumps(described)})


def save_to_disk(table, folder, shards=1, state=None):
    """The files of `Dataset.save_to_disk`: streams of record batches, not files of the IPC format."""
    folder.mkdir(parents=True)
    size, names = -(-len(table) // shards), [f"data-{shard:05d}-of-{shards:05d}.arrow" for shard in range(shards)]
    for shard, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(shard * size, size), max_chunksize=3)
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]} | (state or {})))


def saved(root, table):
    for part, some in (("train", table), ("test", table.slice(5))):
        save_to_disk(some, root / part, shards=2)
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


def hub(root, table, folder="data"):
    (root / folder).mkdir(parents=True)
    pq.write_table(table.slice(0, 6), root / folder / "train-00000-of-00002.parquet", row_group_size=2)
    pq.write_table(table.slice(6), root / folder / "train-00001-of-00002-3f2a.parquet", row_group_size=2)
    pq.write_table(table.slice(5), root / folder / "test-00000-of-00001.parquet")


class TestTablesOfTheHub:
    @pytest.mark.parametrize("write", [saved, hub, lambda root, table: hub(root, table, "plain_text")])
    def test_parts_labels_metadata_and_pictures(self, tmp_path, monkeypatch, write):
        write(tmp_path / "cifar", rows(11))
        monkeypatch.setenv("XAI_DATA", str(tmp_path))
        assert {"cifar/train", "cifar/test"} == {name for name in datasets.offered() if not name.startswith("world")}
        train, test = (datasets.open_dataset(datasets.find_offered(f"cifar/{part}")) for part in ("train", "test"))
        labels = ["", *(("apple", "train", "tulip/rose")[row % 3] for row in range(1, 11))]
        assert [one.label for one in train.samples] == labels
        assert [one.name for one in train.samples][:3] == ["000000", "train/000001", "tulip_rose/000002"]
        assert train.metadata["coarse_label"].tolist() == [("thing", "plant")[row % 2] for row in range(11)]
        assert train.metadata["camera"].tolist()[:3] == ["c0", "", "c2"] and list(train.metadata) == [
            "coarse_label",
            "camera",
        ]
        assert [train.open(one.name).getpixel((0, 0))[0] for one in train.samples] == list(range(11))
        backwards = [test.open(one.name).getpixel((0, 0))[0] for one in reversed(test.samples)]
        assert backwards == list(range(10, 4, -1)) and train.digest != test.digest
        with pytest.raises(BadRequest, match="has parts: test, train"):
            datasets.open_dataset(tmp_path / "cifar")

    def test_files_named_in_the_table_name_the_pictures_and_are_never_opened(self, tmp_path):
        (tmp_path / "secret.png").write_bytes(picture(9, "PNG"))
        paths = ["../secret.png", str(tmp_path / "2.png"), "3.png"]
        save_to_disk(rows(3, paths=paths), tmp_path / "one")
        opened = datasets.open_dataset(tmp_path / "one")
        assert [one.name for one in opened.samples] == ["secret.png", "train/2.png", "tulip_rose/3.png"]
        assert opened.open("secret.png").getpixel((0, 0)) == (0, 0, 0)
        bare = pa.array([{"bytes": None, "path": path} for path in paths], KIND)
        save_to_disk(rows(3, paths=paths, img=bare), tmp_path / "bare")
        with pytest.raises(BadPicture, match="Row 0 of bare has no bytes"):
            datasets.open_dataset(tmp_path / "bare").open("secret.png")

    def test_a_single_parquet_file_is_offered_like_a_table(self, tmp_path):
        pq.write_table(rows(4), tmp_path / "pictures.parquet")
        assert [one.label for one in datasets.open_dataset(tmp_path / "pictures.parquet").samples][3] == "apple"

    def test_one_picture_is_read_without_the_others(self, tmp_path, monkeypatch):
        """Of a Parquet file only the row group around it; of an Arrow file not even the bytes of its neighbours."""
        pq.write_table(rows(40), tmp_path / "many.parquet", row_group_size=4)
        read, group = [], picture_tables._Parquet._group
        monkeypatch.setattr(picture_tables._Parquet, "_group", lambda *args: read.append(args[2]) or group(*args))
        opened = datasets.open_dataset(tmp_path / "many.parquet")
        assert opened.digest and read == []
        for row in (17, 18, 39, 16):
            assert opened.open(opened.samples[row].name).getpixel((0, 0))[0] == row
        assert read == [4, 9, 4]

    def test_a_picture_larger_than_any_that_is_opened_is_cut(self, tmp_path, monkeypatch):
        monkeypatch.setattr(picture_tables, "MAX_BYTES", 10)
        pq.write_table(rows(2), tmp_path / "two.parquet")
        opened = datasets.open_dataset(tmp_path / "two.parquet")
        assert len(opened.read(opened.samples[0].name)) == 11

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda root: (root / "data" / "train-00001-of-00002-3f2a.parquet").unlink(), "not whole: 1 of its 2 files"),
            (lambda root: pq.write_table(rows(2).drop_columns("camera"), root / "data" / "train-00000-of-00002.parquet"),
             "have different columns"),
            (lambda root: (root / "data" / "train-00000-of-00002.parquet").write_bytes(b"PAR1 no table"), "cannot be read"),
        ],
    )  # fmt: skip
    def test_parquet_that_is_not_whole_says_so(self, tmp_path, spoil, said):
        hub(tmp_path / "cifar", rows(11))
        spoil(tmp_path / "cifar")
        with pytest.raises(BadRequest, match=said):
            datasets.open_dataset(tmp_path / "cifar" / "train")

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ({"_data_files": [{"filename": "../x.arrow"}]}, "outside its folder"),
            ({"_data_files": [{"filename": "data-00009.arrow"}]}, "1 of its 1 files are missing"),
            ({"_data_files": []}, "names no files"),
            ({"_data_files": None}, "old version"),
            ({"_indices_files": [{"filename": "indices.arrow"}]}, "old version"),
        ],
    )
    def test_a_saved_dataset_that_is_not_whole_says_so(self, tmp_path, state, said):
        save_to_disk(rows(4), tmp_path / "one", state=state)
        with pytest.raises(BadRequest, match=said):
            datasets.open_dataset(tmp_path / "one")

    @pytest.mark.parametrize(
        "columns", [{"fine_label": pa.array([0, 7], pa.int64())}, {"fine_label": pa.array([0, -2], pa.int64())}]
    )
    def test_a_label_without_a_name_is_refused(self, tmp_path, columns):
        save_to_disk(rows(2, **columns), tmp_path / "one")
        with pytest.raises(BadRequest, match="but names only 3 classes"):
            datasets.open_dataset(tmp_path / "one")

    def test_damaged_and_compressed_files_are_refused(self, tmp_path):
        save_to_disk(rows(40), tmp_path / "cut")
        file = tmp_path / "cut" / "data-00000-of-00001.arrow"
        file.write_bytes(file.read_bytes()[:3000])
        save_to_disk(rows(1), tmp_path / "packed")
        zeros = rows(1, img=pa.array([{"bytes": bytes(10**6), "path": None}], KIND))
        packed = str(tmp_path / "packed" / "data-00000-of-00001.arrow")
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.OSFile(packed, "wb") as sink, pa.ipc.new_stream(sink, zeros.schema, options=options) as writer:
            writer.write_table(zeros)
        (tmp_path / "text").mkdir()
        pq.write_table(pa.table({"image": ["a"], "label": [1]}), tmp_path / "text" / "train-00000-of-00001.parquet")
        for name, said in {
            "cut": "cannot be read",
            "packed": "is compressed",
            "text/train": "no column with pictures",
        }.items():
            with pytest.raises(BadRequest, match=said):
                datasets.open_dataset(tmp_path / name)

    def test_names_without_metadata_come_from_texts_and_numbers(self, tmp_path):
        plain = rows(2).select(["img"]).append_column("label", pa.array(["cat", None])).replace_schema_metadata(None)
        pq.write_table(plain.rename_columns(["image", "label"]), tmp_path / "plain.parquet")
        assert [one.label for one in datasets.open_dataset(tmp_path / "plain.parquet").samples] == ["cat", ""]


def test_the_training_part_of_a_dataset_is_known_by_its_name():
    names = ["a.zip/seg_train", "a.zip/seg_test", "b/train", "c", "d/test", "train"]
    assert datasets.training_part("a.zip/seg_test", names) == "a.zip/seg_train"
    assert datasets.training_part("b/val", names) == "b/train"
    for name in ("c", "d/test", "test", "a.zip/seg_train", "world:planted"):
        assert datasets.training_part(name, names) is None
