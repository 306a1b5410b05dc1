from tests.contracts.searcher_contract import SearcherContract


class TestBayesian(SearcherContract):
    name = "bayesian"
    one_at_a_time = True
