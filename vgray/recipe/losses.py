"""What a network learns from: losses, miners within a batch, and tuples mined before it."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from vgray.recipe.settings import NonNegativeFloat, PositiveFloat, Settings

# --- losses of pairs and triplets of places, from pytorch-metric-learning ------------------------


class Contrastive(Settings):
    """Contrastive loss; margins are Euclidean distances of unit vectors, so at most 2."""

    name: Literal["contrastive"] = "contrastive"
    pos_margin: float = Field(0.0, ge=0, le=2)
    neg_margin: float = Field(1.0, ge=0, le=2)


class Triplet(Settings):
    """Triplet margin loss over every triplet of the batch, the mean of those that are not zero."""

    name: Literal["triplet"] = "triplet"
    margin: float = Field(0.1, gt=0, le=2)


class MultiSimilarity(Settings):
    """Multi-similarity loss. GSV-Cities: 1, 50, 0 (the default here); its library: 2, 50, 0.5."""

    name: Literal["multi_similarity"] = "multi_similarity"
    alpha: PositiveFloat = 1.0
    beta: PositiveFloat = 50.0
    base: float = Field(0.0, ge=-1, le=1)


class Circle(Settings):
    """Circle loss; ``m`` relaxes what is asked of similarities, ``gamma`` scales them."""

    name: Literal["circle"] = "circle"
    m: float = Field(0.4, ge=0, le=1)
    gamma: PositiveFloat = 80.0


class NTXent(Settings):
    """Normalised temperature-scaled cross entropy: each positive against all negatives."""

    name: Literal["ntxent"] = "ntxent"
    temperature: PositiveFloat = 0.07


class SupCon(Settings):
    """Supervised contrastive loss: all positives of an image against all others."""

    name: Literal["supcon"] = "supcon"
    temperature: PositiveFloat = 0.07


class FastAP(Settings):
    """Average precision, differentiable through a histogram of distances with ``num_bins``.

    Each image ranks all others of the batch, those of its own label before the rest. So a miner
    leaves no pair out: it only weighs images, by how often they stand in what it keeps. Tuples
    enter it as one batch: a query and its positives have one label, every other image has one of
    its own, and two tuples are negatives of each other even where they show the same place.
    """

    name: Literal["fastap"] = "fastap"
    num_bins: int = Field(30, ge=2, le=1000)


class LiftedStructure(Settings):
    """Generalised lifted structure loss on similarities, with the margins of GSV-Cities."""

    name: Literal["lifted_structure"] = "lifted_structure"
    neg_margin: float = Field(0.0, ge=-2, le=2)
    pos_margin: float = Field(1.0, ge=-2, le=2)


# --- losses of a query, its positive and its negatives -------------------------------------------


class WeakTriplet(Settings):
    """NetVLAD's weakly supervised triplet loss: the mean over all triplets, zeros included.

    The benchmark's margin is 0.1 on distances, that of the first implementation 0.316.
    """

    name: Literal["weak_triplet"] = "weak_triplet"
    margin: float = Field(0.1, gt=0, le=2)


class SAREJoint(Settings):
    """Stochastic attraction-repulsion embedding: a positive against all negatives at once."""

    name: Literal["sare_joint"] = "sare_joint"


class SAREIndependent(Settings):
    """Stochastic attraction-repulsion embedding: a positive against one negative at a time."""

    name: Literal["sare_independent"] = "sare_independent"


class Solar(Settings):
    """SOLAR's triplet loss on squared distances plus its second-order similarity."""

    name: Literal["solar"] = "solar"
    margin: float = Field(0.1, gt=0, le=4)
    second_order_weight: NonNegativeFloat = 5.0


class HPHN(Settings):
    """SOE-Net's quadruplet loss: farthest positive, nearest negative, one further negative.

    Published with 2 positives and 8 negatives for each query.
    """

    name: Literal["hphn"] = "hphn"
    margin: float = Field(0.5, gt=0, le=4)


Loss: TypeAlias = Annotated[
    Contrastive
    | Triplet
    | MultiSimilarity
    | Circle
    | NTXent
    | SupCon
    | FastAP
    | LiftedStructure
    | WeakTriplet
    | SAREJoint
    | SAREIndependent
    | Solar
    | HPHN,
    Field(discriminator="name"),
]


