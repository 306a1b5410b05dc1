from tests.contracts.searcher_contract import SearcherContract


class TestRegularisedEvolution(SearcherContract):
    name = "regularised-evolution"
    generations = 360
    one_at_a_time = True


class TestConstrainedEvolution(SearcherContract):
    name = "constrained-evolution"
