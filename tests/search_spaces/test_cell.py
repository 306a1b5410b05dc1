import pytest

from search_spaces import Dimension, InputError, SearchSpace, build_space
from search_spaces.cell import Cell, CellEdge
from search_spaces.part import SpacePart


@pytest.mark.parametrize(
    "edges",
    [
        (CellEdge("b", 2, 1), CellEdge("a", 1, 0)),  # the later node first
        (CellEdge("a", 1, 1),),  # from itself
        (CellEdge("a", 0, 0),),  # into the input
    ],
)
def test_edges_in_an_order_that_cannot_run_are_refused(edges):
    with pytest.raises(InputError, match="cell odd: expected edges by ascending target"):
        Cell("odd", 1, edges, (1,))


def test_cell_of_unknown_dimensions_is_refused():
    cell = Cell("cell", 1, (CellEdge("operation", 1, "sorce"),), (1,))
    dimensions = [Dimension("operation", ("none", "conv")), Dimension("source", (0,))]
    with pytest.raises(InputError, match="sorce"):
        SearchSpace("cells@1", dimensions, cells=[cell])


@pytest.mark.parametrize("name", ["nasbench201", "nasnet-cifar"])
def test_cells_name_all_dimensions_once(name):
    space = build_space(name)
    named = [dimension for cell in space.cells for dimension in cell.dimensions]
    assert sorted(named) == sorted(dimension.name for dimension in space.dimensions)


def test_part_of_a_space_has_its_cells():
    space = build_space("nasbench201")
    assert SpacePart(space, {"node1~0": ["none"]}).space.cells == space.cells
