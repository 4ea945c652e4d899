"""Every kind of place keeps the contract of `Place`."""

import pickle

import pytest

from resvae_ray.errors import UsageError
from resvae_ray.files.place import BucketPlace, LocalPlace, Place, place, refuse_inside


def write(file, text="x"):
    with file.staged_file() as staging:
        staging.write_text(text)


class Contract:
    @pytest.fixture
    def root(self) -> Place:
        raise NotImplementedError

    def test_it_is_parsed_once(self, root):
        assert place(root) is root
        assert place(str(root)) == root
        assert pickle.loads(pickle.dumps(root)) == root
        assert type(root / "a") is type(root.with_name("a")) is type(root)

    def test_a_staged_file_replaces_the_old_one(self, root):
        write(root / "a", "old")
        with (root / "a").staged_file() as staging:
            staging.write_text("new")
            assert (root / "a").read_text() == "old"
        assert (root / "a").read_bytes() == b"new"
        assert root.file_names() == {"a"}

    def test_a_staged_folder_appears_whole(self, root):
        with (root / "out").staged_folder("last") as staging:
            (staging / "deep").mkdir()
            (staging / "deep" / "a").write_text("1")
            (staging / "last").write_text("2")
            assert not (root / "out").exists()
        assert (root / "out").file_names() == {"deep/a", "last"}
        with pytest.raises(UsageError, match="out: already there"), (root / "out").staged_folder():
            pass

    def test_existing_things_are_refused(self, root):
        (root / "new").refuse_existing()
        write(root / "a" / "lock")
        (root / "a").refuse_existing(besides="lock")
        for there in (root / "a", root / "a" / "lock"):
            with pytest.raises(UsageError, match="already there; choose another name"):
                there.refuse_existing()

    def test_a_local_copy(self, root):
        write(root / "a.bin", "content")
        with (root / "a.bin").local_copy() as copy:
            assert (copy.name, copy.read_text()) == ("a.bin", "content")
        assert (root / "a.bin").exists()

    def test_what_lies_in_it(self, root, tmp_path):
        write(root / "a" / "f")
        assert root.contains(root)
        assert root.contains(root / "a" / "new")
        assert not (root / "a").contains(root / "ab")
        assert not (root / "a").contains(root)
        for other in (LocalPlace(tmp_path / "elsewhere"), BucketPlace("s3://elsewhere/x")):
            assert not root.contains(other)
        with pytest.raises(UsageError, match=f"{root}/a/new: lies in {root}/a, and would be read"):
            refuse_inside(root / "a" / "new", str(root / "a"))

    def test_removal(self, root):
        write(root / "a" / "b" / "c")
        with pytest.raises(FileNotFoundError):
            (root / "none").unlink()
        (root / "none").unlink(missing_ok=True)
        (root / "a").remove_folder()
        (root / "a").remove_folder()
        assert not (root / "a").exists()

    def test_json(self, root):
        (root / "a.json").write_json({"x": [1]})
        assert (root / "a.json").read_text() == '{\n  "x": [\n    1\n  ]\n}\n'

    def test_where_pyarrow_finds_it(self, root):
        write(root / "a", "text")
        filesystem, path = (root / "a").located()
        with filesystem.open_input_file(path) as file:
            assert file.read() == b"text"


class TestLocal(Contract):
    @pytest.fixture
    def root(self, tmp_path):
        return place(tmp_path / "root")

    def test_it_is_a_path(self, root, tmp_path):
        assert root == tmp_path / "root"
        assert root.local == root
        assert hash(root) == hash(tmp_path / "root")

    def test_symbolic_links_lead_into_it(self, root, tmp_path):
        root.mkdir()
        (tmp_path / "link").symlink_to(root)
        assert root.contains(place(tmp_path / "link" / "new"))

    def test_a_relative_path_is_made_absolute_at_once(self, root, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        relative = place("root")
        monkeypatch.chdir("/")
        assert relative == root


class TestBucket(Contract):
    @pytest.fixture
    def root(self, bucket):
        return place(f"{bucket}/root")

    def test_it_is_not_on_this_machine(self, root):
        assert root.local is None
