"""From a recipe to the rows that are learnt from, chosen on and measured on."""

from weir.contracts.errors import UsageError
from weir_training.classifier.generate import Part, made
from weir_training.classifier.recipe import ClassifierRecipe
from weir_training.classifier.rows import Labelled, Split, parted, read_labelled, refuse_contaminated, without


def split_of(recipe: ClassifierRecipe) -> Split:
    """Read the recipe's files and make up the rows that it asks for.

    Raises:
        UsageError: a file or a row cannot be read, a held-out text is trained on too, or one part lacks a label.
    """
    data = recipe.data
    heldout = read_labelled([recipe.heldout] if recipe.heldout else [], recipe.labels)
    train, validation = parted(read_labelled(recipe.train, recipe.labels), data.validation_share, recipe.seed)

    def made_up(count: int, part: Part) -> list[Labelled]:
        return without(made(count, part, seed=recipe.seed), heldout)

    train += made_up(data.made, "train")
    validation += made_up(round(data.made * data.validation_share), "validation")
    chosen_on = dict.fromkeys(validation)  # a file may be named several times to count for more: in training
    split = Split(tuple(train), tuple(chosen_on), tuple(heldout))
    refuse_contaminated(split)
    _refuse_one_sided(split, recipe.labels)
    return split


def _refuse_one_sided(split: Split, labels: tuple[str, str]) -> None:
    for name, rows in (("train", split.train), ("validation", split.validation)):
        for label, is_sought in zip(labels, (False, True), strict=True):
            if not any(row.is_sought is is_sought for row in rows):
                raise UsageError(f"data: no {name} row is labelled {label!r}; both labels are needed in each part")
