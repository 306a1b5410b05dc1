from pathlib import Path

import pytest

from nas.searching.searchers import SEARCHERS


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_has_its_contract_suite(name):
    here = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    assert any("(SearcherContract)" in text and f'name = "{name}"' in text for text in here)
