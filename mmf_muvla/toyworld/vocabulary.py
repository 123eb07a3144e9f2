"""What exists in the toy world: categories, their words, their looks, and the places they live in."""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = ("red", "yellow", "green", "blue", "brown", "black", "white", "gray")
# An object is small for its kind, large for its kind, or neither (None).
SIZES = ("small", "large")
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}


@dataclass(frozen=True)
class Noun:
    """A countable English noun with its plural."""

    singular: str
    plural: str


@dataclass(frozen=True)
class Category:
    """One kind of object.

    Attributes:
        nouns: its name, which the detector's tags use, then synonyms, which only texts use: whoever learns from tags
            alone has never seen them beside a region.
        family: kinds that look alike; the detector confuses them, and a picture draws them alike.
        colours: what it usually looks like. Any other colour is possible.
        zone: where it stays: ``"ground"``, ``"sky"``, ``"wall"``, or ``"surface"`` (on furniture if there is any).
        height: height of an ordinary specimen in the foreground, as a share of the picture's height.
        aspect: width divided by height.
        gregarious: whether several of them often occur together.
    """

    nouns: tuple[Noun, ...]
    family: str
    colours: tuple[str, ...]
    zone: str
    height: float
    aspect: float
    gregarious: bool


def _noun(singular: str) -> Noun:
    if singular in ("sheep", "aircraft"):
        return Noun(singular, singular)
    if singular.endswith("man"):
        return Noun(singular, singular.removesuffix("man") + "men")
    if singular.endswith("y") and singular[-2] not in "aeiou":
        return Noun(singular, singular.removesuffix("y") + "ies")
    if singular.endswith(("s", "sh", "ch")):
        return Noun(singular, singular + "es")
    return Noun(singular, "calves" if singular == "calf" else singular + "s")


def _category(
    words: str, family: str, colours: str, zone: str, height: float, aspect: float, *, gregarious: bool = False
) -> Category:
    nouns = tuple(_noun(word) for word in words.split("/"))
    return Category(nouns, family, tuple(colours.split("/")), zone, height, aspect, gregarious)


_ALL = (
    # people
    _category("man/guy/gentleman", "person", "blue/black/gray", "ground", 0.50, 0.36, gregarious=True),
    _category("woman/lady", "person", "red/white/blue", "ground", 0.48, 0.36, gregarious=True),
    _category("boy/lad", "person", "green/blue/yellow", "ground", 0.36, 0.38, gregarious=True),
    _category("girl/schoolgirl", "person", "yellow/red/white", "ground", 0.35, 0.38, gregarious=True),
    # animals of house and farm
    _category("dog/puppy/hound", "beast", "brown/black/white", "ground", 0.20, 1.35, gregarious=True),
    _category("cat/kitten/kitty", "beast", "gray/black/white", "surface", 0.15, 1.25, gregarious=True),
    _category("horse/pony", "beast", "brown/black/white", "ground", 0.38, 1.20, gregarious=True),
    _category("cow/calf", "beast", "brown/black/white", "ground", 0.32, 1.40, gregarious=True),
    _category("sheep/lamb", "beast", "white/black/gray", "ground", 0.23, 1.30, gregarious=True),
    _category("pig/hog", "beast", "white/brown/black", "ground", 0.20, 1.50, gregarious=True),
    _category("chicken/hen", "fowl", "white/brown/red", "ground", 0.14, 1.00, gregarious=True),
    _category("duck/mallard", "fowl", "white/green/brown", "ground", 0.13, 1.20, gregarious=True),
    _category("pigeon/dove", "fowl", "blue/gray/black", "sky", 0.10, 1.40, gregarious=True),
    # animals of the zoo
    _category("elephant", "wild", "gray/brown", "ground", 0.46, 1.35),
    _category("giraffe", "wild", "yellow/brown", "ground", 0.60, 0.62),
    _category("zebra", "wild", "white/black", "ground", 0.34, 1.30, gregarious=True),
    _category("lion/lioness", "wild", "yellow/brown", "ground", 0.28, 1.45),
    _category("monkey/ape", "wild", "brown/black/gray", "ground", 0.22, 0.85, gregarious=True),
    # things that move
    _category("car/automobile/sedan", "vehicle", "red/blue/white", "ground", 0.25, 2.00, gregarious=True),
    _category("truck/lorry", "vehicle", "green/white/blue", "ground", 0.33, 1.90),
    _category("bus/minibus", "vehicle", "yellow/red", "ground", 0.36, 2.00),
    _category("tractor", "vehicle", "green/red", "ground", 0.33, 1.35),
    _category("bicycle/bike", "cycle", "red/blue/black", "ground", 0.24, 1.50, gregarious=True),
    _category("motorcycle/motorbike", "cycle", "black/red/gray", "ground", 0.25, 1.55),
    _category("boat/sailboat/ship", "craft", "white/blue/red", "ground", 0.32, 1.20, gregarious=True),
    _category("airplane/plane/aircraft", "craft", "white/gray", "sky", 0.15, 2.30),
    # furniture
    _category("chair/armchair", "furniture", "brown/white/black", "ground", 0.28, 0.75, gregarious=True),
    _category("table", "furniture", "brown/white", "ground", 0.24, 1.90),
    _category("couch/sofa", "furniture", "red/gray/green", "ground", 0.27, 2.10),
    _category("bench", "furniture", "brown/green", "ground", 0.21, 2.10),
    _category("desk", "furniture", "brown/black", "ground", 0.26, 1.80),
    _category("lamp/lantern", "furnishing", "yellow/white", "surface", 0.20, 0.55),
    # things on tables
    _category("cup/mug", "tableware", "white/blue/red", "surface", 0.085, 1.05, gregarious=True),
    _category("bowl/dish", "tableware", "white/green/blue", "surface", 0.085, 1.70, gregarious=True),
    _category("bottle/flask", "tableware", "green/brown", "surface", 0.16, 0.36, gregarious=True),
    _category("apple", "fruit", "red/green/yellow", "surface", 0.080, 1.00, gregarious=True),
    _category("banana", "fruit", "yellow/green", "surface", 0.080, 1.60, gregarious=True),
    _category("book/novel", "paper", "blue/red/brown", "surface", 0.100, 1.15, gregarious=True),
    _category("laptop/computer", "device", "gray/black", "surface", 0.15, 1.30, gregarious=True),
    _category("phone/telephone", "device", "black/white", "surface", 0.110, 0.55),
    _category("television/tv", "device", "black/gray", "wall", 0.24, 1.55),
    _category("clock/timepiece", "furnishing", "white/brown/black", "wall", 0.15, 1.00),
    # outdoors
    _category("tree/oak", "plant", "green/brown", "ground", 0.56, 0.75, gregarious=True),
    _category("flower/blossom", "plant", "red/yellow/white", "ground", 0.17, 0.60, gregarious=True),
    _category("house/cottage", "building", "white/red/brown", "ground", 0.48, 1.20),
    _category("umbrella/parasol", "toy", "red/blue/yellow", "ground", 0.30, 1.10, gregarious=True),
    _category("ball", "toy", "red/white/yellow", "ground", 0.10, 1.00, gregarious=True),
    _category("kite", "toy", "red/yellow/blue", "sky", 0.17, 0.85, gregarious=True),
)

