"""Recipe books: choosing, edits while the line runs, and edits that must not get in."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.imagefile import write_mask
from diffad_runtime.recipes import Recipe, RecipeBook, load_recipe
from diffad_runtime.recipes import book as book_module


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def write(folder: Path, file: str, name: str, index: int | None = None, more: str = "") -> Path:
    path = folder / file
    folder.mkdir(exist_ok=True)
    line = "" if index is None else f"index = {index}\n"
    path.write_text(f'version = 1\nname = "{name}"\n{line}{more}')
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    write(folder, "a.toml", "left", 1)
    write(folder, "b.toml", "right", 2)
    write(folder, "c.toml", "4711-C")
    write(folder, ".hidden.toml", "left", 1)
    (folder / "notes.txt").write_text("left")
    return folder


class Line:
    """A book on a clock, as a running line uses it."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.book = RecipeBook.open(path, clock=self.clock)

    def look(self, times: int = 3) -> list[str]:
        """Let files settle."""
        lines: list[str] = []
        for _ in range(times):
            self.clock.now += 0.6
            lines += self.book.refresh()
        return lines


def test_chosen_by_name_and_index(folder: Path) -> None:
    book = RecipeBook.open(folder)
    assert [recipe.name for recipe in book.recipes] == ["left", "right", "4711-C"]
    assert book.get("left") is book.get(1) is book.get("1")
    assert book.get("4711-C").index is None
    for unknown in ("center", 3, "3", "", "-1", "１", True, 2**70, "9" * 5000):
        with pytest.raises(
            InputError, match=r"there is no recipe .*, expected one of: left \(1\), right \(2\), 4711-C"
        ):
            book.get(unknown)
    with pytest.raises(InputError, match="no recipe was named, expected one of"):
        book.get()
    single = RecipeBook.open(folder / "b.toml")
    assert single.get().name == single.get("right").name == single.get(2).name == "right"


