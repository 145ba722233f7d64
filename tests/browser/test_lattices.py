"""What people do with lattices in the console: draw in place, look before, and watch."""

import json
import re

import pytest

from tests.browser.console import Console
from tests.browser.people import Person
from tests.e2e.chromium import in_full

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("inside"),
    in_full,
]


HOLD_FIRST_PAGES = """
(() => {
  window.held = [];
  const send = window.fetch;
  let count = 0;
  window.fetch = async (address, how) => {
    const answer = await send(address, how);
    if (address === '/v1/jobs' && count++) await new Promise((go) => held.push(go));
    return answer;
  };
})()
"""
"""Has the first page of jobs, asked for again, come when it is let go."""


@pytest.fixture
def lattice_id(owner: Person) -> str:
    made: str = owner.post("/v1/lattices", {"shape": [20, 30]})["latticeId"]
    return made


def click_on_board(console: Console, x_share: float, y_share: float) -> None:
    x, y = console.page.run(
        "(() => { const box = document.querySelector('.board canvas').getBoundingClientRect();"
        f" return [box.left + {x_share} * box.width, box.top + {y_share} * box.height]; }})()"
    )
    console.page.click_at(x, y)


def wait_for_steps(owner: Person, job_id: str, more_than: int) -> None:
    """Until a job has done more: when it gets to that is up to the machine, and not to the page."""
    accept = {"accept": "application/x-ndjson"}
    while True:
        progress = f"/v1/jobs/{job_id}/progress"
        with owner.calls.stream("GET", progress, headers=accept, timeout=None) as answer:
            for line in answer.iter_lines():
                if int(json.loads(line)["job"]["progress"]["stepsDone"]) > more_than:
                    return


def blocked_count(owner: Person, lattice_id: str) -> int:
    return int(owner.calls.get(f"/v1/lattices/{lattice_id}").json()["blockedSites"])


def test_a_lattice_is_drawn_on_in_place_and_a_change_of_it_undone(
    console: Console, owner: Person, lattice_id: str
) -> None:
    console.show(f"#/lattices/{lattice_id}")
    for share, name in ((0.2, "Start"), (0.8, "Goal")):
        click_on_board(console, share, 0.51)
        console.page.wait_for(
            "[...document.querySelectorAll('.panel dt')]"
            f".some((one) => one.textContent === '{name}')"
        )
    console.page.wait_for("/Length/.test(document.querySelector('.panel').textContent)")
    console.press("Where the path was looked for")
    console.page.wait_for("/without a search/.test(document.querySelector('.panel').textContent)")
    console.press("Block")
    click_on_board(console, 0.5, 0.51)
    click_on_board(console, 0.5, 0.3)

    console.press("Save")
    console.page.wait_for("/2 blocked/.test(document.querySelector('.head').textContent)")
    assert blocked_count(owner, lattice_id) == 2
    console.press("Where the path was looked for")
    console.page.wait_for("/has looked at/.test(document.querySelector('.panel').textContent)")
    console.press("Undo the last change")
    console.page.wait_for("/, 0 blocked/.test(document.querySelector('.head').textContent)")

    assert blocked_count(owner, lattice_id) == 0
    console.show(f"#/lattices/{lattice_id}/history")
    console.page.wait_for("document.querySelectorAll('main tbody tr').length === 3")
    console.page.wait_for("/revision 2/.test(document.querySelector('main').textContent)")
    assert console.problems() == []


