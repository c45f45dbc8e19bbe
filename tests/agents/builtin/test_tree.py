"""The search tree: what is added stays, a path is rebuilt from its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stb_agents.builtin.tree import Tree
from stb_core.values.trajectories import Message, Step


def words(text: str) -> Message:
    return Message(role="user", content=text)


@given(st.lists(st.integers(min_value=0), max_size=30))
def test_every_path_leads_to_the_root(choices: list[int]) -> None:
    """Whatever the shape: a node's path ends with it, begins at the root, and goes by parents."""
    tree = Tree()
    tree.add(None, words("0"))
    for number, choice in enumerate(choices, 1):
        tree.add(choice % number, words(str(number)))

    for number in range(len(choices) + 1):
        path = [int(message.content or "") for message in tree.messages(number)]
        parents = [tree.nodes[n].parent for n in path]
        assert path[-1] == number
        assert parents == [None, *path[:-1]]


def test_a_path_can_begin_below_a_node() -> None:
    """What came after it."""
    tree = Tree()
    end = tree.add_all(None, [words("a"), words("b"), words("c")])

    assert [node.message for node in tree.path(end, below=0)] == [words("b"), words("c")]


def test_messages_and_steps_are_apart() -> None:
    """A node may hold either or both."""
    tree = Tree()
    step = Step(function="f", arguments="{}")
    end = tree.add(tree.add(tree.add(None, words("a")), words("b"), step), step=step)

    assert (tree.messages(end), tree.steps(end)) == ((words("a"), words("b")), (step, step))
