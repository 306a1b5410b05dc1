from tests.contracts.searcher_contract import SearcherContract


class TestLocalSearch(SearcherContract):
    name = "local-search"
    generations = 600
    least_gain = 0.0  # a method for one objective
    one_at_a_time = True
    least_feasible = 0.15  # it looks at the neighbours of what is feasible, whatever they are