def test_what_is_drawn_while_it_is_saved_is_not_taken_for_saved(
    console: Console, lattice_id: str
) -> None:
    console.show(f"#/lattices/{lattice_id}")
    console.press("Block")
    click_on_board(console, 0.5, 0.51)
    console.page.wait_for("/1 site would be/.test(document.querySelector('main').textContent)")
    console.page.run("document.querySelector('.board canvas').focus()")
    console.page.press("ArrowUp")
    console.page.press("ArrowUp")
    console.page.wait_for("/9, .* free/.test(document.querySelector('.cursor').textContent)")

    console.page.run(
        "[...document.querySelectorAll('.unsaved button')]"
        ".find((one) => one.textContent === 'Save').click();"
        " document.querySelector('.board canvas')"
        ".dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    )

    console.page.wait_for("/, 1 blocked/.test(document.querySelector('.head').textContent)")
    assert "free" in console.text(".cursor")


def test_jobs_of_further_pages_stay_in_sight(
    console: Console, owner: Person, lattice_id: str
) -> None:
    simulation = {"simulation": {"ising": {"temperature": 2.5}}, "steps": 1}
    for _ in range(21):
        owner.post(f"/v1/lattices/{lattice_id}/jobs", simulation)
    rows = "document.querySelectorAll('main tbody tr').length"
    console.page.run(HOLD_FIRST_PAGES)
    console.show("#/jobs")
    console.page.wait_for("held.length > 0")

    console.press("Show more")
    console.page.wait_for(f"{rows} > 20")
    console.page.run(
        "new Promise((done) => { held.forEach((go) => go()); setTimeout(done, 500); })"
    )

    assert console.page.run(rows) > 20


def test_what_a_chain_would_make_is_seen_before_it_is_applied(
    console: Console, owner: Person, lattice_id: str
) -> None:
    field = {"name": "height", "numberType": "NUMBER_TYPE_FLOAT64"}
    made = owner.post(f"/v1/lattices/{lattice_id}/fields", field)
    console.show(f"#/lattices/{lattice_id}/fields/height")

    console.press("Preview")
    console.page.wait_for("!!document.querySelector('.preview canvas')")

    assert "translate" in console.text(".preview table")
    now = owner.calls.get(f"/v1/lattices/{lattice_id}/fields/height").json()
    assert now["digest"] == made["digest"]
    assert console.problems() == []


def test_a_simulation_is_seen_while_it_runs_and_stands_still_when_stopped(
    console: Console, owner: Person, lattice_id: str
) -> None:
    life = {"cellularAutomaton": {"rule": "B3/S23", "density": 0.4}}
    forever = {"simulation": life, "steps": "1000000000", "discardSteps": "999999999"}
    job_id = owner.post(f"/v1/lattices/{lattice_id}/jobs", forever)["jobId"]
    console.show(f"#/jobs/{job_id}")
    steps = "document.querySelector('.live .hint')?.textContent ?? ''"
    wait_for_steps(owner, job_id, 0)
    console.page.wait_for(f"/after/.test({steps})")
    first = console.page.run(steps)

    wait_for_steps(owner, job_id, int(re.sub("[^0-9]", "", first)))
    console.page.wait_for(f"{steps} !== {first!r}")
    console.press("Stop")
    console.confirm()
    console.page.wait_for("/cancelled/.test(document.querySelector('.head').textContent)")
    console.page.wait_for("!!document.querySelector('.live canvas')")

    assert [one for one in console.problems() if "409" not in one] == []


def test_a_slice_of_many_axes_shows_the_sites_that_lie_in_it(console: Console) -> None:
    wrong = console.page.run(
        "Promise.all([import('/console/lattices/bitmap.js'), import('/console/lattices/sites.js')])"
        ".then(([{Bitmap}, {indexOf, siteAt, stridesOf}]) => {"
        " const shape = [3, 5, 4, 7]; const bitmap = new Bitmap(420);"
        " for (let index = 0; index < 420; index++) bitmap.set(index, (index * 7919) % 13 < 5);"
        " const wrong = [];"
        " for (const [rowAxis, columnAxis] of [[2, 3], [3, 0], [1, 2], [null, 1]]) {"
        "  const slice = {rowAxis, columnAxis, at: [2, 3, 1, 5]};"
        "  const [rows, columns] = [rowAxis === null ? 1 : shape[rowAxis], shape[columnAxis]];"
        "  const {image} = bitmap.picture(rows, columns, stridesOf(shape, slice));"
        "  const {data} = image.getContext('2d').getImageData(0, 0, columns, rows);"
        "  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {"
        "   const isDark = data[4 * (row * columns + column)] < 128;"
        "   if (isDark !== Boolean(bitmap.get(indexOf(shape, siteAt(slice, {row, column})))))"
        "    wrong.push([rowAxis, columnAxis, row, column]); } }"
        " return wrong; })"
    )

    assert wrong == []


def test_the_page_answers_while_many_sites_are_blocked_at_random(console: Console) -> None:
    ticks, share = console.page.run(
        "import('/console/lattices/bitmap.js').then(async ({randomBitmap}) => {"
        " let ticks = 0; const timer = setInterval(() => ticks++, 1);"
        " const made = await randomBitmap(33554432, 0.3); clearInterval(timer);"
        " return [ticks, made.blockedCount / 33554432]; })"
    )

    assert ticks >= 10
    assert abs(share - 0.3) < 0.001
