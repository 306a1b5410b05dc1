from search_spaces import InfeasibleError, InputError, MissingExtraError, unknown_name


def test_unknown_name_suggests_the_nearest():
    error = unknown_name("searcher", "evolutoin", ["random", "evolution"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown searcher 'evolutoin'; did you mean 'evolution'?"


def test_unknown_name_lists_all_where_none_is_near():
    error = unknown_name("searcher", "qqqq", iter(["random", "evolution"]))
    assert str(error) == "unknown searcher 'qqqq'; known: random, evolution"


def test_kinds_of_error_that_decide_the_exit_code():
    assert issubclass(InfeasibleError, InputError)
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingExtraError, ImportError)
