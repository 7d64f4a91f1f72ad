"""The page: what it answers and keeps. Gradio itself is not needed here; a stand-in takes its place."""

import shutil
import sys
from types import SimpleNamespace

import pytest
from conftest import make_workspace

from utils import runs
from utils.inference import classify, page


@pytest.fixture
def uploaded(tmp_path):
    """The three examples and a file that is no picture, as they lie after an upload; two names are equal."""
    paths = []
    for number, example in enumerate(sorted(classify.EXAMPLES.glob("*.png"))):
        (tmp_path / "up" / str(number)).mkdir(parents=True)
        name = example.name if number else "$\\bad_{$.png"
        paths.append(shutil.copy(example, tmp_path / "up" / str(number) / name))
    (tmp_path / "up" / "bad").mkdir()
    broken = tmp_path / "up" / "bad" / "$\\bad_{$.png"
    broken.write_text("no picture")
    return [*paths, str(broken)]


def test_uploaded_files_are_answered_and_nothing_is_kept(uploaded, tmp_path):
    ws = make_workspace(tmp_path / "home")
    text, cards = page.answered(runs.released("best"), None, uploaded, ws)
    assert text.startswith("4 files: 2 above the threshold, 1 below") and "not an image file" in text
    titles = [card.get_suptitle() for card in cards.subfigs]
    assert any("bad_" in title for title in titles) and not any("up/" in title for title in titles)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".png", ".csv")]


def test_too_many_files_are_deleted_and_a_sentence_says_what_to_do(uploaded, tmp_path):
    many = [shutil.copy(uploaded[0], tmp_path / f"{number}.png") for number in range(page.MOST + 1)]
    text, cards = page.answered(runs.released("best"), None, many, make_workspace(tmp_path))
    assert "At most 6" in text and cards is None and not list(tmp_path.glob("*.png"))


def test_a_phantom_network_is_refused_in_words(trained, uploaded, tmp_path):
    text, cards = page.answered(trained, None, uploaded, make_workspace(tmp_path))
    assert "synthetic phantom" in text and cards is None


def test_the_page_listens_on_this_computer_only(monkeypatch, tmp_path):
    launched = {}

    class Part:
        def __init__(self, *args, **settings):
            launched.update(settings)

        def __enter__(self):
            return self

        __exit__ = upload = clear = lambda self, *_: None

        def launch(self, **settings):
            launched.update(settings)

    stand_in = SimpleNamespace(Blocks=Part, Markdown=Part, File=Part, Plot=Part)
    monkeypatch.setitem(sys.modules, "gradio", stand_in)
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    page.show()
    assert launched["server_name"] == "127.0.0.1" and launched["share"] is False
    assert launched["analytics_enabled"] is False


def test_without_gradio_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(page.PageError, match="pip install gradio"):
        page.show()