# --- miners: which pairs or triplets of a batch of places enter the loss -------------------------


class NoMiner(Settings):
    """Every pair or triplet of the batch enters the loss."""

    name: Literal["none"] = "none"


class MultiSimilarityMiner(Settings):
    """Keeps pairs that are within epsilon of violating the order of similarities."""

    name: Literal["multi_similarity"] = "multi_similarity"
    epsilon: float = Field(0.1, ge=-2, le=2)


class PairMargin(Settings):
    """Keeps far positives and near negatives.

    Published twice: 0.2 and 0.8 on ``euclidean`` distance, 0.7 and 0.3 on ``cosine`` similarity.
    """

    name: Literal["pair_margin"] = "pair_margin"
    pos_margin: float = Field(0.2, ge=-1, le=2)
    neg_margin: float = Field(0.8, ge=-1, le=2)
    distance: Literal["euclidean", "cosine"] = "euclidean"


class TripletMargin(Settings):
    """Keeps triplets that violate the margin."""

    name: Literal["triplet_margin"] = "triplet_margin"
    margin: float = Field(0.1, ge=0, le=2)
    type_of_triplets: Literal["all", "hard", "semihard", "easy"] = "all"


Miner: TypeAlias = Annotated[
    NoMiner | MultiSimilarityMiner | PairMargin | TripletMargin, Field(discriminator="name")
]


# --- mining: tuples of a query, positives and negatives, chosen before the batch -----------------


class NoMining(Settings):
    """Batches of places (``batch``), as GSV-Cities trains."""

    name: Literal["none"] = "none"


class _Mining(Settings):
    """Batches of tuples, as NetVLAD trains: a query, its positives, and negatives.

    Defaults are those of the deep visual geo-localization benchmark. What is larger than the data
    is cut down to it; a query with fewer negatives than others repeats its own.
    """

    train_positive_distance_m: float = Field(10.0, gt=0, le=1000)
    """A positive lies this near; queries without one are not trained on."""
    soft_positive_distance_m: float = Field(25.0, gt=0, le=100_000)
    """A negative lies farther away than this."""
    positives: int = Field(1, ge=1, le=16)
    """For each query: the nearest of its positives by descriptor."""
    negatives: int = Field(10, ge=1, le=256)
    """For each query."""
    tuples_per_batch: int = Field(4, ge=1, le=256)
    queries_per_epoch: int = Field(5000, ge=1, le=10_000_000)
    cache_refresh_rate: int = Field(1000, ge=1, le=10_000_000)
    """Queries trained on before descriptors are computed anew."""

    @model_validator(mode="after")
    def _positives_are_no_negatives(self) -> Self:
        if self.soft_positive_distance_m < self.train_positive_distance_m:
            raise ValueError(
                f"found soft_positive_distance_m {self.soft_positive_distance_m:g} below "
                f"train_positive_distance_m {self.train_positive_distance_m:g}, so a positive "
                "could be a negative; raise the first or lower the second"
            )
        return self


class RandomMining(_Mining):
    """Negatives at random."""

    name: Literal["random"] = "random"


class PartialMining(_Mining):
    """The hardest negatives of one pool for all queries of a refresh."""

    name: Literal["partial"] = "partial"
    pool_size: int = Field(1000, ge=1, le=10_000_000)
    """Database images described at each refresh, beside the queries and their positives."""


class FullMining(_Mining):
    """The hardest negatives of the whole database: of a pool and those that were hardest before."""

    name: Literal["full"] = "full"
    pool_size: int = Field(1000, ge=1, le=10_000_000)
    """Negatives drawn for each query, to which its hardest of last time are added."""


class MslsWeightedMining(_Mining):
    """As ``partial``, but queries at night or looking sideways are drawn more often."""

    name: Literal["msls_weighted"] = "msls_weighted"
    pool_size: int = Field(1000, ge=1, le=10_000_000)


Mining: TypeAlias = Annotated[
    NoMining | RandomMining | PartialMining | FullMining | MslsWeightedMining,
    Field(discriminator="name"),
]
