from tests.contracts.searcher_contract import SearcherContract


class TestLinas(SearcherContract):
    name = "linas"
    generations = 6
    many_generations = 8
