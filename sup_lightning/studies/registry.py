"""All studies, in the order of the question list."""

import importlib

from sup_lightning.studies.study import Study

MODULES = {
    "M01": "paper.intro",
    "M02": "paper.linear_against_relu",
    "M03": "paper.phase_diagrams",
    "M04": "paper.dimensions_per_feature",
    "M05": "paper.density_crossover",
    "M06": "paper.correlated_features",
    "M07": "paper.learning_dynamics",
    "M08": "paper.adversarial",
    "M09": "paper.privileged_basis",
    "M10": "paper.absolute_value",
    "T01": "toy.dropout",
    "T02": "toy.absolute_variants",
    "T03": "toy.square",
    "T04": "toy.two_classes",
    "T05": "toy.boolean_pairs",
    "T06": "toy.pair_maximum",
    "T07": "toy.value_laws",
    "T08": "toy.value_laws",
    "T09": "toy.value_laws",
    "T10": "toy.smooth_activations",
    "T11": "toy.gelu_square",
    "T12": "toy.classification",
    "T13a": "toy.many_pairs",
    "T13b": "toy.many_levels",
    "T14": "toy.layers",
    "T15": "toy.skip_trigrams",
    "T16": "toy.simultaneous_interference",
    "X01": "counterexamples.nonlinear_representation",
    "X02": "counterexamples.no_discrete_number",
    "X03": "counterexamples.non_decomposable",
    "X04": "counterexamples.feature_sets",
    "N03": "neurons.all_neurons",
    "P01": "probing.simple_features",
    "P02": "probing.shared_features",
    "O01": "open.place_of_a_rare_feature",
}
"""The module of each study below `sup_lightning.studies`; it holds one subclass of Study with that id."""


def study_class(study_id: str) -> type[Study]:
    """The class of a study, by its id as it is listed."""
    module = importlib.import_module(f"sup_lightning.studies.{MODULES[study_id]}")
    classes = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Study) and each.__module__ == module.__name__
    ]
    return next(each for each in classes if each.id == study_id)
