"""The web page in a real browser: Debian's chromium, or another that Selenium finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

import gymtwist.client
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="there is no chromium with its chromedriver"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    """A browser without a window."""
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


class Page:
    """A tab of the browser that shows a server's page."""

    def __init__(self, driver: Chrome, server: ServerProcess) -> None:
        """Open the first page."""
        self.driver = driver
        self._address = f"http://localhost:{server.port}/"
        self.open()

    def open(self, name: str = "") -> None:
        """Open a page by its hash."""
        self.driver.get(self._address + name)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is true; return it."""
        return WebDriverWait(self.driver, PATIENCE, 0.05).until(lambda _: condition())

    def find(self, selector: str) -> list[WebElement]:
        """Return the elements of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        """Return the text of the first such element, read at once: the page may replace it."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.driver.execute_script(script, selector))

    def script(self, code: str) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(code)


@pytest.fixture
def page(chromium: Chrome, server: ServerProcess) -> Iterator[Page]:
    """A page; nothing may be said in the browser's console."""
    yield Page(chromium, server)
    said = chromium.get_log("browser")
    chromium.get("about:blank")
    assert [each for each in said if each["level"] in ("SEVERE", "WARNING")] == []


def test_a_session_of_a_python_client_is_listed(page: Page, server: ServerProcess) -> None:
    """With what it does, in two tabs; it disappears with its end."""
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.open()
    with gymtwist.client.connect(server.port, "Pendulum-v1") as env:
        env.reset(seed=1)
        for _ in range(200):
            env.step(env.action_space.sample())
        for tab in (page.driver.current_window_handle, first):
            page.driver.switch_to.window(tab)
            row = page.wait(lambda: next((each for each in page.text("tbody").split("\n") if "Pendulum" in each), None))
            assert "int32" in row
        page.wait(lambda: "\t200\t" in next(each for each in page.text("tbody").split("\n") if "Pendulum" in each))
    page.wait(lambda: "Pendulum" not in page.text("tbody"))
    page.driver.switch_to.window(page.driver.window_handles[-1])
    page.driver.close()
    page.driver.switch_to.window(first)


def test_the_keyboard_reaches_everything(page: Page) -> None:
    """One can skip to the content, and go from a session's row to its page."""
    page.wait(lambda: page.find("tbody a"))
    page.find("body")[0].send_keys(Keys.TAB)
    assert page.script("return document.activeElement.textContent") == "Skip to the content"
    names = []
    for _ in range(12):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        names.append(page.script("return document.activeElement.textContent"))
    assert {"Sessions", "Environments", "Errors"} <= set(names)
    page.find("tbody a")[0].send_keys(Keys.ENTER)
    page.wait(lambda: page.text("h1").startswith("Session "))
    assert page.script("return document.activeElement.id") == "content"


def has_title(page: Page, title: str) -> bool:
    """Return whether a page's heading begins with a text."""
    return page.text("h1").startswith(title)


