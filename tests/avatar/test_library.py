import logging
import threading

import pytest

from tests.avatar.package_parts import copy_iris, edit
from webrtc_avatar.avatar import library as library_module
from webrtc_avatar.avatar.library import AvatarInfo, Library
from webrtc_avatar.errors import InvalidAvatar, UnknownAvatar


@pytest.fixture
def folder(tmp_path):
    copy_iris(tmp_path / "models" / "iris")
    return tmp_path / "models"


def add(folder, name):
    package = copy_iris(folder / name)
    edit(package, 'name = "iris"', f'name = "{name}"')
    return package


def test_the_shipped_avatar_is_found_without_configuration():
    library = Library()
    assert AvatarInfo("iris", "Iris", "drawn", 512, 512, 0) in library.infos()
    assert library.get("iris").name == "iris"


def test_avatars_are_listed_without_loading_their_pictures(folder, monkeypatch):
    add(folder, "other")
    monkeypatch.setattr(library_module, "load_avatar", lambda _: pytest.fail("loaded"))
    assert [info.name for info in Library([folder], shipped=False).infos()] == ["iris", "other"]


def test_an_avatar_is_loaded_once_however_many_threads_ask(folder, monkeypatch):
    loads = []
    load = library_module.load_avatar
    monkeypatch.setattr(library_module, "load_avatar", lambda path: (loads.append(path), load(path))[1])
    library = Library([folder], shipped=False)
    got = []
    threads = [threading.Thread(target=lambda: got.append(library.get("iris"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len({id(avatar) for avatar in got}) == 1
    assert len(got) == 4


@pytest.mark.parametrize("name", ["nobody", "", "../iris", "models/iris", "IRIS", "x" * 1000])
def test_an_unknown_name_is_never_a_path_and_the_message_lists_the_known(folder, name):
    with pytest.raises(UnknownAvatar, match="installed: iris") as caught:
        Library([folder], shipped=False).get(name)
    assert len(caught.value.message) < 200


def test_a_broken_manifest_hides_only_its_own_avatar_and_is_logged_once(folder, caplog):
    edit(add(folder, "odd"), "frame_size = 512", "frame_size = 511")
    with caplog.at_level(logging.ERROR):
        library = Library([folder], shipped=False)
        library.infos()
    assert [info.name for info in library.infos()] == ["iris"]
    assert "frame_size" in library.broken()[folder / "odd"]
    assert len([record for record in caplog.records if "avatar broken" in record.message]) == 1
    assert library.get("iris").name == "iris"
    with pytest.raises(UnknownAvatar):
        library.get("odd")


def test_an_avatar_whose_pictures_are_broken_is_refused_with_its_message_and_delisted(folder, caplog):
    (add(folder, "other") / "plate.png").write_bytes(b"no picture")
    library = Library([folder], shipped=False)
    for _ in range(2):
        with pytest.raises(InvalidAvatar, match=r"other/plate\.png is neither PNG nor WebP"):
            library.get("other")
    assert [info.name for info in library.infos()] == ["iris"]
    assert list(library.broken()) == [folder / "other"]
    assert len([record for record in caplog.records if "avatar broken" in record.message]) == 1


def test_a_name_that_two_packages_carry_belongs_to_the_first_folder(folder, tmp_path):
    edit(copy_iris(tmp_path / "mine" / "anything"), 'title = "Iris"', 'title = "Mine"')
    assert Library([tmp_path / "mine", folder], shipped=False).get("iris").title == "Mine"
    assert Library([folder, tmp_path / "mine"], shipped=False).get("iris").title == "Iris"


def test_a_missing_folder_is_skipped(folder, tmp_path, caplog):
    library = Library([tmp_path / "nowhere", folder], shipped=False)
    assert [info.name for info in library.infos()] == ["iris"]
    assert "avatar folder skipped" in caplog.text


def test_an_empty_library_says_that_it_has_none():
    with pytest.raises(UnknownAvatar, match="installed: none"):
        Library(shipped=False).get("iris")
