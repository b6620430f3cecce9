"""``python -m tools.screenshots``: serves, plays, and writes pictures of the web page to ``docs/images``.

It needs Debian's chromium and chromium-driver, and Pillow, which makes the pictures small.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import gymtwist.client

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
#: Seconds that sessions are played before pictures are taken, so that there is something to see.
_TIME = 6.0
_TIMEOUT = 60.0


@contextmanager
def serving() -> Iterator[int]:
    """Serve within the context, on the port that it gives."""
    words = [sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "gymsock", "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    port = next(int(found[1]) for line in server.stdout if (found := re.search(r"starting on (\d+)", line)))
    threading.Thread(target=server.stdout.read, daemon=True).start()
    try:
        yield port
    finally:
        server.terminate()
        server.wait(_TIMEOUT)


def play(port: int, environment: str, stop: threading.Event, pause: float) -> None:
    """Play with random actions until told to stop."""
    with gymtwist.client.connect(port, environment, render_mode="rgb_array") as env:
        env.reset(seed=1)
        while not stop.wait(pause):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()


def save(driver: Chrome, name: str) -> None:
    """Write a picture of what the browser shows, with few colours."""
    shown = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    shown.quantize(64, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)
    print(f"docs/images/{name}")


def main() -> None:
    """Take all pictures."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1240,900"):
        options.add_argument(word)
    stop = threading.Event()
    with serving() as port, Chrome(options=options, service=ChromeService(shutil.which("chromedriver"))) as driver:
        wait = WebDriverWait(driver, _TIMEOUT)
        kinds = [("CartPole-v1", 0.02), ("LunarLander-v3", 0.01), ("MountainCar-v0", 0.02)]
        players = [threading.Thread(target=play, args=(port, name, stop, pause)) for name, pause in kinds]
        for each in players:
            each.start()
        try:
            page = f"http://localhost:{port}/"
            driver.get(page)
            time.sleep(_TIME)
            wait.until(lambda _: len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == len(kinds))
            save(driver, "web-sessions.png")
            row = driver.find_element(By.XPATH, "//tr[td='CartPole-v1']//a")
            row.click()
            wait.until(lambda _: driver.find_elements(By.CSS_SELECTOR, "svg.plot"))
            driver.find_element(By.CSS_SELECTOR, ".row button").click()
            wait.until(lambda _: driver.find_element(By.CSS_SELECTOR, ".picture img").is_displayed())
            save(driver, "web-session.png")
            driver.get(f"{page}#/play/CartPole-v1")
            wait.until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#speed"))
            driver.find_element(By.CSS_SELECTOR, ".row button").click()
            wait.until(lambda _: driver.find_element(By.CSS_SELECTOR, "canvas").is_displayed())
            save(driver, "web-play.png")
        finally:
            stop.set()
            for each in players:
                each.join()


if __name__ == "__main__":
    main()