def check_access(page: Page) -> None:
    """Check that a screen reader and poor sight meet no obstacle that axe-core knows."""
    page.script(files("axe_core_python").joinpath("axe.min.js").read_text())
    code = "const done = arguments[0]; axe.run().then(done, (error) => done({ error: String(error) }))"
    found = page.driver.execute_async_script(code)
    assert found.get("passes"), found
    violations = [(each["id"], each["help"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]
    assert violations == [], page.driver.current_url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(page: Page, server: ServerProcess, scheme: str) -> None:
    """In both color schemes, while a session runs."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    with emulated(page, [feature]):
        check_pages(page, server)


@contextmanager
def emulated(page: Page, features: list[dict[str, str]]) -> Iterator[None]:
    """Emulate features of media within the context."""
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        yield
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def check_pages(page: Page, server: ServerProcess) -> None:
    """Check every kind of page once it shows what it is to show."""
    since = server.mark()
    with gymtwist.client.connect(server.port, "CartPole-v1", render_mode="rgb_array") as env:
        for seed in range(2):
            env.reset(seed=seed)
            while not env.step(0)[2]:
                pass
        number = server.wait_for(r"\[session (\d+)\] started: CartPole-v1", since=since).group(1)
        shown = {
            "#/": ("Sessions", "tbody a"),
            "#/environments": ("Environments", "tbody a"),
            "#/environments/CartPole-v1": ("CartPole-v1", "pre:not([hidden])"),
            "#/errors": ("Last errors", "main"),
            "#/datasets": ("Datasets", "main"),
            f"#/sessions/{number}": (f"Session {number}", "svg.plot polyline"),
            "#/play/CartPole-v1": ("Play CartPole-v1", ".row button"),
        }
        for name, (title, selector) in shown.items():
            page.open(name)
            page.wait(partial(has_title, page, title))
            page.wait(partial(page.find, selector))
            check_access(page)
    page.find(".row button")[0].click()
    page.wait(lambda: page.text('[data-key="Episode"] dd') == "1")
    check_access(page)
    page.open("#/")


def test_one_session_shows_its_returns(page: Page, server: ServerProcess) -> None:
    """As a plot, which is also described in words."""
    since = server.mark()
    with gymtwist.client.connect(server.port, "CartPole-v1") as env:
        lengths = []
        for episode in range(5):
            env.reset(seed=episode)
            length, ended = 0, False
            while not ended:
                _, _, ended, _, _ = env.step(0)
                length += 1
            lengths.append(length)
        number = server.wait_for(r"\[session (\d+)\] started: CartPole-v1 for \S+ \(int32", since=since).group(1)
        page.open(f"#/sessions/{number}")
        words = page.wait(lambda: page.text("figcaption"))
        assert f"from {min(lengths)} to {max(lengths)}, the last one {lengths[-1]}" in words
        assert str(page.find("svg.plot polyline")[0].get_attribute("points")).count(",") == 5
    page.wait(lambda: "ended: the client left" in page.text("dl"))


def picture(page: Page) -> str:
    """Return a text that stands for the pixels of the live view."""
    code = """
        const image = document.querySelector(".picture img");
        if (!image || image.hidden || !image.naturalWidth) return "";
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL();
    """
    return str(page.script(code))


def test_the_live_view_changes(page: Page, server: ServerProcess) -> None:
    """While somebody watches; then nothing is rendered any more."""
    since = server.mark()
    with gymtwist.client.connect(server.port, "CartPole-v1", render_mode="rgb_array") as env:
        env.reset(seed=1)
        number = server.wait_for(r"\[session (\d+)\] started: CartPole-v1 for \S+ \(int32", since=since).group(1)
        page.open(f"#/sessions/{number}")
        page.wait(lambda: page.find(".row button"))[0].click()
        page.wait(lambda: page.find(".row button[aria-pressed=true]"))
        seen: set[str] = set()

        def several() -> bool:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
            seen.add(picture(page))
            return len(seen - {""}) >= 3

        page.wait(several)
        page.find(".row button")[0].click()
        assert page.text(".row button") == "Watch"


def test_a_session_without_images_says_so(page: Page, server: ServerProcess) -> None:
    """And what to do about it."""
    since = server.mark()
    with gymtwist.client.connect(server.port, "Pendulum-v1") as env:
        number = server.wait_for(r"\[session (\d+)\] started: Pendulum-v1", since=since).group(1)
        page.open(f"#/sessions/{number}")
        page.wait(lambda: page.find(".row button"))[0].click()

        def said() -> bool:
            env.reset()
            return 'render_mode="rgb_array"' in page.text(".picture")

        page.wait(said)


def test_environments_are_searched_and_described(page: Page) -> None:
    """With their spaces."""
    page.find("nav a")[1].click()
    page.wait(lambda: "CartPole-v1" in page.text("tbody"))
    page.find("#search")[0].send_keys("cartpole-v1 gymnasium")
    page.wait(lambda: page.text("caption").startswith("1 of "))
    page.find("tbody a")[0].click()
    page.wait(lambda: "Discrete(2)" in page.text("dl"))
    assert page.text("h1") == "CartPole-v1"
    assert "500 steps" in page.text("dl")


def pressed(page: Page, key: str, kind: str) -> None:
    """Press or release a key where the environment is shown."""
    keys = ActionChains(page.driver)
    (keys.key_down if kind == "down" else keys.key_up)(key).perform()


def steps_of(page: Page) -> int:
    """Return how many steps a player has taken in the episode."""
    return int(page.text('[data-key="Steps"] dd') or 0)


def has_stepped(page: Page, before: int) -> bool:
    """Return whether a player has taken another step."""
    return steps_of(page) > before


def test_a_person_plays_cartpole_by_keys(page: Page) -> None:
    """The way the keys say; somebody else sees it in another tab."""
    page.open("#/environments/CartPole-v1")
    page.wait(lambda: page.find('a[href="#/play/CartPole-v1"]'))[0].click()
    page.wait(lambda: page.text("h1") == "Play CartPole-v1")
    Select(page.find("#speed")[0]).select_by_visible_text("step by step")
    page.find(".row button")[0].click()
    page.wait(lambda: page.text('[data-key="Episode"] dd') == "1")
    assert page.script("return document.activeElement.className") == "picture"
    assert {"← action 0", "→ action 1"} <= {each.text for each in page.find(".legend li")}
    before = page.script("return document.querySelector('canvas').toDataURL()")
    while (taken := steps_of(page)) < 4:
        pressed(page, Keys.ARROW_RIGHT, "down")
        pressed(page, Keys.ARROW_RIGHT, "up")
        page.wait(partial(has_stepped, page, taken))
    assert page.text('[data-key="Return"] dd') == "4"
    assert page.script("return document.querySelector('canvas').toDataURL()") != before
    player = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.open()
    page.wait(lambda: [each for each in page.text("tbody").split("\n") if "websocket" in each and "\t4\t" in each])
    page.driver.close()
    page.driver.switch_to.window(player)
    # To the right again and again, the pole falls to the left; Enter begins the next episode.
    while "ended" not in page.text('[data-key="State"] dd'):
        pressed(page, Keys.ARROW_RIGHT, "down")
        pressed(page, Keys.ARROW_RIGHT, "up")
    assert 8 <= steps_of(page) <= 11
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: page.text('[data-key="Episode"] dd') == "2")
    page.open("#/")
    page.wait(lambda: "websocket" not in page.text("tbody"))


def test_a_person_plays_in_real_time(page: Page) -> None:
    """A key counts as long as it is held."""
    page.open("#/play/MountainCar-v0")
    page.wait(lambda: page.find(".row button"))[0].click()
    page.wait(lambda: "The first key" in page.text("main [role=status]"))
    assert {"← action 0", "→ action 2"} <= {each.text for each in page.find(".legend li")}
    assert steps_of(page) == 0
    pressed(page, Keys.ARROW_RIGHT, "down")
    page.wait(lambda: steps_of(page) > 3)
    pressed(page, Keys.ARROW_RIGHT, "up")
    before = steps_of(page)
    page.wait(lambda: steps_of(page) > before + 3)
    page.open("#/")


def test_an_environment_tells_its_keys(page: Page) -> None:
    """By get_keys_to_action; the arrows are where its letters are."""
    pytest.importorskip("ale_py")
    page.open("#/play/" + "ALE%2FPong-v5")
    Select(page.wait(lambda: page.find("#speed"))[0]).select_by_visible_text("step by step")
    page.find(".row button")[0].click()
    page.wait(lambda: page.text('[data-key="Episode"] dd') == "1")
    assert "d RIGHT" in page.text(".legend").replace("\n", " ")
    pressed(page, Keys.ARROW_RIGHT, "down")
    page.wait(lambda: steps_of(page) == 1)
    pressed(page, Keys.ARROW_RIGHT, "up")
    page.open("#/")


def test_numbers_are_steered_by_arrows(page: Page) -> None:
    """One key for the least, one for the most; without either they are in the middle."""
    page.open("#/play/Pendulum-v1")
    Select(page.wait(lambda: page.find("#speed"))[0]).select_by_visible_text("step by step")
    page.find(".row button")[0].click()
    page.wait(lambda: page.text('[data-key="Episode"] dd') == "1")
    assert page.text(".legend") == "← → number 1 of the action"
    pressed(page, Keys.ARROW_LEFT, "down")
    page.wait(partial(has_stepped, page, 0))
    pressed(page, Keys.ARROW_LEFT, "up")
    assert page.text('[data-key="State"] dd') == "running"
    page.open("#/")


def test_what_cannot_be_played(page: Page) -> None:
    """Says why."""
    page.open("#/play/NoSuchThing-v0")
    page.wait(lambda: page.find(".row button"))[0].click()
    assert "NoSuchThing-v0" in page.wait(lambda: page.text("main .bad"))


def test_a_hostile_name_is_text(page: Page, server: ServerProcess) -> None:
    """Whatever a client sends."""
    name = "<img src=x onerror=alert(1)>:Pole-v0"
    with pytest.raises(gymtwist.client.RemoteError):
        gymtwist.client.connect(server.port, name)
    page.open("#/errors")
    page.wait(lambda: "<img src=x" in page.text("tbody"))
    assert page.find("main img") == []
    page.open("#/environments/" + "%3Cimg%20src%3Dx%3E")
    page.wait(lambda: page.text("main .bad"))
    assert page.find("main img") == []
    page.driver.get_log("browser")  # it notes the status of the answer


def test_datasets_are_listed(page: Page, server: ServerProcess) -> None:
    """With what is in each, and a link to its archive."""
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    page.open("#/datasets")
    page.wait(lambda: "Nothing has been recorded." in page.text("main"))
    with gymtwist.client.connect(server.port, "CartPole-v1", record="shown/cartpole-v0") as env:
        env.reset(seed=1)
        env.step(0)
    page.wait(lambda: "complete" in page.text("tbody"))
    assert "shown/cartpole-v0" in page.text("tbody")
    assert page.find('a[href="/api/datasets/shown/cartpole-v0.tar"]')