CATEGORIES = {category.nouns[0].singular: category for category in _ALL}

# Furniture that carries things, with the height of its top as a share of its box, from above.
SURFACES = {"table": 0.06, "desk": 0.06, "bench": 0.42, "couch": 0.48}
# What small things can be under, with the lower edge of its roof as a share of its box, from above.
SHELTERS = {"table": 0.40, "desk": 0.40, "bench": 0.60, "tree": 0.62, "umbrella": 0.50}
# What is found under shelters, if it fits.
SHELTERED = ("dog", "cat", "ball", "duck", "chicken", "boy", "girl")


@dataclass(frozen=True)
class Theme:
    """A kind of place.

    Attributes:
        name: how manifests and records call it.
        places: how texts call it, each with its preposition.
        weights: how frequent each category is there: first those that make the place what it is.
        horizon: where the ground (or floor) begins, as a share of the picture's height from above.
    """

    name: str
    places: tuple[str, ...]
    weights: dict[str, int]
    horizon: float

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(self.weights)


def _theme(name: str, places: str, categories: str, horizon: float) -> Theme:
    typical, occasional = (part.split() for part in categories.split(";"))
    weights = dict.fromkeys(typical, 3) | dict.fromkeys(occasional, 1)
    return Theme(name, tuple(places.split("/")), weights, horizon)


_THEMES = (
    _theme(
        "kitchen",
        "in a kitchen/in a bright kitchen/in the kitchen",
        "table chair cup bowl bottle apple banana; woman man girl boy cat clock lamp phone flower",
        0.52,
    ),
    _theme(
        "living room",
        "in a living room/in the living room/in a cozy lounge",
        "couch television lamp book table cat chair; dog man woman girl boy phone clock ball cup flower laptop",
        0.50,
    ),
    _theme(
        "office",
        "in an office/at the office/in a tidy workplace",
        "desk laptop phone book chair clock lamp; man woman cup bottle television flower table",
        0.50,
    ),
    _theme(
        "street",
        "on a street/in a busy street/along a city road",
        "car truck bus bicycle motorcycle house; man woman boy dog tree umbrella pigeon bench airplane cat",
        0.40,
    ),
    _theme(
        "farm",
        "on a farm/in a farmyard/in a wide field",
        "horse cow sheep pig chicken duck tractor; house tree dog man woman pigeon truck flower",
        0.38,
    ),
    _theme(
        "park",
        "in a park/in the park/on a green lawn",
        "tree bench flower kite dog ball bicycle; boy girl man woman pigeon duck umbrella book banana apple",
        0.40,
    ),
    _theme(
        "beach",
        "at the beach/on a sandy beach/by the sea",
        "boat umbrella kite ball pigeon airplane; man woman girl boy dog chair bottle book motorcycle",
        0.42,
    ),
    _theme(
        "zoo",
        "at the zoo/in a zoo/in a wildlife park",
        "elephant giraffe zebra lion monkey; tree boy girl man woman pigeon bench duck",
        0.36,
    ),
)

THEMES = {theme.name: theme for theme in _THEMES}


def synonym_words() -> frozenset[str]:
    """Every singular and plural that texts use and tags never do."""
    return frozenset(word for category in _ALL for noun in category.nouns[1:] for word in (noun.singular, noun.plural))
