"""Files that may be replaced while they are open."""

from pathlib import Path

from service.files import file_identity


def test_a_file_is_another_one_after_it_was_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    assert file_identity(path) is None
    path.touch()
    other.touch()
    before = file_identity(path)

    assert before == file_identity(path)
    other.replace(path)

    assert file_identity(path) not in {before, None}
