import re
from pathlib import Path

import onnx

from hardware_profiles import onnx_operations
from hardware_profiles.operators import OPERATORS, unlisted


def test_every_operator_that_is_emitted_is_listed():
    """Read from the emitters' own source: a new one joins the list, or its files never leave."""
    sources = Path(onnx_operations.__file__).parent.glob("*.py")
    words = "".join(path.read_text(encoding="utf-8") for path in sources)
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    emitted = set(re.findall(r'"([A-Z]\w+)"', words)) & known
    assert {"Conv", "Add", "Relu", "HardSwish", "LayerNormalization"} <= emitted
    assert unlisted(emitted) == []
    assert "Softsign" not in OPERATORS
