from tests.contracts.searcher_contract import SearcherContract


class TestBayesian(SearcherContract):
    name = "bayesian"
    one_at_a_time = True
    generations = 25
    many_generations = 40
    population = 10
