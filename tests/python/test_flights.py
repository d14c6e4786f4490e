"""The flights example as its user meets it: the demo from beginning to end on fewer flights, then the site over its tables,
runserver and the admin, in a real browser."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "flights"
FLIGHTS = 2_000
TABLES = ("Airline", "Airport", "Plane", "Flight", "Weather")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the example, whose tables lie beside it."""
    return shutil.copytree(
        EXAMPLE, tmp_path_factory.mktemp("flights") / "flights", ignore=shutil.ignore_patterns("data")
    )


@pytest.fixture(scope="module")
def demo(project):
    """What the demo printed."""
    done = subprocess.run(
        [sys.executable, "demo.py", "--flights", str(FLIGHTS)], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def manage(project, code):
    """What `manage.py shell` printed for the code: another process looks at the same tables."""
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@contextlib.contextmanager
def listening(project):
    """The address of a runserver, and its log at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = project / "server.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(
            [sys.executable, "manage.py", "runserver", "--noreload", address], cwd=project, stdout=out, stderr=out
        )
        try:
            url = f"http://{address}"
            wait_for(url + "/admin/login/", server, log)
            yield url
        finally:
            server.terminate()
            server.wait(20)


def wait_for(url, server, log):
    for _ in range(200):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=10).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer: {log.read_text()}")


@pytest.fixture(scope="module")
def site(project, demo):
    with listening(project) as url:
        yield url
    log = (project / "server.log").read_text()
    assert not re.search(r'" 5\d\d |Traceback', log), log


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    for argument in [
        "--headless=new",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--window-size=1400,1000",
        f"--user-data-dir={tmp_path}",
        # A browser of root's has no sandbox.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]:
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def admin(browser, site):
    """The browser, logged in."""
    browser.get(site + "/admin/")
    assert "/admin/login/" in browser.current_url
    browser.find_element(By.NAME, "username").send_keys("admin")
    browser.find_element(By.NAME, "password").send_keys("admin")
    submit(browser, "#login-form [type=submit]")
    assert browser.find_element(By.ID, "user-tools").text.lower().startswith("welcome")
    return browser


def submit(browser, selector):
    """Presses a button and waits for the page that follows."""
    page = browser.find_element(By.TAG_NAME, "html")
    browser.find_element(By.CSS_SELECTOR, selector).click()
    WebDriverWait(browser, 30).until(lambda b: b.find_element(By.TAG_NAME, "html").id != page.id)


def counted(browser):
    """The number of rows that a list says it has."""
    text = browser.find_element(By.CSS_SELECTOR, "p.paginator").text
    return int(re.search(r"(\d+) \w+\s*$", text.replace("Show all", "").strip()).group(1))


def message(browser):
    return browser.find_element(By.CSS_SELECTOR, "ul.messagelist li").text


def agreed(text):
    return {
        (reader, table): int(rows.replace(",", ""))
        for reader, rows, table in re.findall(r"✓ (\w+) and the ORM agree on ([\d,]+) rows of (\w+)", text)
    }


def test_demo_passes_its_own_checks(demo):
    assert "✗" not in demo
    read = {(reader, table) for reader in ("PyIceberg", "DuckDB") for table in TABLES}
    before, after = demo.split("manage.py iceberg_compact: ")
    assert agreed(before).keys() == agreed(after).keys() == read
    assert agreed(before) == agreed(after)
    assert agreed(after)["DuckDB", "Flight"] > FLIGHTS * 0.9


def test_demo_compacts(demo):
    before, after = re.findall(
        r"Flight: files (\d+), deletion vectors (\d+), files from before the column 'passengers' (\d+)", demo
    )
    gone, changed = re.search(r"(\d+) flights deleted, (\d+) updated", demo).groups()
    assert int(gone) and int(changed)
    assert int(before[0]) > 1 and int(before[1]) and int(before[2])
    told = re.search(
        r"flights_flight: (\d+) files → (\d+); (\d+) with (\d+) deletion vectors? rewritten as 1, ([\d,]+) rows", demo
    )
    assert told[1] == told[3] == before[0]
    assert told[4] == before[1]
    assert (told[2], *after) == ("1", "1", "0", "0")
    assert int(told[5].replace(",", "")) == agreed(demo)["DuckDB", "Flight"]


def test_wrong_password(browser, site):
    browser.get(site + "/admin/")
    browser.find_element(By.NAME, "username").send_keys("admin")
    browser.find_element(By.NAME, "password").send_keys("' OR 1=1 --")
    submit(browser, "#login-form [type=submit]")
    assert "correct username" in browser.find_element(By.CSS_SELECTOR, ".errornote").text


def test_lists_filters_and_search(admin, site, project):
    count = "from flights.models import Flight; print(Flight.objects{}.count())"
    admin.get(site + "/admin/flights/flight/")
    assert counted(admin) == int(manage(project, count.format(""))) > 0
    assert len(admin.find_elements(By.CSS_SELECTOR, "#result_list tbody tr")) == 100
    admin.get(site + "/admin/flights/flight/?carrier__carrier__exact=UA&origin__faa__exact=EWR")
    assert counted(admin) == int(manage(project, count.format(".filter(carrier='UA', origin='EWR')"))) > 0
    admin.get(site + "/admin/flights/flight/?time_hour__year=2013&time_hour__month=1&time_hour__day=1")
    assert counted(admin) > 0
    admin.get(site + "/admin/flights/flight/")
    admin.find_element(By.ID, "searchbar").send_keys("international")
    submit(admin, "#changelist-search [type=submit]")
    expected = manage(project, count.format(".filter(dest__name__icontains='international')"))
    assert counted(admin) == int(expected) > 0


def test_an_edit_is_a_version(admin, site, project):
    tail = manage(project, "from flights.models import Plane; print(Plane.objects.first().pk)")
    admin.get(f"{site}/admin/flights/plane/{tail}/change/")
    seats = admin.find_element(By.NAME, "seats")
    before = int(seats.get_attribute("value"))
    seats.clear()
    seats.send_keys(str(before + 1))
    submit(admin, "[name=_save]")
    assert "changed successfully" in message(admin)
    shown = manage(
        project,
        f"from flights.models import Plane; p = Plane.objects.get(pk='{tail}');"
        "print(p.seats, [v.seats for v in p.history()][:2])",
    )
    assert shown == f"{before + 1} [{before + 1}, {before}]"
    admin.get(f"{site}/admin/flights/plane/{tail}/history/")
    assert "Changed Seats" in admin.find_element(By.ID, "change-history").text


def test_add_and_delete(admin, site, project):
    admin.get(site + "/admin/flights/airline/add/")
    admin.find_element(By.NAME, "carrier").send_keys("ZZ")
    admin.find_element(By.NAME, "name").send_keys("Zeppelin ‹Ø›")
    submit(admin, "[name=_save]")
    assert "added successfully" in message(admin)
    # Unique, by the database's own key.
    admin.get(site + "/admin/flights/airline/add/")
    admin.find_element(By.NAME, "carrier").send_keys("ZZ")
    admin.find_element(By.NAME, "name").send_keys("Another")
    submit(admin, "[name=_save]")
    assert "already exists" in admin.find_element(By.CSS_SELECTOR, ".errorlist").text
    admin.get(site + "/admin/flights/airline/?q=zeppelin")
    admin.find_element(By.CSS_SELECTOR, "input.action-select").click()
    Select(admin.find_element(By.NAME, "action")).select_by_value("delete_selected")
    submit(admin, ".actions button")
    submit(admin, "#content form [type=submit]")
    assert "Successfully deleted 1" in message(admin)
    left = manage(project, "from flights.models import Airline; print(Airline.objects.filter(pk='ZZ').count())")
    assert left == "0"


def test_what_is_referred_to_stays(admin, site):
    admin.get(site + "/admin/flights/airline/UA/delete/")
    assert "would require deleting the following protected related objects" in admin.find_element(By.ID, "content").text
