"""Whatever the pages show as a chart, a table, a map or a picture can be added to the report, or it says here why not.

The source is read: what is drawn in views that no test opens counts as well.
"""

import ast

from opened_pages import ROOT

FIGURES = {
    "altair_chart", "area_chart", "audio", "bar_chart", "bokeh_chart", "data_editor", "dataframe", "graphviz_chart", "image",
    "line_chart", "map", "plotly_chart", "pydeck_chart", "pyplot", "scatter_chart", "table", "vega_lite_chart", "video",
}  # fmt: skip
WORDS = {"map", "table"}  # of FIGURES, that other objects have as methods, too
OWN = {"picture_viewer.show", "point_map.show"}  # drawn by components of the project
ADDS = {"add_button", "add_chart", "add_map", "add_picture", "add_table", "add_text"}
TILE = "small pictures of a gallery: its table or sheet has the button, and so has each picture when it is opened"
TOOL = "a control of the page, and no result"
REASONS = {
    "methods/tiles.py tiles": "without a panel it is the sliders of all tiles; each tile has a button of its own",
    "networks/columns.py columns": "without a panel it is the sliders of all maps; each map has a button of its own",
    "pairs/tiles.py tiles": "without a panel it is the sliders of all tiles; each map has a button of its own",
    "metrics/run_sections.py _picture": TILE,
    "shared/display.py thumbnail": TILE,
    "shared/map_gallery.py _draw": "the colour bar of the gallery; the sheet, which has the button, has it too",
    "shared/map_gallery.py _draw_map": TILE,
    "shared/box_choice.py choose": TOOL,
    "shared/round_form.py _options": TOOL,
    "shared/widgets.py _similarity": TOOL,
    "single_image/what_if_view.py _unpainted_mask": TOOL,
    "shared/job_view.py _follow": "a picture of work that goes on; its result has a button",
    "report/part_list.py _part": "it is the report",
}


def name_of(call: ast.Call) -> str:
    """`a.b` of a call a.b(...), for any a: 'b' where a is no name."""
    if not isinstance(call.func, ast.Attribute):
        return call.func.id if isinstance(call.func, ast.Name) else ""
    owner = call.func.value
    return f"{owner.id}.{call.func.attr}" if isinstance(owner, ast.Name) else call.func.attr


def calls(function: ast.AST) -> set[str]:
    return {name_of(node) for node in ast.walk(function) if isinstance(node, ast.Call)}


def draws(name: str) -> bool:
    """Whether a call with this name puts a figure on a page: an element of Streamlit on any container, or a component."""
    owner, _, last = name.rpartition(".")
    return name in OWN or (last in FIGURES and (owner == "st" or last not in WORDS) and owner != "display")


def adds(names: set[str]) -> bool:
    return any(name.rpartition(".")[2] in ADDS for name in names)


def without_a_button(source: str) -> list[str]:
    """The functions of a module that draw a figure, where neither they nor a function of the module that they call adds
    one."""
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    made = {name: calls(node) for name, node in functions.items()}
    adding = {name for name, names in made.items() if adds(names)}
    return [name for name, names in made.items() if any(map(draws, names)) and name not in adding and not names & adding]


def found() -> set[str]:
    app = ROOT / "xai_core" / "app"
    files = {file.relative_to(ROOT).as_posix(): file for file in [ROOT / "Home.py", *(ROOT / "pages").glob("*.py")]}
    files |= {file.relative_to(app).as_posix(): file for file in app.rglob("*.py")}
    return {f"{name} {function}" for name, file in files.items() for function in without_a_button(file.read_text("utf-8"))}


def test_everything_that_is_drawn_can_be_added_to_the_report():
    assert found() == {*REASONS}


DRAWN = """
def bare(): st.image(picture)
def inside(): columns[0].altair_chart(chart)
def component(): picture_viewer.show(picture, panels)
def own(): st.image(picture); report_items.add_picture(picture, alt)
def through(): slot.dataframe(rows); own()
def with_button(): display.chart(chart, alt)
def words(): names.map(str); votes.table(engine)
"""


def test_a_figure_without_a_button_would_be_seen():
    assert without_a_button(DRAWN) == ["bare", "inside", "component"]
