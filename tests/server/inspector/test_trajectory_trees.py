"""A search tree becomes rows: branches where there was a choice, the way to the answer marked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import search_trajectory
from stb_core.values.trajectories import Node
from stb_server.inspector import trajectory_trees


def test_a_choice_opens_branches() -> None:
    """Nodes in a row stand side by side; two children of one node are two branches."""
    tree = trajectory_trees.draw_tree(search_trajectory().tree or ())

    assert ["node", "open", "node", "node", "close", "open", "node", "node", "close"] == [
        row.kind for row in tree.rows
    ]
    assert [(1, 2), (2, 2)] == [row.place for row in tree.rows if row.kind == "open"]
    assert (5, 2, 1) == (tree.nodes, tree.branches, tree.pruned)


def test_branches_say_how_they_ended() -> None:
    """One was left, with the reason found below; the other leads to the answer."""
    left, taken = [
        row for row in trajectory_trees.draw_tree(search_trajectory().tree or ()).rows if row.kind == "open"
    ]

    assert (trajectory_trees.PRUNED, True) == (left.state, left.why.startswith("gave up"))
    assert (trajectory_trees.ANSWER, "") == (taken.state, taken.why)
    assert taken.label.startswith("current_for_sky_watch")
    assert (0, 3, 4) == trajectory_trees.draw_tree(search_trajectory().tree or ()).path


def test_a_deep_tree_is_no_trouble() -> None:
    """Ten thousand nodes in a row are cut, not followed into a crash."""
    nodes = [Node(parent=number - 1 if number else None) for number in range(10_000)]

    tree = trajectory_trees.draw_tree(nodes)

    assert 10_000 == tree.nodes
    assert ("cut", 10_000 - trajectory_trees.MAX_LINES) == (tree.rows[-1].kind, tree.rows[-1].count)


def test_an_answer_that_comes_late_is_drawn() -> None:
    """Beyond what is drawn otherwise; what lies between is counted in one line."""
    nodes = [Node(parent=0 if number else None, final=number == 2_999) for number in range(3_000)]

    rows = trajectory_trees.draw_tree(nodes).rows

    kinds = [(row.kind, row.state) for row in rows[-4:]]
    assert [
        ("cut", trajectory_trees.PLAIN),
        ("open", trajectory_trees.ANSWER),
        ("node", trajectory_trees.ANSWER),
        ("close", trajectory_trees.PLAIN),
    ] == kinds
    assert 1 == sum(row.kind == "cut" for row in rows)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-3, 60)), max_size=60))
def test_every_node_is_drawn_once(parents: list[int | None]) -> None:
    """Whatever the parents say, also of nodes that do not exist, and every branch is closed."""
    tree = trajectory_trees.draw_tree([Node(parent=parent) for parent in parents])

    drawn = [row.number for row in tree.rows if row.kind == "node"]
    cut = sum(row.count for row in tree.rows if row.kind == "cut")
    assert len(parents) == len(drawn) + cut
    assert len(drawn) == len(set(drawn))
    kinds = [row.kind for row in tree.rows]
    assert kinds.count("open") == kinds.count("close")
