"""The recipe: strict, overridable, relocatable, and the key of its run."""

from pathlib import Path

import pytest

from weir.contracts.errors import UsageError
from weir_training.options import read_recipe
from weir_training.recipe import RECIPES, Recipe, dump_recipe, load_recipe, named_recipe
from weir_training.rundir import RunDirectory, open_run, run_key

ROW = '{"prompt": "q", "completion": "a"}\n'


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text(ROW)
    path = tmp_path / "recipe.yaml"
    path.write_text("name: demo\ndata: {train: [rows.jsonl]}\n")
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_loads_and_its_data_exists(path: Path) -> None:
    recipe = load_recipe(path)

    assert all(Path(name).is_file() for name in recipe.data.train)


def test_a_dumped_recipe_loads_to_the_same_recipe(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ("optim.lr=4e-3", "method.targets=[q_proj]"))
    dumped = tmp_path / "resolved.yaml"
    dumped.write_text(dump_recipe(recipe))

    assert load_recipe(dumped) == recipe


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.learning_rate=1", "unknown key"),
        ("optim.warmup=1", "did you mean 'warmup_ratio'?"),
        ("optim.lr=nought", "valid number"),
        ("optim.batch_size=0", "greater than or equal to 1"),
        ("name=UPPER", "pattern"),
        ("optim.lr", "expected a.b=value"),
        ("optim.lr=[1", "not a YAML value"),
        ("name.deep=1", "not a section"),
        ("schema_version=2", "schema_version"),
    ],
)
def test_a_wrong_override_is_refused_with_its_place(recipe_file: Path, override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        load_recipe(recipe_file, (override,))


def test_all_faults_of_a_recipe_are_told_at_once(recipe_file: Path) -> None:
    recipe_file.write_text("name: demo\ndata: {train: [], maxlength: 3}\noptim: {lr: -1}\n")

    with pytest.raises(UsageError) as caught:
        load_recipe(recipe_file)

    assert len(str(caught.value).splitlines()) == 3


def test_yaml_that_does_not_parse_is_refused_with_line_and_column(recipe_file: Path) -> None:
    recipe_file.write_text("name: demo\ndata: {train: [x\n")

    with pytest.raises(UsageError, match=r"recipe\.yaml:\d+:\d+: not YAML"):
        load_recipe(recipe_file)


def test_the_article_preset_fixes_its_values_and_refuses_others(recipe_file: Path) -> None:
    method = load_recipe(recipe_file, ("method.preset=article",)).method

    assert (method.r, method.alpha, method.dropout, method.targets) == (16, 32, 0.1, ("q_proj", "v_proj"))
    with pytest.raises(UsageError, match="preset 'article' fixes r"):
        load_recipe(recipe_file, ("method.preset=article", "method.r=8"))


def test_an_unknown_recipe_name_lists_the_shipped_ones() -> None:
    with pytest.raises(UsageError, match="shipped ones: faq"):
        named_recipe("no-such-recipe")


def test_data_from_the_command_line_comes_without_the_recipes_heldout_file(recipe_file: Path) -> None:
    rows = recipe_file.parent / "rows.jsonl"

    assert read_recipe("faq", None, None, None, None).data.heldout is not None
    assert read_recipe("faq", [rows], None, None, None).data.heldout is None
    assert read_recipe("faq", [rows], rows, None, None).data.heldout == str(rows)


def test_another_base_drops_the_revision_of_the_recipes_base(recipe_file: Path) -> None:
    recipe = read_recipe(str(recipe_file), None, None, "some/model", ["model.revision=abc"])

    assert (recipe.model.base, recipe.model.revision) == ("some/model", None)


def test_a_relative_base_is_relative_to_the_recipe(recipe_file: Path) -> None:
    assert load_recipe(recipe_file, ("model.base=./base",)).model.base == str(recipe_file.parent / "base")
    assert load_recipe(recipe_file, ("model.base=org/base",)).model.base == "org/base"


def _with(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update=changes)


def test_the_run_key_follows_what_decides_the_adapter_and_nothing_else(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file)
    key = run_key(recipe)
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_text(ROW)

    assert run_key(_with(recipe, data=recipe.data.model_copy(update={"train": (str(moved),)}))) == key
    assert run_key(_with(recipe, export=recipe.export.model_copy(update={"block_size": 128}))) == key
    assert run_key(_with(recipe, seed=1)) != key
    assert run_key(load_recipe(recipe_file, ("optim.threads=1",))) != key
    moved.write_text(ROW * 2)
    assert run_key(_with(recipe, data=recipe.data.model_copy(update={"train": (str(moved),)}))) != key


def test_a_stage_counts_only_while_its_outputs_are_what_it_wrote(tmp_path: Path, recipe_file: Path) -> None:
    run = open_run(tmp_path / "home", load_recipe(recipe_file))
    output = run.root / "adapter" / "weights"
    output.parent.mkdir()
    output.write_text("weights")
    run.record("train", "key", outputs=[run.adapter], seconds=1.0, metrics={"loss": 0.5})

    assert RunDirectory(run.root).is_done("train", "key")
    assert not run.is_done("train", "other key")
    assert run.metrics("train") == {"loss": 0.5}
    output.write_text("other")
    assert not run.is_done("train", "key")


def test_one_gate_number_may_be_set_without_the_others() -> None:
    recipe = load_recipe(named_recipe("faq"), ("export.int4.kl=0.05",))

    assert (recipe.export.int4.kl, recipe.export.int4.argmax) == (0.05, 0.93)
    assert (recipe.export.int8.kl, recipe.export.int8.argmax) == (0.01, 0.95)
