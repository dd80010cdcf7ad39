"""Reading weights that others wrote: nothing in them is run, and what is wrong is named."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from arena.contracts import InvalidInput
from tests.worldmodels.factories import Bomb
from worldmodels.weights import read_weights


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_read(tmp_path: Path, zipped: bool) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.float16)}
    torch.save(tensors, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "w.pt")
    assert set(read) == {"a", "b"}
    torch.testing.assert_close(read["a"], tensors["a"])


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"a": torch.zeros(1), "b": Bomb(tmp_path / "boom")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InvalidInput, match=r"bomb\.pt is refused: it is damaged or holds more than tensors") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "boom").exists()


def test_a_plain_pickle_under_a_torch_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(InvalidInput, match=r"bomb\.bin"):
        read_weights(tmp_path / "bomb.bin")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([torch.zeros(1)], "a dictionary of tensors, not a list"),
        ({"a": {"b": torch.zeros(1)}}, "'a' is a dict"),
        ({0: torch.zeros(1)}, "only tensors by name"),
        ({"a": torch.zeros(1).expand(10**12)}, "more than it stores"),
    ],
)
def test_torch_files_of_another_form_are_refused(tmp_path: Path, value: object, said: str) -> None:
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(InvalidInput, match=said):
        read_weights(tmp_path / "w.pt")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(InvalidInput, match="unpacks to 10000000 bytes"):
        read_weights(tmp_path / "w.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"hello")
    for path, said in (
        (tmp_path / "w.pt", "w.pt"),
        (tmp_path / "no.pt", "does not exist"),
        (tmp_path / "w.h5", "no kind"),
    ):
        with pytest.raises(InvalidInput, match=said):
            read_weights(path)
