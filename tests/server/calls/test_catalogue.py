"""The names in a request lead to the API that the client means, or it is said which one is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.store import Store, bulk
from stb_core.values.names import standardize_api, standardize_category, standardize_tool
from stb_core.values.recordings import Recording
from stb_core.values.tools import ApiRef, ToolDocument
from stb_server.calls.catalogue import Catalogue, Unknown, close_names

CATALOGUE = Catalogue(
    [
        ApiRef("Data", "search_engine", "find"),
        ApiRef("Data", "jobs_for_it", "list_for_all"),
        ApiRef("Data", "jobs", "list"),
        ApiRef("Video_Images", "get_123_clips", "is_id"),
        ApiRef("Video_Images", "clips_for_video_images", "play"),
    ],
    [ApiRef("Data", "search_engine", "recorded_alone")],
)


@pytest.mark.parametrize(
    ("category", "tool", "api", "meant"),
    [
        ("Data", "search_engine", "find", ("Data", "search_engine", "find")),
        ("Data", "Search Engine", "Find", ("Data", "search_engine", "find")),
        ("Data", "search_engine_for_Data", "find", ("Data", "search_engine", "find")),
        ("Data", "Search Engine_for_Data", "find", ("Data", "search_engine", "find")),
        ("Data", "search_engine_for_data", "find", ("Data", "search_engine", "find")),
        ("Data", "search_engine", "find_for_search_engine", ("Data", "search_engine", "find")),
        ("Data", "search_engine_for_Data", "Find_for_Search Engine", ("Data", "search_engine", "find")),
        ("Data", "search_engine", "find_for_search_engine_for_data", ("Data", "search_engine", "find")),
        ("Data", "search_engine_for_anything", "find", ("Data", "search_engine", "find")),
        ("Data", "search_engine", "find_for_anything", ("Data", "search_engine", "find")),
        ("Data", "jobs_for_it", "list_for_all", ("Data", "jobs_for_it", "list_for_all")),
        ("Data", "jobs_for_it_for_Data", "list_for_all_for_jobs_for_it", ("Data", "jobs_for_it", "list_for_all")),
        ("Data", "jobs_for_it", "list", ("Data", "jobs", "list")),
        ("Data", "jobs_for_us", "list_for_all", ("Data", "jobs", "list")),
        ("Video, Images", "123 Clips", "id", ("Video_Images", "get_123_clips", "is_id")),
        ("Video/Images", "123 Clips_for_Video_Images", "id_for_get_123_clips", ("Video_Images", "get_123_clips", "is_id")),
        ("Video_Images", "clips_for_video_images", "play", ("Video_Images", "clips_for_video_images", "play")),
        ("Video_Images", "clips_for_video_images_for_Video_Images", "play", ("Video_Images", "clips_for_video_images", "play")),
        ("Data", "search_engine", "recorded_alone", ("Data", "search_engine", "recorded_alone")),
    ],
)  # fmt: skip
def test_names_are_understood_as_clients_write_them(
    category: str, tool: str, api: str, meant: tuple[str, str, str]
) -> None:
    """Standard or not, with suffixes or without; what fits as it stands goes before what must be cut."""
    assert ApiRef(*meant) == CATALOGUE.resolve(category, tool, api)


@pytest.mark.parametrize(
    ("category", "tool", "api", "unknown"),
    [
        ("Dta", "jobs", "list", ("category", "There is no category 'Dta'. Did you mean Data?")),
        ("", "", "", ("category", "There is no category ''.")),
        ("Data", "job", "list", ("tool", "There is no tool 'job' in category Data. Did you mean jobs?")),
        ("Data", "xyz", "list", ("tool", "There is no tool 'xyz' in category Data.")),
        (
            "Data",
            "Search Engine",
            "Fnd",
            ("api", "There is no API 'Fnd' in tool search_engine of category Data. Did you mean find?"),
        ),
        ("Data", "jobs", "x" * 300, ("api", "The name of the API is longer than 256 characters.")),
        ("Data", "x" * 300, "list", ("tool", "The name of the tool is longer than 256 characters.")),
        ("x" * 300, "jobs", "list", ("category", "The name of the category is longer than 256 characters.")),
        (
            "Data",
            "../../etc/passwd",
            "list",
            ("tool", "There is no tool '../../etc/passwd' in category Data."),
        ),
        ("Data", "q" * 99, "list", ("tool", f"There is no tool '{'q' * 80}…' in category Data.")),
    ],
)
def test_what_is_unknown_is_said(category: str, tool: str, api: str, unknown: tuple[str, str]) -> None:
    """The first of the three names that fits nothing, and what comes close to it."""
    found = CATALOGUE.resolve(category, tool, api)

    assert isinstance(found, Unknown)
    assert unknown == (found.what, found.message)


def test_close_names_are_the_same_in_any_order() -> None:
    """Up to three, the most alike first and then by name, however the known names come."""
    known = ["search_b", "search_a", "search_c", "search_d", "unlike"]

    assert ["search_a", "search_b", "search_c"] == close_names("search_x", known)
    assert close_names("search_x", known) == close_names("search_x", reversed(known))


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(names, names, names)
def test_any_name_finds_its_own_standard_form(category: str, tool: str, api: str) -> None:
    """Whatever names a document has, a client that writes them so reaches it, with suffixes or without."""
    ref = ApiRef(standardize_category(category), standardize_tool(tool), standardize_api(api))
    catalogue = Catalogue([ref])

    plain = catalogue.resolve(category, tool, api)
    suffixed = catalogue.resolve(ref.category, f"{ref.tool}_for_{ref.category}", f"{ref.api}_for_{ref.tool}")

    assert plain == ref
    assert suffixed == ref or not (ref.tool and ref.api)


@given(
    st.lists(
        st.builds(ApiRef, *[st.sampled_from(["a", "b", "a_for_b", "b_for_a", "a_for_a_for_b"])] * 3),
        max_size=8,
    )
)
def test_an_exact_name_is_never_taken_for_another(refs: list[ApiRef]) -> None:
    """Names that hold ``_for_`` themselves are found as they stand, whatever else is there."""
    catalogue = Catalogue(refs)

    assert refs == [catalogue.resolve(*ref) for ref in refs]
    assert sorted(set(refs)) == list(catalogue)
    assert len(set(refs)) == len(catalogue)


@given(names, names, names)
def test_no_name_is_an_error(category: str, tool: str, api: str) -> None:
    """Whatever a client sends, the answer is an API that is there or what is unknown."""
    found = CATALOGUE.resolve(category, tool, api)

    assert isinstance(found, Unknown) or found in set(CATALOGUE)


async def test_it_knows_documents_and_recordings(store: Store) -> None:
    """A catalogue that is loaded from a store holds documented APIs, and those that only have responses."""
    dataset = await store.datasets.create("d")
    document = ToolDocument.model_validate(
        {"category": "Data", "tool_name": "T", "api_list": [{"name": "A"}]}
    )
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, [document])
        rows = [Recording("k", "Data", "t", "b", b"{}", b"{}", "recorded")]
        await bulk.add_responses(store, connection, dataset.id, rows)

    catalogue = await Catalogue.load(store, dataset)

    assert [ApiRef("Data", "t", "a"), ApiRef("Data", "t", "b")] == list(catalogue)
