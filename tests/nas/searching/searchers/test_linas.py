from tests.contracts.searcher_contract import SearcherContract


class TestLinas(SearcherContract):
    name = "linas"
    generations = 5
    population = 12
    many_generations = 8
