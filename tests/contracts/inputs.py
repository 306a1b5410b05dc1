from search_spaces import TensorSpec


def one_input(*shape: int) -> dict[str, TensorSpec]:
    """What a network of one float input takes."""
    return {"input": TensorSpec(shape)}
