"""The page in a real browser, as its command shows it."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import soundfile
from commands import ROOT

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextlib.contextmanager
def served(*arguments, temporary):
    """The address of the page while the command is at work; Ctrl-C ends it."""
    command = subprocess.Popen(
        [sys.executable, "-m", "glam_jax.serve", *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(pathlib.Path(__file__).parent),  # the tiny network
            "TMPDIR": str(temporary),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = command.stdout.readline()
        yield re.match(r"http://127\.0\.0\.1:\d+/", line)[0]
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 0
        assert not [*temporary.iterdir()]  # nothing that was uploaded stays
    finally:
        command.kill()
        command.stdout.close()


class Visitor:
    """Somebody who looks at the page."""

    def __init__(self, address):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"),
            # A microphone that beeps, and may be used.
            *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
            "--autoplay-policy=no-user-gesture-required",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        service = webdriver.ChromeService(DRIVER)  # named: nothing is downloaded
        self.driver = webdriver.Chrome(options, service)
        self.driver.get(address)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def wait(self, selector, words=""):
        """The first element of a selector with these words, once it is shown."""
        from selenium.common import exceptions
        from selenium.webdriver.support import ui

        wait = ui.WebDriverWait(
            self.driver,
            30,
            ignored_exceptions=[exceptions.StaleElementReferenceException],
        )
        return wait.until(
            lambda _: next((e for e in self.all(selector) if words in e.text), None),
            f"{selector} {words}",
        )

    def upload(self, path):
        for button in self.all("#sound [aria-label=Clear]"):
            button.click()
        self.wait("#sound input[type=file]").send_keys(str(path))

    def set_width(self, width):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def is_too_wide(self):
        script = "return document.documentElement.scrollWidth > window.innerWidth"
        return self.driver.execute_script(script)

    def requests(self):
        """The addresses that the page asked for."""
        events = [
            json.loads(entry["message"])["message"]
            for entry in self.driver.get_log("performance")
        ]
        sent = ("Network.requestWillBeSent", "Network.webSocketCreated")
        told = [event["params"] for event in events if event["method"] in sent]
        return [params.get("request", params)["url"] for params in told]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Debian's chromium and chromium-driver, or their like",
)
def test_a_browser_hears_records_and_looks_into_the_training(
    finished, data_dir, tmp_path
):
    """As a user does it, at two widths; all of it comes from this machine."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    source = data_dir / "demo_corpus"
    with served(
        str(finished.folder), f"--corpus_source={source}", temporary=temporary
    ) as address:
        visitor = Visitor(address)
        try:
            hear(visitor, next(source.rglob("*.wav")), tmp_path)
            record(visitor)
            look_into_the_training(visitor, finished)
            asked = visitor.requests()
        finally:
            visitor.driver.quit()
        assert len(asked) > 10
        ours = (address, f"blob:{address}", "data:")
        assert not [url for url in asked if not url.startswith(ours)]
        ask_for_files(address, [__file__, finished.folder / "model.json", source])


def hear(visitor, path, folder):
    visitor.upload(path)
    visitor.wait("#emotion h2")
    for width in (1280, 400):
        visitor.set_width(width)
        assert visitor.wait("#picture img").size["width"] > 0.7 * min(width, 900)
        assert not visitor.is_too_wide()
    (folder / "text.wav").write_text("no sound at all")
    visitor.upload(folder / "text.wav")
    visitor.wait("#told", "cannot be used: cannot be decoded")
    assert not visitor.all("#picture img")
    odd = folder / "odd <b>${1+1}{{x}}.flac"
    soundfile.write(odd, np.random.default_rng(0).normal(0, 0.1, 9000), 16000)
    visitor.upload(odd)
    visitor.wait("#picture img")


def record(visitor):
    visitor.wait("#sound [aria-label=Clear]").click()
    visitor.wait("#sound [aria-label='Record audio']").click()
    visitor.wait("#sound button", "Record").click()
    visitor.wait("#sound button", "Stop")
    visitor.wait("#sound time, #sound", "0:02")
    visitor.wait("#sound button", "Stop").click()
    visitor.wait("#emotion h2")


def look_into_the_training(visitor, finished):
    visitor.wait("button[role=tab]", "The training").click()
    counts = np.array(finished.report["confusion_matrix"])
    visitor.wait("#matrix button")
    buttons = visitor.all("#matrix button")
    assert [int(b.text.split()[0]) for b in buttons] == counts.ravel().tolist()
    cell = int(np.argmax(counts * (1 - np.eye(len(counts)))))
    buttons[cell].click()
    visitor.wait("#utterances h3", f": {counts.ravel()[cell]}")
    utterance = visitor.wait("#utterances button")
    name = utterance.text.removeprefix("▶ ")
    utterance.click()
    visitor.wait("#player", name)
    visitor.wait("#player [aria-label=Pause], #player", "0:01")  # it plays
    assert not visitor.is_too_wide()


def ask_for_files(address, paths):
    for path in ["/etc/passwd", *paths]:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{address}gradio_api/file={pathlib.Path(path)}")
    rebound = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(rebound)
