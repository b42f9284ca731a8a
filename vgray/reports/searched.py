"""What a search for an ensemble found: as an ensemble, and as a report tells it."""

from dataclasses import dataclass

from vgray.reports.image_sets import ImageSet
from vgray.reports.named import SEARCHED, Ensemble
from vgray.reports.plan import Plan
from vgray.reports.results import Search, SearchStep
from vgray.retrieval.ensemble_search import Found


@dataclass(frozen=True)
class Searched:
    """The outcome of a search."""

    ensembles: tuple[Ensemble, ...]
    """What was found; none where a single model is best."""
    told: Search


def as_told(plan: Plan, found: Found, validation: ImageSet) -> Searched:
    """Return what a search among a plan's candidates found.

    Args:
        plan: whose candidates were searched, by the names that they have as members.
        found: by the search.
        validation: the images that it was searched on.
    """
    members = {candidate.member: candidate for candidate in plan.candidates}
    chosen = tuple((members[name], weight) for name, weight in found.members)
    return Searched(
        ensembles=(Ensemble(SEARCHED, chosen, "search"),) if len(chosen) > 1 else (),
        told=Search(
            validation=str(validation),
            num_queries=found.num_queries,
            candidates=list(members),
            left_out=found.left_out,
            weights=list(found.weights),
            budget=found.budget,
            pca=plan.options.pca,
            steps=[
                SearchStep(
                    added=step.added,
                    weight=step.weight,
                    dimension=step.dimension,
                    val_recall=step.val_recall,
                    gain=step.gain,
                    p_value=step.p_value,
                )
                for step in found.steps
            ],
            outcome=found.outcome,
            singles=dict(found.singles),
        ),
    )