def test_what_cannot_be_opened(folder: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(InputError, match="there is no recipe at"):
            RecipeBook.open(path)
    with pytest.raises(InputError, match="cannot look at"):
        RecipeBook.open("a\0b")
    write(folder, "d.toml", "right", 9)
    with pytest.raises(InputError, match=r"d\.toml and .*b\.toml are both called 'right'\. Change one"):
        RecipeBook.open(folder)
    write(folder, "d.toml", "third", 2)
    with pytest.raises(InputError, match=r"d\.toml and .*b\.toml both have the index 2"):
        RecipeBook.open(folder)
    write(folder, "d.toml", "third", 3, "frames = 1")
    with pytest.raises(InputError, match=r"d\.toml: frames: there is no such field"):
        RecipeBook.open(folder)


def test_an_edit_comes_in_once_it_lies_still(folder: Path) -> None:
    line = Line(folder)
    before = line.book.get("left")
    assert line.look() == []
    assert line.book.generation == 0
    write(folder, "a.toml", "left", 1, "product = 'new'")
    assert line.book.refresh() == ()  # looked a moment ago
    assert line.look(1) == []  # seen, but it may still be written to
    assert line.book.get("left") is before
    assert line.look(1) == []
    assert (line.book.get("left").product, line.book.generation) == ("new", 1)
    assert before.product == ""
    assert line.look() == []
    assert line.book.generation == 1


def test_a_file_in_pieces_never_comes_in(folder: Path) -> None:
    """A recipe whose last region is not written yet is valid, and yet not the recipe."""
    line = Line(folder)
    text = "[[regions]]\nname = 'one'\n" + "[[regions]]\nname = 'two'\n"
    for end in range(20, len(text) + 1, 7):
        write(folder, "a.toml", "left", 1, text[:end])
        assert line.look(1) == []
        assert [region.name for region in line.book.get("left").regions] == ["frame"]
    write(folder, "a.toml", "left", 1, text)
    line.look()
    assert [region.name for region in line.book.get("left").regions] == ["one", "two"]


def test_a_broken_edit_keeps_the_old_one_and_is_told_once(folder: Path) -> None:
    line = Line(folder)
    before = line.book.get("left")
    write(folder, "a.toml", "left", 1, "product = ")
    (warning,) = line.look(6)
    assert "recipe 'left' stays as it was" in warning
    assert "a.toml is not valid TOML" in warning
    assert "\n" not in warning
    assert line.book.get("left") is before
    write(folder, "a.toml", "left", 1, "product = 3")
    (warning,) = line.look(6)
    assert "product: expected" in warning
    write(folder, "new.toml", "", 5)
    (warning,) = line.look(6)
    assert "new.toml is left out" in warning
    assert line.book.generation == 0
    write(folder, "a.toml", "left", 1, "product = 'mended'")
    assert line.look() == []
    assert line.book.get(1).product == "mended"


def test_an_edit_that_takes_anothers_name_waits(folder: Path) -> None:
    line = Line(folder)
    write(folder, "a.toml", "right", 1)
    (warning,) = line.look(6)
    assert "recipe 'left' stays as it was: " in warning
    assert "are both called 'right'" in warning
    write(folder, "b.toml", "left", 2)  # now they have changed places
    assert line.look(6) == []
    assert (line.book.get("left").index, line.book.get("right").index) == (2, 1)


def test_two_files_may_change_places_at_once(folder: Path) -> None:
    line = Line(folder)
    write(folder, "a.toml", "left", 2)
    write(folder, "b.toml", "right", 1)
    assert line.look() == []
    assert (line.book.get(1).name, line.book.get(2).name) == ("right", "left")


def test_files_that_come_and_go(folder: Path) -> None:
    line = Line(folder)
    write(folder, "d.toml", "fourth", 4)
    assert line.look() == []
    assert line.book.get(4).name == "fourth"
    (folder / "b.toml").unlink()
    (warning,) = line.look(6)
    assert warning.startswith("recipe 'right' is gone with its file")
    with pytest.raises(InputError):
        line.book.get("right")
    shutil.rmtree(folder)
    (warning,) = line.look(6)
    assert "those read before stay in force" in warning
    assert line.book.get("left").index == 1
    write(folder, "a.toml", "left", 8)
    assert any("gone with its file" in line_ for line_ in line.look(6))
    assert [recipe.name for recipe in line.book.recipes] == ["left"]
    assert line.book.get("left").index == 8


def test_the_last_recipe_stays_beside_broken_files(folder: Path) -> None:
    line = Line(folder)
    for name in ("b.toml", "c.toml"):
        (folder / name).unlink()
    line.look()
    write(folder, "x.toml", "x", 9, "broken")
    (folder / "a.toml").unlink()
    line.look(6)
    assert [recipe.name for recipe in line.book.recipes] == ["left"]


def test_an_ignore_image_is_part_of_the_recipe(folder: Path) -> None:
    write_mask(folder / "a.png", np.zeros((4, 4), np.uint8))
    write(folder, "a.toml", "left", 1, "[[ignore]]\nimage = 'a.png'")
    line = Line(folder)
    before = line.book.get("left").digest
    mask = np.zeros((4, 4), np.uint8)
    mask[1] = 255
    write_mask(folder / "a.png", mask)
    assert line.look() == []
    assert line.book.get("left").digest != before
    (folder / "a.png").unlink()
    (warning,) = line.look(6)
    assert "does not exist" in warning
    write_mask(folder / "a.png", mask)
    assert line.look() == []


def test_a_file_that_is_written_to_while_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(folder)

    def read_and_write(path: Path) -> Recipe:
        monkeypatch.undo()
        recipe = load_recipe(path)
        write(folder, "a.toml", "left", 1, "product = 'second half'")
        return recipe

    monkeypatch.setattr(book_module, "load_recipe", read_and_write)
    write(folder, "a.toml", "left", 1, "product = 'first'")
    assert line.look(2) == []
    assert line.book.get("left").product == ""
    assert line.look(2) == []
    assert line.book.get("left").product == "second half"


def test_reading_while_it_changes(folder: Path) -> None:
    """Threads that choose recipes see whole ones, whatever is swapped meanwhile."""
    book = RecipeBook.open(folder, every_s=0, settle_s=0)
    stop, faults = threading.Event(), []

    def choose() -> None:
        while not stop.is_set():
            recipe = book.get("left")
            if (recipe.index, recipe.product) not in {(1, ""), (1, "one"), (8, "eight")}:
                faults.append(recipe)

    readers = [threading.Thread(target=choose, daemon=True) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(30):
        temporary = write(folder, ".tmp", "left", *((8, "product='eight'") if turn % 2 else (1, "product='one'")))
        temporary.replace(folder / "a.toml")
        book.refresh()
        book.refresh()
    stop.set()
    for reader in readers:
        reader.join(5)
    assert not faults
    assert book.generation >= 20
