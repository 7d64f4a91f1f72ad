from utils import runs
from utils.training import recipes


def test_a_description_names_every_setting_with_its_meaning():
    text = recipes.describe(recipes.recipe("tones", epochs=7))
    lines = {line.split()[0]: line for line in text.splitlines()[:-1]}
    assert set(lines) == set(vars(recipes.RECIPES["tones"])) - {"title", "remark"}
    assert "7" in lines["epochs"] and "passes over the training images" in lines["epochs"]
    assert text.endswith(recipes.RECIPES["tones"].remark)


def test_quick_trains_two_epochs_unless_told_otherwise():
    assert recipes.recipe("best", quick=True) == recipes.recipe("best", epochs=2)
    assert recipes.recipe("best", quick=True, epochs=3).epochs == 3


def test_a_title_names_the_recipe_and_what_was_changed_in_it():
    chosen = recipes.recipe("best", epochs=3)
    card = {"recipe": vars(chosen), "changed": recipes.changed_fields(chosen)}
    assert recipes.title(card) == "compact network, our handling, epochs 3"
    card["changed"] = {"network": ["compact", "mine"], "epochs": [48, 3]}
    assert recipes.title(card) == "recipe best, network mine, epochs 3"
    elsewhere = {"recipe": {"name": "best", "network": "best.keras"}, "adapted": {}}
    assert recipes.title(elsewhere) == "model from elsewhere"


def test_cards_of_released_runs_hold_the_recipes_of_today():
    for name in ("best", "best_published", "compact_usual", "published"):
        card = runs.released(name).card
        assert recipes.completed(card["recipe"]) == recipes.completed(vars(recipes.RECIPES[name]))
        assert recipes.title(card) == recipes.RECIPES[name].title
    assert "curve" not in recipes.completed(card["recipe"] | {"curve": 0.1})
