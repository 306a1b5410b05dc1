from tests.contracts.searcher_contract import SearcherContract


class TestLocalSearch(SearcherContract):
    name = "local-search"
    generations = 360
    one_at_a_time = True
    least_feasible = 0.15  # it looks at the neighbours of what is feasible, whatever they are
