"""Words of the synthetic families: names, things, places, and a little grammar.

A name also fixes the *voice* of its problem, that is, how its solution is worded: a policy seldom has to guess words.
"""

from collections.abc import Sequence

NAMES: Sequence[str] = """
Anna Tom Maria Ben Lucy Omar Nina Paul Sara Leo Emma Jack
Grace Noah Ivy Sam Zoe Max Ruth Adam Ella Hugo Mia Carl
Nora Dan Rosa Tim Lily Ravi Jane Karl Alma Eric Vera Luke
Amy Mark Dora Finn Kate Rico Tess Igor Lena Owen Beth Saul
Cora Glen Hana Joel Kira Lars Mona Neil Olga Pete Quinn Rita
Sofia Theo Uma Vito Wendy Yuri Alice Bruno Clara David Elsa Fred
""".split()

THINGS: Sequence[str] = """
apples pears plums oranges lemons cherries grapes nuts cookies candies muffins cakes pies eggs sandwiches
books pens pencils crayons stickers stamps cards coins marbles beads buttons shells stones feathers leaves
toys dolls balls kites puzzles tickets badges ribbons hats scarves socks shirts plants roses tulips seeds
bottles cups plates spoons candles boxes bricks nails screws magnets photos postcards balloons blocks
""".split()

PLACES: Sequence[str] = """
library school bakery farm market garden museum shop station park bank hotel cinema harbor kitchen workshop
""".split()

ANIMALS = "cows sheep goats hens ducks horses rabbits pigs geese bees cats dogs".split()
FLOWERS = "roses tulips lilies daisies irises poppies".split()
JOBS = "washing cars|walking dogs|mowing lawns|painting fences|teaching chess|selling bread|cleaning windows".split("|")
CONTAINERS = {  # plural: singular
    "bags": "bag",
    "boxes": "box",
    "baskets": "basket",
    "jars": "jar",
    "shelves": "shelf",
    "packs": "pack",
    "trays": "tray",
    "rows": "row",
}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def has(holder: str) -> str:
    """Subject and verb: "Anna has", "they have"."""
    return f"{holder} have" if holder == "they" else f"{holder} has"


def does(holder: str) -> str:
    """The middle of a question: "does Anna", "do they"."""
    return f"do {holder}" if holder == "they" else f"does {holder}"


def gives(holder: str, verb: str) -> str:
    """Subject and verb: "Anna gives", "they give"."""
    return f"{holder} {verb}" if holder == "they" else f"{holder} {verb}s"


def capital(text: str) -> str:
    """The text with a capital first letter, the rest untouched."""
    return text[:1].upper() + text[1:]
