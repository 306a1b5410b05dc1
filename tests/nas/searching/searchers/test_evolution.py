from tests.contracts.searcher_contract import SearcherContract


class TestRegularisedEvolution(SearcherContract):
    name = "regularised-evolution"
    generations = 600
    least_gain = 0.0  # a method for one objective
    one_at_a_time = True


class TestConstrainedEvolution(SearcherContract):
    name = "constrained-evolution"
